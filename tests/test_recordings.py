"""Tests of the fixtures: each reaches its verdict, and keeps it if its lines are doubled, mixed, or cut off."""

import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.core.observations import AnyObservation, Command, Damaged, Header, Message
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import TraceError
from comfy_fsm.log.trace import read_lines
from comfy_fsm.report.json_report import encode
from comfy_fsm.testing.strategies.runs import interleave, source_of, sources_of
from replay import Replay, replay
from tests.support.fixtures import (
    FIXTURES,
    MADE,
    RECORDINGS,
    bytes_of,
    entries_of,
    expected_of,
    how_many,
    name_of,
    read,
    replayed,
    some,
)
from tests.support.folding import Outcomes, fold_all, outcomes

SEEDS = (1, 2, 3)
OURS = "live-client"
"""Logs of our own client: one process asked for all its windows, and its questions keep their order."""
DISPUTED = ("contradiction", "late-evidence")
REOPENING = ("recover", "adopt")
TAIL = 60  # lines in front of one that is cut off at each of its bytes; a cut says nothing about what lies further back


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=name_of, scope="module")


@lru_cache(maxsize=2)
def observed(path: Path) -> list[AnyObservation]:
    return [entry.observation for entry in entries_of(path)]


@lru_cache(maxsize=2)
def told(path: Path) -> Outcomes:
    """The outcomes of the whole trace, as it is."""
    return outcomes(fold_all(observed(path)))


def check_verdict(expected: dict, document: dict, *, exact: bool) -> None:
    tasks = {task["prompt_id"]: task for task in document["tasks"]}
    assert tasks.keys() == expected["tasks"].keys()
    for prompt_id, wanted in expected["tasks"].items():
        task = tasks[prompt_id]
        facts = {k: v for k, v in wanted.items() if k not in ("truth", "error")}
        assert {k: task[k] for k in facts} == facts, prompt_id
        if wanted.get("error") is not None:
            error = task["error"]
            assert error is not None, prompt_id
            assert wanted["error"] in " ".join(filter(None, (error["type"], error["message"]))), prompt_id
    severities = {finding["code"]: finding["severity"] for finding in document["findings"]}
    wanted_codes = set(expected["findings"])
    assert wanted_codes <= severities.keys()
    assert {code for code, severity in severities.items() if severity == "error"} <= wanted_codes
    if exact:
        loud = {code for code, severity in severities.items() if severity != "note"}
        assert loud <= wanted_codes


def reported(found: Replay) -> Any:
    return json.loads(encode(found))


@each(RECORDINGS)
def test_every_recording_reaches_its_verdict(path: Path) -> None:
    check_verdict(expected_of(path), reported(replayed(path)), exact=False)


@each(MADE)
def test_every_made_trace_reaches_its_verdict_and_no_other_warning(path: Path) -> None:
    check_verdict(expected_of(path), reported(replayed(path)), exact=True)


def test_two_traces_of_one_server_replay_as_one() -> None:
    expected = json.loads((FIXTURES / "made" / "merge.expected.json").read_text(encoding="utf-8"))
    paths = [FIXTURES / "made" / name for name in expected["files"]]
    for order in (paths, paths[::-1]):
        check_verdict(expected, reported(replay(*order)), exact=True)


@each(RECORDINGS + MADE)
def test_all_frames_doubled_leave_every_outcome(path: Path) -> None:
    doubled = []
    for o in observed(path):
        doubled += [o] * (2 if isinstance(o, Message) else 1)
    assert outcomes(fold_all(doubled)) == told(path)


@how_many
@each(RECORDINGS + MADE)
def test_each_single_frame_doubled_leaves_every_outcome(path: Path, most: int) -> None:
    seen = observed(path)
    frames = [i for i, o in enumerate(seen) if isinstance(o, Message)]
    for index in some(len(frames), most):
        at = frames[index]
        assert outcomes(fold_all([*seen[: at + 1], *seen[at:]])) == told(path), f"line {entries_of(path)[at].position}"


def sources_in(path: Path, seen: list[AnyObservation]) -> list[list[AnyObservation]]:
    if OURS not in path.name:
        return sources_of(seen)
    found: dict[object, list[AnyObservation]] = {}
    for o in seen:
        source = source_of(o)
        found.setdefault(source if source[2] == "ws" else "http", []).append(o)
    return list(found.values())


