"""Tests of odd answers: each field of each kind of body retyped, dropped, nested or doubled. Nothing crashes.

What decides an outcome is said here, precisely:

- of a record, the name of the last message that tells an end; without one, `status_str`; without either, `completed`;
- of a job the same below `execution_status`, then `execution_error`, then `status`.

Change anything else, and the verdict stays. Change what decides, and the task is decided alike or not at all, unless
what is left of the answer says otherwise by itself: an interrupt without its message is a failure by `status_str`; a
record whose `status` is null or not there is one of a server of 2023, which never said more: inferred by its outputs.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core.machine import State
from comfy_fsm.core.wire import bodies, fieldwise, histories, queues
from replay import replay
from tests.support.lines import frame, line

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
ID, OTHER = "0f0f0f0f-1111-4222-8333-444444444444", "7a000000-1111-4222-8333-444444444444"
GRAPH = {"9": {"class_type": "SaveImage", "inputs": {}}}
FILE = {"filename": "a.png", "subfolder": "", "type": "output"}
STATUS = {
    "completed": ("success", True, [["execution_start", {"prompt_id": ID}], ["execution_success", {"prompt_id": ID}]]),
    "failed": ("error", False, [["execution_error", {
        "prompt_id": ID, "node_id": "9", "node_type": "SaveImage", "exception_type": "OSError",
        "exception_message": "no", "traceback": ["File a"]}]]),
    "cancelled": ("error", False, [["execution_interrupted", {"prompt_id": ID, "node_id": "9", "executed": ["9"]}]]),
}  # fmt: skip
NOT_THERE = object()
ODD = (None, 7, -1.5, True, "odd", "", [], {}, ["odd"], {"odd": 1}, [None], [[]], NOT_THERE)
Path_ = tuple[str | int, ...]


def record(outcome: str) -> dict:
    said, completed, messages = STATUS[outcome]
    status = {"status_str": said, "completed": completed, "messages": messages}
    return copy.deepcopy(
        {"prompt": [0, ID, GRAPH, {"client_id": "w"}, ["9"]], "outputs": {"9": {"images": [FILE]}}, "status": status,
         "meta": {"9": {"node_id": "9"}}}
    )  # fmt: skip


def job(outcome: str) -> dict:
    entry = record(outcome)
    return {"id": ID, "status": outcome, "outputs": entry["outputs"], "outputs_count": 1, "create_time": 5,
            "execution_status": entry["status"]} | (
        {"execution_error": entry["status"]["messages"][0][1]} if outcome == "failed" else {})  # fmt: skip


def paths(value: object, before: Path_ = ()) -> Iterator[Path_]:
    """Where something stands in it, from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*before, name)
        yield from paths(item, (*before, name))


def changed(value: dict, path: Path_, new: object) -> dict:
    value = copy.deepcopy(value)
    at: object = value
    for name in path[:-1]:
        at = at[name]
    if new is NOT_THERE:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


def mutations(value: dict, path: Path_) -> list[dict]:
    at: object = value
    for name in path:
        at = at[name]
    return [changed(value, path, new) for new in (*ODD, [at], {"in": at}, [at, at])]


def judged(kind: str, body: object, *heard: bytes):
    """The task after this answer, and what was found."""
    post = {"prompt": GRAPH, "client_id": "w", "prompt_id": ID}
    path = f"/history/{ID}" if kind == "record" else f"/api/jobs/{ID}"
    report = replay([
        line("ws.open", {}),
        line("http.request", {"id": "r", "method": "POST", "path": "/prompt", "body": post}),
        line("http.response", {"id": "r", "status": 200, "body": {"prompt_id": ID}}),
        *heard,
        line("http.request", {"id": "h", "method": "GET", "path": path}),
        line("http.response", {"id": "h", "status": 200, "body": body}),
    ])  # fmt: skip
    (task,) = report.tasks
    return task, report.findings


TOLD = (frame("execution_start", prompt_id=ID, timestamp=1),
        frame("executed", prompt_id=ID, node="9", display_node="9", output={"images": [FILE]}))  # fmt: skip
CASES = [(kind, outcome) for kind in ("record", "job") for outcome in STATUS]


def decides(kind: str, path: Path_) -> bool:
    """Whether what stands here, or holds it, is what decides."""
    if kind == "job" and path[0] in ("status", "execution_error", "execution_status"):
        return True
    if kind == "job" and path == ("id",):
        return True
    if kind == "record" and path[0] == "prompt":
        return len(path) == 1 or path[1] == 1
    return path[0] == "status" and (len(path) <= 3 or path[-1] in (0, "exception_type"))


