"""Findings: every code has its row, and a reader of logs reports no other."""

from __future__ import annotations

from typing import get_args

from comfy_fsm.core.findings import CODES, Code, Severity
from comfy_fsm.core.observations import DamageCode


def test_every_code_has_a_row_and_every_row_a_code() -> None:
    assert list(CODES) == list(Code)
    assert all(row.code is code for code, row in CODES.items())


def test_every_row_says_what_it_means_and_what_to_do_in_whole_sentences() -> None:
    sentences = [text for row in CODES.values() for text in (row.meaning, row.advice)]
    assert [text for text in sentences if not text.endswith(".") or "\n" in text] == []


def test_what_a_reader_reports_as_damage_is_a_finding() -> None:
    assert set(get_args(DamageCode)) <= set(CODES)


def test_the_gravest_severity_comes_first() -> None:
    assert list(Severity) == [Severity.ERROR, Severity.WARNING, Severity.NOTE]
