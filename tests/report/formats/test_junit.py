"""Tests of the report as JUnit XML: green where the verdict is a pass, and readable whatever a trace contains."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from junitparser.junitparser import Error, Failure
from junitparser.xunit2 import JUnitXml, TestSuite

from comfy_fsm.report.formats import junit
from comfy_fsm.report.player import Replay, replay
from tests.support.fixtures import MADE, RECORDINGS, name_of
from tests.support.hostile import HOSTILE
from tests.support.pictures import MARKUP, hostile

COUNTS = {"tests", "failures", "errors"}
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), COUNTS | {"name", "time"}, {"testsuite"}),
    "testsuite": (
        COUNTS | {"name"},
        {"group", "hostname", "id", "package", "skipped", "time", "timestamp"},
        {"testcase", "properties", "system-out", "system-err"},
    ),
    "testcase": ({"name"}, {"classname", "group", "time"}, {"error", "failure", "skipped", "system-err", "system-out"}),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
    "system-out": (set(), set(), set()),
}
"""What the schema of Jenkins (junit-10.xsd) has in an element: attributes that it requires, others, and children."""
TIME = re.compile(r"[0-9]+(\.[0-9]{0,3})?")
CONTROL = {
    "control characters": "".join(map(chr, (*range(32), *range(127, 160)))),
    "no characters": "\ufffe\uffff\U0001ffff\ufdd0", "half a character": "a\ud83db\ude00c",
    "the end of CDATA": "]]><![CDATA[", "an entity": "&lol;&#0;&#x1b;",
    "a comment": "--><?xml version='1.1'?><!DOCTYPE x>", "a megabyte": "\x00" * 1_000_000, "markup": MARKUP,
}  # fmt: skip


def suite_of(found: Replay) -> TestSuite:
    """Read the report as the readers of CI servers do."""
    text = junit.encode(found)
    for element in ElementTree.fromstring(text.encode()).iter():
        required, others, children = SCHEMA[element.tag]
        assert required <= element.attrib.keys() <= required | others
        assert {child.tag for child in element} <= children
        assert TIME.fullmatch(element.attrib.get("time", "0"))
    whole = JUnitXml.fromstring(text.encode())
    (suite,) = whole
    for read in (whole, suite):
        told = read.tests, read.failures, read.errors
        cases = list(suite)
        results = [result for case in cases for result in case.result]
        assert told == (
            len(cases),
            sum(isinstance(result, Failure) for result in results),
            sum(isinstance(result, Error) for result in results),
        )
    return suite


@pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
def test_a_recording_is_green_exactly_where_its_verdict_is_a_pass(path: Path) -> None:
    found = replay(path)
    suite = suite_of(found)
    assert [case.name for case in suite] == [*(task.prompt_id or "(no id)" for task in found.tasks), "the trace itself"]
    assert (suite.failures == 0) is (found.verdict != "fail")
    assert (suite.failures == suite.errors == 0) is (found.verdict == "pass")


@pytest.mark.parametrize("name", (HOSTILE | CONTROL).values(), ids=HOSTILE | CONTROL)
def test_hostile_names_are_text(name: str) -> None:
    found = replay(hostile(name))
    suite = suite_of(found)
    assert len(list(suite)) == len(found.tasks) + 1
    for case in suite:
        assert len(case.name) <= 80
        assert all(len(result.text or "") < 20_000 for result in case.result)
