"""A diagnosis as text and as JSON: whole, bounded, and driven by nothing that a server said."""

from __future__ import annotations

import json
import re
from pathlib import Path

from comfy_fsm.core.explain.diagnosis import CONCERNS
from comfy_fsm.report import json_report
from replay import replay
from tests.support.explaining import text_of
from tests.support.fixtures import FIXTURES, MADE
from tests.support.stories import Story, hostile

ROOT = FIXTURES.parent


LOST = "fixtures/recordings/0.3.64/server-killed.jsonl.gz"


def test_hostile_names_drive_nothing() -> None:
    for cut in range(1, len(hostile().lines) + 1):
        found = replay(hostile().lines[:cut])
        for shown in (text_of(found), json_report.encode_diagnoses(found)):
            assert not [letter for letter in shown if letter != "\n" and not letter.isprintable()]
        assert "{c.task}" in text_of(found) or cut < 2
        for told in found.diagnose()[0]:
            assert not [step.command for step in told.steps if step.command]  # nothing to paste into a shell


def test_the_formats_name_every_field_of_the_diagnosis() -> None:
    formats = (
        (ROOT / "docs" / "reference" / "formats.md").read_text(encoding="utf-8").partition("## The JSON diagnosis")[2]
    )
    told = json_report.encode_diagnoses(replay(ROOT / LOST, MADE[0]))
    trace = json.loads(told)["trace"]
    fields = set(re.findall(r'"(\w+)":', told)) - trace.keys()
    assert fields > {"concern", "says", "next", "command", "seen"}
    assert [name for name in sorted({*fields, *CONCERNS}) if f"`{name}`" not in formats] == []


def test_each_line_of_several_traces_is_cited_with_its_file() -> None:
    found = replay(MADE[0].with_name("merge-a.jsonl"), MADE[0].with_name("merge-b.jsonl"))
    assert re.search(r"merge-a\.jsonl:\d+", text_of(found, 100))
    told = json.loads(json_report.encode_diagnoses(found))
    files = {place["file"] for task in told["tasks"] for move in task["evidence"] for place in move["seen"]}
    assert {Path(file).name for file in files} == {"merge-a.jsonl", "merge-b.jsonl"}


def test_many_tasks_are_told_as_far_as_a_person_reads() -> None:
    story = Story().listen()
    for number in range(200):
        story.post(prompt_id=f"{number:08}-2222-4333-8444-555555555555")
    shown = text_of(story.replay(), whole=False)
    assert shown.count("PENDING") == 20
    assert "and 180 more tasks that need attention" in shown
