"""Laws of the design, one property each; the names here say them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Deliver
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import CONCLUDABLE, MOVES, SETTLED, Signal, State, declare
from comfy_fsm.core.metrics.summary import measure
from comfy_fsm.core.observations import AnyObservation, Entry
from comfy_fsm.core.wire import codec
from comfy_fsm.log.log import Log
from comfy_fsm.log.memory import MemoryLog
from comfy_fsm.report import json_report
from comfy_fsm.testing.strategies import TrueRun, mixtures, observations, true_runs
from comfy_fsm.testing.strategies import arbitrary as draws
from comfy_fsm.testing.strategies.arbitrary import from_our_reader, sayable
from comfy_fsm.testing.strategies.scripted import WINDOWS
from replay import replay
from tests.support.examples import law
from tests.support.folding import entries, facts, fold_all, outcomes
from tests.support.reference import judge
from tests.support.runs import decided

Snapshot = tuple[list[Any], list[Any], list[Any]]


def snapshot(board: Board) -> Snapshot:
    """All that a board says; draining it changes what it has to say, so the board is spent afterwards."""
    return facts(board.tasks), facts(board.findings), board.drain()


# law 1


@law
@given(st.data(), true_runs())
def test_any_interleaving_of_the_sources_of_a_true_run_gives_the_same_outcomes(
    data: st.DataObject, run: TrueRun
) -> None:
    mixed = data.draw(mixtures(run.observations), label="mixed")
    assert decided(run, fold_all(mixed)) == decided(run, fold_all(run.observations))


@law
@given(st.data(), true_runs())
def test_no_mixture_of_a_true_run_is_told_an_outcome_that_it_did_not_have(data: st.DataObject, run: TrueRun) -> None:
    for (_, prompt_id), told in outcomes(fold_all(data.draw(mixtures(run.observations), label="mixed"))).items():
        assert {outcome for _, outcome in told} <= {None, run.truth[prompt_id or ""]}


# law 2


@given(true_runs())
def test_a_repeated_entry_changes_nothing_and_asks_nothing(run: TrueRun) -> None:
    once, twice = Board(), Board()
    before: list[Entry] = []
    for entry in entries(run.observations):
        once.fold(entry)
        twice.fold(entry)
        asked = twice.drain()
        assert asked == once.drain()
        for repeated in (entry, *before[-1:], *before[:1]):
            twice.fold(repeated)
            assert twice.drain() == []
        before.append(entry)
    assert snapshot(twice) == snapshot(once)


@given(true_runs())
def test_a_frame_that_is_told_twice_leaves_every_outcome(run: TrueRun) -> None:
    whole = outcomes(fold_all(run.observations))
    frames = [n for n, o in enumerate(run.observations) if isinstance(o, seen.Message)]
    for n in frames:
        assert outcomes(fold_all([*run.observations[: n + 1], *run.observations[n:]])) == whole


# law 3


@given(st.data(), true_runs() | st.lists(observations(), max_size=30))
def test_to_fold_the_rest_after_a_prefix_is_to_fold_it_all(
    data: st.DataObject, run: TrueRun | list[AnyObservation]
) -> None:
    line = entries(run.observations if isinstance(run, TrueRun) else run)
    cuts = data.draw(st.sets(st.integers(0, len(line)), max_size=3), label="cuts")
    tasks, findings, effects = snapshot(folded(line))
    for n in cuts:
        assert snapshot(folded(line[:n], line[n:])) == (tasks, findings, effects), f"cut before entry {n}"
        acted = folded(line[:n], line[n:], between=Board.drain)  # by a process that did what was wanted so far
        assert snapshot(acted)[:2] == (tasks, findings), f"cut and acted on before entry {n}"


def folded(*parts: list[Entry], between: Callable[[Board], object] = lambda board: board.tasks) -> Board:
    board = Board()
    for part in parts:
        for entry in part:
            board.fold(entry)
        between(board)
    board.finish()
    return board


@settings(max_examples=15)
@given(st.lists(sayable, min_size=1, max_size=20))
def test_a_log_refolds_to_the_same_board(line: list[AnyObservation]) -> None:
    async def fill(log: Log | MemoryLog) -> list[Entry]:
        async with log:
            await log.append(*map(codec.encode, line))
            return [Entry(position, codec.read(raw)) for position, raw, _ in log.read() if raw is not None]

    async def both() -> tuple[list[Entry], list[Entry]]:
        with tempfile.TemporaryDirectory() as folder:
            return await fill(MemoryLog()), await fill(await Log.open(Path(folder) / "log"))

    for read in asyncio.run(both()):
        board = Board()
        for entry in read:
            board.fold(entry)
        board.finish()
        assert snapshot(board) == snapshot(fold_all(line))


# law 4


@law
@given(st.lists(observations(), max_size=60))
def test_a_task_is_delivered_at_most_once_and_settled_on_evidence_never_unsettles(
    line: list[AnyObservation],
) -> None:
    board, delivered, settled, concluded = Board(), {}, {}, set()
    for entry in entries(line):
        board.fold(entry)
        recovering = isinstance(entry.observation, seen.Command) and entry.observation.data.name in ("recover", "adopt")
        for task in board.tasks:
            before = settled.get(task.number)
            if before is not None and task.state is not before:
                assert before in CONCLUDABLE
                if recovering:
                    assert task.state is State.UNCERTAIN
                    delivered.pop(task.prompt_id, None)
                else:  # evidence came late, and what was only concluded gave way
                    assert task.number in concluded
                    assert "late-evidence" in {finding.code for finding in board.findings_of(task)}
        concluded = {task.number for task in board.tasks if task.concluded}
        settled = {task.number: task.state for task in board.tasks if task.state in SETTLED}
        for effect in board.drain():
            if isinstance(effect, Deliver):
                told = delivered.setdefault(effect.result.prompt_id, [])
                told.append(effect.result)
                same = [task for task in board.tasks if task.prompt_id == effect.result.prompt_id]
                assert len(told) <= max(1, len(same)), "more deliveries than tasks under this id"


@given(st.data(), true_runs())
def test_each_task_of_a_true_run_is_delivered_once_it_is_settled_and_never_twice(
    data: st.DataObject, run: TrueRun
) -> None:
    mixed = data.draw(mixtures(run.observations), label="mixed")
    board = Board()
    told = []
    for entry in entries(mixed):
        board.fold(entry)
        told += [e.result.prompt_id for e in board.drain() if isinstance(e, Deliver)]
    board.finish()
    told += [e.result.prompt_id for e in board.drain() if isinstance(e, Deliver)]
    assert sorted(told, key=str) == sorted((t.prompt_id for t in board.tasks if t.settled), key=str)


# law 5


def use(board: Board) -> None:
    board.finish()
    board.drain()
    measure(board)


@law
@given(st.lists(observations(), max_size=60))
def test_no_observation_in_any_state_raises(line: list[AnyObservation]) -> None:
    use(fold_all(line))
    json_report.encode(replay([codec.encode(seen.Tick(at=0.0)), *map(codec.encode, line)]))


@st.composite
def spoiled_lines(draw: st.DrawFn) -> bytes:
    """A good line with some of its bytes, or one of its values, replaced by something else."""
    line = codec.encode(draw(observations()))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(line)))
        return line[:at] + draw(st.binary(max_size=4)) + line[draw(st.integers(at, len(line))) :]
    value = json.loads(line)
    inner = value
    while isinstance(inner, dict) and inner:
        key = draw(st.sampled_from(sorted(inner)))
        if not isinstance(inner[key], dict) or draw(st.booleans()):
            inner[key] = draw(draws.json_values | st.just(float("nan")) | st.just("\ud800") | st.just([1] * 50))
            break
        inner = inner[key]
    return json.dumps(value).encode("utf-8", "surrogatepass")


@given(st.lists(spoiled_lines() | st.binary(max_size=40) | observations().map(codec.encode), max_size=30))
def test_no_line_whatever_its_bytes_raises(lines: list[bytes]) -> None:
    use(fold_all(codec.read(line) for line in lines))
    json_report.encode(replay([codec.encode(seen.Tick(at=0.0)), *lines]))


# law 6


@pytest.mark.parametrize("state", State)
def test_the_compiled_table_and_the_declared_machine_agree_on_every_signal(state: State) -> None:
    machine = declare()
    for signal in Signal:
        model: Any = SimpleNamespace()
        machine.add_model(model, initial=str(state))
        assert model.trigger(str(signal))
        assert MOVES[state][signal] == State(model.state)
        machine.remove_model(model)


# law 7

# What another window's socket and its questions bring. Left out is what is told about the server and not about a task,
# and so rightly counts for everybody: an abnormal close is an outage (P8), feature flags show the version, a queue
# lists every window's prompts; and what a window does to another by intent: to post, delete or interrupt.
previews = st.builds(seen.BinaryData, st.just(4), st.builds(seen.BinaryMetadata, draws.prompt_ids))
questions = st.builds(seen.RequestData, draws.texts.map("other-{}".format), st.just("GET"), draws.paths)
strangers = st.one_of(
    draws.seen_as(seen.Message, draws.frames.filter(lambda frame: not isinstance(frame, seen.FeatureFlags))),
    draws.seen_as(seen.Binary, previews),
    draws.seen_as(seen.Opened),
    draws.seen_as(seen.Closed, st.just(seen.CloseData(1000))),
    draws.seen_as(seen.Request, questions),
)
SAID = ("window", "state", "outcome", "confidence", "completion_source", "confirmed_by", "submitted_at", "started_at",
        "ended_at", "settled_at", "outputs", "error", "signals")  # fmt: skip


def ours(observed: list[tuple[int, AnyObservation]]) -> dict[str | None, dict[str, Any]]:
    board = Board()
    for position, o in observed:
        board.fold(Entry(position, o))
    board.finish()
    return {t.prompt_id: {name: getattr(t, name) for name in SAID} for t in board.tasks if t.window == WINDOWS[0]}


def among(run: TrueRun, others: list[tuple[int, AnyObservation]]) -> list[tuple[int, AnyObservation]]:
    """The run at positions that leave room, and each of the others after the entry it names, at its time."""
    line = {n * 1000: o for n, o in enumerate(run.observations, 1)}
    for n, (after, o) in enumerate(others):
        at = min(after, len(run.observations))
        now = run.observations[max(at - 1, 0)].at
        changed = {name: getattr(o, name) for name in o.__struct_fields__} | {"at": now, "window": WINDOWS[1 + n % 2]}
        line[at * 1000 + n + 1] = type(o)(**changed)
    return sorted(line.items())


@law
@given(true_runs(windows=1, servers=1), st.lists(st.tuples(st.integers(0, 200), strangers), max_size=15))
def test_what_another_window_observes_never_changes_a_task_of_ours(
    run: TrueRun, others: list[tuple[int, AnyObservation]]
) -> None:
    assert ours(among(run, others)) == ours(among(run, []))


# law 8


@given(sayable)
def test_what_is_encoded_decodes_to_itself(o: AnyObservation) -> None:
    assert codec.read(codec.encode(o)) == o
    assert type(codec.read(codec.encode(o))) is type(o)


@given(from_our_reader)
def test_no_line_can_say_what_only_our_reader_says(o: AnyObservation) -> None:
    """Whatever bears its kind is a line of an unknown kind, and says nothing else."""
    read = codec.read(codec.encode(o))
    if isinstance(o, seen.Message):
        assert isinstance(read, seen.Message)
        assert read.data == seen.UnrecognizedFrame(str(seen.UnrecognizedFrame.__struct_config__.tag))
    else:
        assert isinstance(read, seen.Unrecognized)
        assert (read.name, read.why) == (str(type(o).__struct_config__.tag), "")


@law
@given(true_runs(windows=1, servers=1))
def test_the_fold_agrees_with_the_slow_and_obvious_model(run: TrueRun) -> None:
    told = {prompt_id: tasks[0] for (_, prompt_id), tasks in outcomes(fold_all(run.observations)).items()}
    assert told == judge(run.observations)
