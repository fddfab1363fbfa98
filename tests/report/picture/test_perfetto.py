"""Tests of the trace for Perfetto: every span is closed, and nothing is nested wrongly."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from comfy_fsm.report.picture import perfetto
from tests.support.fixtures import MADE, RECORDINGS, name_of
from tests.support.pictures import MARKUP, hostile, picture_of, run


def events_of(source) -> list[dict]:
    return json.loads(perfetto.encode(picture_of(source).scene))["traceEvents"]


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_of_a_recording_every_span_is_closed_and_none_is_nested_wrongly(path: Path) -> None:
    open_: dict[tuple, list[str]] = defaultdict(list)
    last: dict[tuple, int] = defaultdict(int)
    for event in events_of(path):
        if event["ph"] not in "be":
            assert event["ph"] in "Mi"
            continue
        key = event["cat"], event["id"], event["pid"]
        assert event["ts"] >= last[key]
        last[key] = event["ts"]
        if event["ph"] == "b":
            open_[key].append(event["name"])
        else:
            assert open_[key].pop() == event["name"]
    assert not any(open_.values())


def test_exchanges_that_overlap_have_ids_of_their_own() -> None:
    begun = [event for event in events_of(run()) if event["ph"] == "b" and event["cat"] == "http"]
    assert len({event["id"] for event in begun}) == len(begun) == 2


def test_a_task_holds_its_states_one_after_the_other() -> None:
    names = [event["name"] for event in events_of(run()) if event.get("cat") == "task" and event["ph"] == "b"]
    assert names == ["task p-1", "submitting", "pending", "in_progress", "completed"]


def test_hostile_names_are_texts() -> None:
    json.loads(perfetto.encode(picture_of(hostile(MARKUP)).scene))
