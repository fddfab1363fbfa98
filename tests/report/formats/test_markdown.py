"""Tests of the report as Markdown: what it tells, and that nothing in it comes alive on GitHub."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.report.formats import markdown
from comfy_fsm.report.player import replay
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.hostile import HOSTILE
from tests.support.pictures import MARKUP, hostile

INTERRUPTS = next(path for path in RECORDINGS if name_of(path) == "0.3.64/interrupts")
LIVE = {
    "a mention": "@torvalds", "an issue": "#12", "an issue by name": "GH-12", "an address": "https://evil.example/x",
    "a bare address": "www.evil.example", "a letter": "a@evil.example", "a link": "[x](http://evil.example)",
    "an image": "![x](http://evil.example/x.png)", "a heading": "\n# big", "a row": "| a | b |", "a fence": "```\nx",
    "a sign": ":smile: $x$ ~~y~~ **z** _w_", "markup": MARKUP, "an entity": "&#64;torvalds &lt;b&gt;",
}  # fmt: skip


def test_the_report_tells_verdict_tasks_and_findings() -> None:
    told = markdown.compose(replay(INTERRUPTS), utc=True)
    assert told.startswith("### FAIL – 1 error: foreign-interrupt; tasks: 2 cancelled\n")
    assert "| `317d5c72` | **cancelled** | `9175b937` | `127.0.0.1:8101` | 2.01 s | An interrupt by window" in told
    assert "- line 48: task `317d5c72`: interrupted by window a5799cabac4c41bf8fa090a6b204e21a" in told


@pytest.mark.parametrize("name", (LIVE | HOSTILE).values(), ids=LIVE | HOSTILE)
def test_hostile_names_are_text_and_nothing_else(name: str) -> None:
    told = markdown.compose(replay(hostile(name)))
    told = told.replace("&#8203;", "\u200b")
    bare = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", told)  # without code, in which nothing is alive
    assert not re.search(r"(?<!\\)[<`]|(?<!\\)\]\(|[@#]\w|https?://|www\.|GH-\d|:[a-z]+:", bare, re.I)
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {7}
    assert all(line.startswith(("#", "`", "|", "*", "-", "and ")) for line in told.splitlines() if line)


@given(st.text(max_size=60))
def test_a_plain_text_stays_on_its_line_and_holds_no_live_sign(text: str) -> None:
    told = markdown.plain(text).replace("&#8203;", "\u200b")
    assert "\n" not in told
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]|~$!<]|[@#]\w", told)


@given(st.text(min_size=1, max_size=60))
def test_code_ends_where_it_ends(text: str) -> None:
    told = markdown.code(text)
    if told:
        fence = re.match("`+", told)
        assert fence is not None
        assert re.findall("`+", told).count(fence[0]) == 2
        assert told.endswith(fence[0])
