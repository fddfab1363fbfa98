"""Tests of the report as JUnit XML: green where the verdict is a pass, and readable whatever a trace contains."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from comfy_fsm.report.formats import junit
from comfy_fsm.report.player import Replay, replay
from tests.support.fixtures import MADE, RECORDINGS, name_of
from tests.support.hostile import HOSTILE
from tests.support.pictures import MARKUP, hostile

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "system-out": set(),
}
"""What Jenkins, GitLab and GitHub's reporters read, by the schema of Jenkins."""


def suite_of(found: Replay) -> ElementTree.Element:
    whole = ElementTree.fromstring(junit.encode(found))
    assert whole.tag == "testsuites"
    for element in whole.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
    (suite,) = whole
    cases = list(suite)
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == sum(case.find("failure") is not None for case in cases)
    assert int(suite.attrib["errors"]) == sum(case.find("error") is not None for case in cases)
    assert {child.tag for case in cases for child in case} <= {"failure", "error", "system-out"}
    return suite


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_a_recording_is_green_exactly_where_its_verdict_is_a_pass(path: Path) -> None:
    found = replay(path)
    suite = suite_of(found)
    assert len(suite) == len(found.tasks) + 1
    assert (suite.attrib["failures"] == "0") is (found.verdict != "fail")
    assert (suite.attrib["failures"] == suite.attrib["errors"] == "0") is (found.verdict == "pass")


@pytest.mark.parametrize("name", [*HOSTILE.values(), MARKUP, "]]>"])
def test_hostile_names_are_text(name: str) -> None:
    suite_of(replay(hostile(name)))