@each([path for path in RECORDINGS if OURS in path.name])
def test_many_mixes_of_what_our_client_logged_give_the_same_outcomes(path: Path) -> None:
    """It was killed and resumed, and its server was killed: what explains an absence may be told before or after it."""
    sources = sources_in(path, observed(path))
    for seed in range(100, 160):
        assert outcomes(fold_all(interleave(sources, random.Random(seed)))) == told(path), seed


@pytest.mark.parametrize("seed", SEEDS)
@each(RECORDINGS)
def test_every_mix_of_the_sources_gives_the_same_outcomes(path: Path, seed: int) -> None:
    mixed = interleave(sources_in(path, observed(path)), random.Random(seed))
    assert outcomes(fold_all(mixed)) == told(path)


@each(RECORDINGS)
def test_every_mix_whose_sources_lag_but_a_little_gives_the_same_outcomes(path: Path) -> None:
    """A full shuffle moves whole sockets past each other; what happens in the field is a few frames."""
    for seed in SEEDS:
        mixed = interleave(sources_in(path, observed(path)), random.Random(seed), lag=5)
        assert outcomes(fold_all(mixed)) == told(path), f"seed {seed}"


@how_many
@each(RECORDINGS + MADE)
def test_no_longer_prefix_takes_an_outcome_back(path: Path, most: int) -> None:
    """An outcome that was once reported stands, unless a recover command reopened the task.

    Nor can it where the server contradicts itself: the record overrules the message, and the finding says so. Nor where
    it was only concluded, and evidence came late.
    """
    seen = observed(path)
    disputed = {finding.prompt_id for finding in fold_all(seen).findings if finding.code in DISPUTED}
    known: dict[tuple[str, str | None, int], str] = {}
    reopened: set[str | None] = set()
    for cut in some(len(seen) + 1, most):
        reopened |= {o.data.prompt_id for o in seen[:cut] if isinstance(o, Command) and o.data.name in REOPENING}
        now = {
            (server, prompt_id, number): outcome
            for (server, prompt_id), tasks in outcomes(fold_all(seen[:cut])).items()
            for number, (_, outcome) in enumerate(tasks)
        }
        for key, outcome in known.items():
            if key[1] not in reopened | disputed:
                assert now.get(key) == outcome, f"prefix of {cut} entries: {key[1]}"
        known |= {key: outcome for key, outcome in now.items() if outcome is not None}


@each(RECORDINGS + MADE)
def test_the_header_may_be_missing(path: Path) -> None:
    headless = [o for o in observed(path) if not isinstance(o, Header)]
    assert outcomes(fold_all(headless)) == told(path)
    replay([codec.encode(o) for o in headless])


def codes_and_outcomes(lines: list[bytes]) -> tuple[list[tuple[str, int]], dict]:
    """Of a file of these lines, whose last does not end."""
    entries = read(b"\n".join(lines), "cut")
    damaged = [(e.observation.data.code, e.position) for e in entries if isinstance(e.observation, Damaged)]
    return damaged, outcomes(fold_all(entry.observation for entry in entries))


@how_many
@each(RECORDINGS + MADE)
def test_the_last_line_may_be_cut_off_at_every_byte(path: Path, most: int) -> None:
    """It is then told to be damaged, and nothing is concluded from the half of it that is there."""
    lines = [line for line in bytes_of(path).splitlines() if line.strip() and not line.startswith(b"#")]
    lines = [line for line in lines if not is_damaged(line)]
    short, last = lines[:1] + lines[1:-1][-TAIL:], lines[-1]
    _, before = codes_and_outcomes(short)
    assert all(is_damaged(last[:cut]) for cut in range(1, len(last)))
    for cut in (index + 1 for index in some(len(last) - 1, most)):
        damaged, after = codes_and_outcomes([*short, last[:cut]])
        assert damaged == [("damaged", len(short) + 1)], f"cut after {cut} bytes"
        assert after == before, f"cut after {cut} bytes"
    assert codes_and_outcomes([*short, last])[0] == []


def is_damaged(line: bytes) -> bool:
    try:
        codec.parse(line)
    except codec.Unreadable:
        return True
    return False


@each(RECORDINGS[:1] + MADE[:1])
def test_a_first_line_that_is_cut_off_is_no_trace(path: Path) -> None:
    first = next(line for line in bytes_of(path).splitlines() if not line.startswith(b"#"))
    for cut in range(1, len(first)):
        with pytest.raises(TraceError):
            list(read_lines([first[:cut]]))
