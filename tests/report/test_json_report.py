"""JSON report: whatever a server sends, no byte of it reaches the terminal as it is."""

import json

import hypothesis.strategies as st
from hypothesis import given

from comfy_fsm.report import json_report
from comfy_fsm.report.player import replay


@given(st.text())
def test_a_report_is_printable_ascii_and_reads_back_as_what_was_sent(name: str) -> None:
    opened = {"at": 1.0, "kind": "ws.open", "window": name, "server": "http://x"}
    report = json_report.encode(replay([json.dumps(opened)]))
    assert report.isascii()
    assert report.isprintable()
    assert json.loads(report)["trace"]["windows"] == [name]
