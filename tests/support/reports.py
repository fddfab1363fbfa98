"""Reports of the fixtures, as text."""

import io
from pathlib import Path

import pytest

from comfy_fsm.report import text
from comfy_fsm.report.player import Replay

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


TRACES = sorted([*FIXTURES.glob("made/*.jsonl"), *FIXTURES.glob("recordings/0.3.64/*.jsonl*")])


ERRORS = FIXTURES / "recordings" / "0.3.64" / "errors.jsonl.gz"


each_trace = pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.name.partition(".")[0])


def drawn(found: Replay, *, story: bool = False) -> str:
    page = io.StringIO()
    text.draw(found, page, color=False, story=story, utc=True)
    return page.getvalue()