@pytest.mark.parametrize(("kind", "outcome"), CASES)
def test_what_does_not_decide_changes_no_verdict(kind: str, outcome: str) -> None:
    whole = (record if kind == "record" else job)(outcome)
    tried = 0
    for path in paths(whole):
        if decides(kind, path):
            continue
        for odd in mutations(whole, path):
            task, _ = judged(kind, {ID: odd} if kind == "record" else odd)
            assert (str(task.state), task.confidence) == (outcome, "verified"), (path, odd)
            tried += 1
    assert tried > 50


@pytest.mark.parametrize(("kind", "outcome"), CASES)
@pytest.mark.parametrize("told", ["", "execution_success", "execution_error", "execution_interrupted"])
def test_without_what_decides_the_rest_does_or_nothing(kind: str, outcome: str, told: str) -> None:
    """What a frame stated is the outcome then; no answer that cannot be read invents another."""
    whole = (record if kind == "record" else job)(outcome)
    stated = {"": None, "execution_success": "completed", "execution_error": "failed",
              "execution_interrupted": "cancelled"}[told]  # fmt: skip
    heard = (frame("execution_start", prompt_id=ID, timestamp=1), frame(told, prompt_id=ID)) if told else ()
    by_rest = {outcome, stated, None} | ({"failed"} if outcome == "cancelled" else set())
    by_rest |= {"cancelled"} if kind == "job" else set()
    for path in paths(whole):
        if not decides(kind, path):
            continue
        for odd in mutations(whole, path):
            task, _ = judged(kind, {ID: odd} if kind == "record" else odd, *heard)
            old = {"completed"} if kind == "record" and odd.get("status") is None else set()
            assert (None if task.outcome is None else str(task.outcome)) in by_rest | old, (path, odd)
            assert task.confidence != "verified" or str(task.outcome) in by_rest


@pytest.mark.parametrize("outputs", [odd for odd in ODD if not isinstance(odd, dict)])
def test_of_a_record_without_readable_outputs_those_count_that_frames_told(outputs: object) -> None:
    task, findings = judged("record", {ID: changed(record("completed"), ("outputs",), outputs)}, *TOLD)
    assert (str(task.state), task.confidence) == ("completed", "verified")
    assert [output.filename for output in task.outputs] == ["a.png"]
    assert [found.text for found in findings if found.code == "unrecognized"] != []


@pytest.mark.parametrize("end", ["", "execution_success"])
def test_of_a_run_whose_end_is_open_the_report_names_what_frames_told(end: str) -> None:
    heard = (*TOLD, frame(end, prompt_id=ID, timestamp=2)) if end else TOLD
    task, _ = judged("record", {}, *heard)
    assert not task.settled
    assert [output.filename for output in task.outputs] == ["a.png"]


@pytest.mark.parametrize("kind", ["record", "job"])
def test_every_oddness_that_is_left_out_is_told(kind: str) -> None:
    """A field of another type is named by its path, or by its node, and so is a word that is not known."""
    whole = (record if kind == "record" else job)("completed")
    wrong: dict[Path_, object] = {
        ("outputs",): 7, ("outputs", "9"): [FILE], ("status",): [1],
        **({("status", "messages"): 7, ("status", "messages", 1, 1): None, ("status", "messages", 0): "x",
            ("status", "status_str"): {}} if kind == "record" else
           {("execution_status",): "x", ("outputs_count",): {}}),
    }  # fmt: skip
    for path, new in wrong.items():
        _, findings = judged(kind, {ID: changed(whole, path, new)} if kind == "record" else changed(whole, path, new))
        texts = [found.text for found in findings if found.code == "unrecognized"]
        assert any(str(path[-1]) in text or str(path[0]) in text for text in texts), (path, findings)


# others


NAMES = st.sampled_from(["status", "outputs", "prompt", "messages"])
THERE = st.sampled_from([each for each in ODD if each is not NOT_THERE])


@given(st.recursive(THERE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)))
def test_an_odd_entry_of_another_prompt_touches_nothing_of_ours(odd: object) -> None:
    alone, found_alone = judged("record", {ID: record("completed")})
    for body in ({ID: record("completed"), OTHER: odd}, {OTHER: odd, ID: record("completed")}):
        task, found = judged("record", body)
        assert (task.state, task.confidence, task.outputs) == (alone.state, alone.confidence, alone.outputs)
        assert [each.text for each in found] == [each.text for each in found_alone]


