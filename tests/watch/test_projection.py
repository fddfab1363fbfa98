"""Tests of the projection: the same view in whatever portions, bounded, and without progress of other windows'
tasks.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core.findings import CODES
from comfy_fsm.core.machine import SETTLED
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies import observations
from comfy_fsm.watch import projection, rows
from comfy_fsm.watch.projection import Projection
from comfy_fsm.watch.snapshot import QUIET, Scene, Snapshot, TaskRow
from replay import replay
from tests.support.lines import SERVER, START, WINDOW, frame, line, lines_of, seen

# the same however it came


@given(st.lists(st.tuples(observations(), st.booleans()), max_size=60))
def test_a_view_is_the_same_in_whatever_portions_the_entries_came(drawn: list[tuple[Any, bool]]) -> None:
    whole, portions = Projection(), Projection()
    for position, (observation, look) in enumerate(drawn, 1):
        try:
            text = codec.encode(observation)
        except (msgspec.ValidationError, msgspec.EncodeError):
            text = b""
        whole.take(position, observation, text)
        portions.take(position, observation, text)
        if look:
            portions.view()
    assert whole.view() == portions.view()


def test_every_recording_is_seen_as_its_replay_tells(recording: Any) -> None:
    told, lines = replay(recording.trace), lines_of(recording.trace)
    view = seen(*lines)
    unfinished = {finding.code for finding in told.findings} - {"unresolved", "unknown-prompt"}
    assert view.observations == len(lines)
    assert sum(view.states.values()) == len(told.tasks)
    assert set(view.codes) <= {finding.code for finding in told.findings}
    judged_at_the_end = {"deaf-socket", "missed-end", "silence", "lost", "unverified", "history-early"}
    assert unfinished - judged_at_the_end - set(view.codes) == set()
    assert view.all_servers == len(told.trace.servers)
    assert {row.window for row in view.windows} <= {*told.trace.windows, ""}


def test_every_settled_task_of_a_recording_is_settled_in_its_view(recording: Any) -> None:
    told = {task.prompt_id: task.state for task in replay(recording.trace).tasks}
    for task in seen(*lines_of(recording.trace)).tasks:
        assert task.state == told[task.prompt_id] or task.state not in SETTLED


# bounded whatever came


def sizes(view: Snapshot) -> dict[str, int]:
    return {name: len(getattr(view, name)) for name in ("servers", "windows", "tasks", "findings", "rates")}


BOUNDS = {
    "servers": projection.SERVERS, "windows": rows.WINDOWS, "tasks": projection.OPEN + projection.SETTLED,
    "findings": projection.GRAVE + projection.NOTES, "rates": projection.SECONDS,
}  # fmt: skip


@given(st.lists(observations(), max_size=80))
def test_a_view_is_bounded_whatever_was_seen(drawn: list[Any]) -> None:
    made = Projection()
    for position, observation in enumerate(drawn, 1):
        made.take(position, observation)
    view = made.view()
    assert all(size <= BOUNDS[name] for name, size in sizes(view).items())
    assert set(view.codes) <= set(CODES)
    msgspec.json.encode(view)


def test_a_view_of_a_flood_is_bounded_and_counts_what_it_leaves_out() -> None:
    name, number = "n" * 10_000, 400
    flood = []
    for n in range(number):
        server, window = f"http://{n}.{name}:8188", f"{n}{name}"
        prompt = {"prompt_id": f"{n}{name}", "node": name}
        flood += [
            line("ws.open", {}, START, server=server, window=window),
            line("ws.message", {"type": "executing", "data": prompt}, START, server=server, window=window),
            line("ws.message", {"type": name, "data": {}}, START, server=server, window=window),
            line("http.error", {"id": f"{n}", "error": name}, START, server=server, window=window),
            line("ws.undecodable", {"error": name}, START, server=server, window=window),
        ]
    view = seen(*flood)
    full = dict(BOUNDS) | {"tasks": projection.OPEN, "findings": projection.GRAVE + projection.NOTES}
    assert sizes(view) == full
    assert (view.all_servers, view.all_windows, view.all_open) == (number, number, number)
    assert view.codes == {"undecodable": number, "unrecognized": number}
    assert len(msgspec.json.encode(view)) < 400_000
    assert "n" * (rows.LONGEST + 1) not in msgspec.json.encode(view).decode()


def test_the_progress_of_tasks_that_are_over_is_forgotten() -> None:
    made, lines = Projection(), []
    for n in range(3_000):
        status = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
        record = {"prompt": [1, f"{n}", {}, {}, []], "outputs": {}, "status": status}
        lines += [
            frame("executing", prompt_id=f"{n}", node="1"),
            line("http.request", {"id": f"{n}", "method": "GET", "path": f"/history/{n}"}),
            line("http.response", {"id": f"{n}", "status": 200, "body": {f"{n}": record}}),
        ]
    for position, text in enumerate(lines, 1):
        made.take(position, codec.read(text), text)
    assert made.view().states == {"completed": 3_000}
    assert len(made._moved) <= 1_001


# whose progress


def row(*lines: bytes) -> TaskRow:
    return seen(*lines).tasks[0]


BEGUN = (
    line("ws.open", {}),
    frame("execution_start", prompt_id="p", timestamp=1),
    frame("executing", prompt_id="p", node="3"),
)


def test_progress_is_that_of_the_node_that_runs() -> None:
    told = row(*BEGUN, frame("progress", prompt_id="p", node="3", value=5, max=20))
    assert (told.node, told.value, told.max, told.share) == ("3", 5, 20, 0.25)
    told = row(
        *BEGUN, frame("progress", prompt_id="p", node="3", value=5, max=20), frame("executing", prompt_id="p", node="4")
    )
    assert (told.node, told.share) == ("4", None)


ODD = {
    "fractions": ({"value": 0.5, "max": 2.0}, 0.25),
    "texts": ({"value": "5", "max": "20"}, 0.25),
    "more than all": ({"value": 30, "max": 20}, 1.0),
    "less than nothing": ({"value": -3, "max": 20}, 0.0),
    "of nothing": ({"value": 1, "max": 0}, None),
    "of less": ({"value": 1, "max": -5}, None),
    "huge": ({"value": 1e308, "max": 1e-308}, None),
    "no number": ({"value": {}, "max": []}, None),
    "not there": ({}, None),
}


@pytest.mark.parametrize(("numbers", "share"), ODD.values(), ids=ODD)
def test_odd_numbers_make_no_odd_progress(numbers: dict[str, Any], share: float | None) -> None:
    assert row(*BEGUN, frame("progress", prompt_id="p", node="3", **numbers)).share == share


def test_numbers_that_json_does_not_know_make_no_progress() -> None:
    text = frame("progress", prompt_id="p", node="3", value="X", max=20).replace(b'"X"', b"NaN")
    assert row(*BEGUN, text).share is None


def test_the_progress_that_another_window_overhears_is_not_taken_for_it() -> None:
    overheard = frame("progress", window="other", prompt_id="p", node="9", value=19, max=20)
    told = row(*BEGUN, overheard)
    assert (told.node, told.share) == ("3", None)


def test_a_server_that_names_no_prompt_tells_the_progress_of_what_it_runs() -> None:
    """Before January 2024."""
    assert row(*BEGUN, frame("progress", value=1, max=4)).share == 0.25


def test_a_settled_task_has_no_progress() -> None:
    body = {"p": {"prompt": [1, "p", {}, {}, []], "outputs": {}, "status": {
        "status_str": "success", "completed": True, "messages": [["execution_success", {}]]}}}  # fmt: skip
    told = row(
        *BEGUN, frame("progress", prompt_id="p", node="3", value=5, max=20),
        frame("execution_success", prompt_id="p"),
        line("http.request", {"id": "h", "method": "GET", "path": "/history/p"}),
        line("http.response", {"id": "h", "status": 200, "body": body}),
    )  # fmt: skip
    assert (told.state, told.node, told.share) == ("completed", None, None)


# servers, windows, time


def status(remaining: object, at: float = START) -> bytes:
    return frame("status", at, status={"exec_info": {"queue_remaining": remaining}})


def test_the_queue_of_a_server_is_what_it_said_last() -> None:
    assert seen(status(3), status(2)).servers[0].queue == 2
    assert seen(status(3), status("many")).servers[0].queue is None


def test_a_server_that_does_not_answer_says_so_until_it_is_heard() -> None:
    silent = line("http.error", {"id": "1", "error": "ConnectError"}, START + 5)
    assert seen(status(0), silent).servers[0].trouble == "ConnectError"
    assert seen(status(0), silent, status(0, START + 9)).servers[0].trouble is None


def test_one_server_is_one_row_however_it_is_spelled() -> None:
    view = seen(status(1), line("ws.message", {"type": "status", "data": {}}, START + 7, server=SERVER + "/"))
    assert [(row.url, row.seen_at) for row in view.servers] == [(SERVER, START + 7)]


SOCKETS = {
    "open": [line("ws.open", {})],
    "shared": [line("ws.open", {}), line("ws.open", {})],
    "closed": [line("ws.open", {}), line("ws.close", {"code": 1000})],
    "down": [*BEGUN, line("ws.close", {"code": 1006})],
    "none": [frame("executing", prompt_id="p", node="1")],
}


@pytest.mark.parametrize(("state", "lines"), SOCKETS.items(), ids=SOCKETS)
def test_the_socket_of_a_window_is_told_as_it_is(state: str, lines: list[bytes]) -> None:
    assert [row.socket for row in seen(*lines).windows] == [state]


def test_windows_that_wait_for_something_come_first_and_few_that_are_gone() -> None:
    gone = [line("ws.open" if way else "ws.close", {}, START + n, window=f"{n}") for n in range(50) for way in (1, 0)]
    view = seen(*gone, *BEGUN)
    assert [row.window for row in view.windows] == [WINDOW, *(f"{n}" for n in range(49, 49 - rows.GONE, -1))]
    assert view.all_windows == 51


def test_a_flood_of_notes_hides_no_error() -> None:
    lost = line("ws.undecodable", {"error": "no JSON"})
    view = seen(lost, *(frame(f"odd {n}", window=f"{n}") for n in range(500)))
    assert view.findings[-1].code == "undecodable"
    assert all(after.number < before.number for before, after in pairwise(view.findings))


@given(
    st.lists(st.one_of(st.integers(0, 200), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=60)
)
@settings(max_examples=50)
def test_a_rate_counts_the_seconds_before_the_last_entry(times: list[float]) -> None:
    view = seen(*(line("tick", {}, at) for at in times))
    last = times[-1]
    if abs(last) >= 1e12:
        return
    expected = Counter(int(at) for at in times if abs(at) < 1e12)
    assert view.rates == tuple(expected[int(last) - back] for back in range(projection.SECONDS - 1, -1, -1))


def test_ages_are_counted_to_now_unless_the_log_is_history() -> None:
    view = seen(line("tick", {}))
    assert Scene("x", view).at == START
    assert Scene("x", view, START + 5).at == START + 5
    assert Scene("x", view, START + QUIET + 1).at == START
    assert Scene("x", view, START - 5).at == START, "a clock that is behind"