@given(st.lists(THERE | st.just([1, OTHER, {}, {}, []]), max_size=4))
def test_a_queue_is_read_item_by_item(items: list[object]) -> None:
    body = {"queue_running": [*items, [0, ID, GRAPH, {}, []]], "queue_pending": items}
    listed = queues.listing(Raw(json.dumps(body).encode()))
    assert listed is not None
    assert ID in listed.running
    assert listed.unread == 2 * sum(not (isinstance(item, list) and len(item) > 1) for item in items)
    assert bool(listed.odd) is bool(listed.unread)


def test_an_item_that_cannot_be_read_may_be_ours_and_is_not_absent() -> None:
    listed = queues.listing(Raw(json.dumps({"queue_running": [{"what": [ID]}], "queue_pending": []}).encode()))
    assert listed is not None
    assert (listed.running, listed.named) == ([], {ID})


@pytest.mark.parametrize("body", [{}, {"error": "x"}, {"detail": []}, [], "x", None, 3, {"queue_running": 1}])
def test_what_is_no_history_and_no_queue_at_all_is_none(body: object) -> None:
    raw = Raw(json.dumps(body).encode())
    assert queues.listing(raw) is None
    if body != {}:
        assert histories.records(raw) is None


# every recorded body


def recorded() -> list[dict]:
    """Every record of the newest recordings, as their servers wrote it."""
    found: list[dict] = []
    for path in sorted((FIXTURES / "recordings" / "0.33.0").glob("*.jsonl.gz")):
        for text in gzip.decompress(path.read_bytes()).splitlines():
            value = json.loads(text)
            body = value["data"].get("body") if value["kind"] == "http.response" else None
            entries = body.values() if isinstance(body, dict) else ()
            found += [each for each in entries if isinstance(each, dict) and {"prompt", "status"} <= each.keys()]
    assert len(found) > 20
    return found


RECORDED = recorded()


@given(st.sampled_from(RECORDED), st.data())
def test_no_change_of_a_recorded_record_makes_it_unreadable_or_invents_an_end(entry: dict, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(paths(entry))))
    odd = data.draw(st.sampled_from(mutations(entry, path)))
    before, _ = fieldwise.read(Raw(json.dumps(entry).encode()), bodies.HistoryRecord)
    after, _ = fieldwise.read(Raw(json.dumps(odd).encode()), bodies.HistoryRecord)
    assert before is not None
    assert after is not None
    if not decides("record", path):
        assert after.verdict().outcome == before.verdict().outcome
    else:
        assert after.verdict().outcome in (before.verdict().outcome, None, *by_status(entry))


def by_status(entry: dict) -> list[State]:
    """What is left where the messages do not tell: P24 says that it may be stale."""
    said = bodies.ENDED.get(str(entry["status"]["status_str"])) if entry["status"] else None
    return [said] if said is not None else []


# words


@pytest.mark.parametrize("word", sorted(bodies.ENDED))
@pytest.mark.parametrize("spelled", [str, str.upper, str.title, lambda text: text.replace("_", "-"), " {} ".format])
def test_every_spelling_of_an_end_ends(word: str, spelled) -> None:
    task, _ = judged("job", {"id": ID, "status": spelled(word)})
    wanted = bodies.ENDED[word]
    if spelled(word) == "failed":  # of a server that may be older than 0.9.0, an interrupt says the same (P37)
        assert task.state is State.ENDING
    else:
        assert task.state is wanted


@pytest.mark.parametrize("word", sorted(bodies.LISTED))
def test_every_spelling_of_waiting_and_running_is_a_sign_of_life(word: str) -> None:
    task, found = judged("job", {"id": ID, "status": word})
    assert task.state in (State.PENDING, State.IN_PROGRESS)
    assert "unrecognized" not in {each.code for each in found}


@given(st.text(max_size=200))
def test_an_unknown_word_is_named_and_decides_nothing(word: str) -> None:
    if bodies.word(word) in (*bodies.ENDED, *bodies.LISTED):
        return
    task, found = judged("job", {"id": ID, "status": word})
    assert not task.settled
    assert "unrecognized" in {each.code for each in found}
