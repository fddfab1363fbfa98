"""Tests of the report as Markdown: what it tells, and that nothing in it comes alive on GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from comfy_fsm.display import Names, harmless, host
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


READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {
    "heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "strong", "em",
    "inline", "text", "text_special", "code_inline",
}  # fmt: skip
"""What a report is made of, in the reader's words."""
ALIVE = re.compile(r"[@#]\w|\w@\w|https?://|www\.|GH-\d|:[a-z]+:", re.I)
"""What GitHub finds in any text that is no code: mentions, references, addresses, signs."""
FORMULA = re.compile(r"(?<!\\)(?:\\\\)*\$")
"""Where GitHub, and not our reader, would begin a formula."""


def tokens_of(told: str) -> Iterator[Token]:
    for token in READER.parse(told):
        yield token
        yield from token.children or ()


def kinds_of(told: str) -> set[str]:
    return {token.type.removesuffix("_open").removesuffix("_close") for token in tokens_of(told)}


def shown(inline: Token) -> str:
    return "".join(each.content for each in inline.children or ()).replace("\u200b", "")


def rows_of(told: str) -> list[list[str]]:
    """The cells of the table, as a reader of the rendered page sees them."""
    tokens = READER.parse(told)
    rows: list[list[str]] = []
    for token, inside in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(shown(inside))
    return rows


def test_the_report_tells_verdict_tasks_and_findings() -> None:
    told = markdown.compose(replay(INTERRUPTS), utc=True)
    assert told.startswith("### FAIL – 1 error: foreign-interrupt; tasks: 2 cancelled\n")
    assert "| `317d5c72` | **cancelled** | `9175b937` | `127.0.0.1:8101` | 2.01 s | An interrupt by window" in told
    assert "- line 48: task `317d5c72`: interrupted by window a5799cabac4c41bf8fa090a6b204e21a" in told


@pytest.mark.parametrize("name", (LIVE | HOSTILE).values(), ids=LIVE | HOSTILE)
def test_hostile_names_are_text_and_nothing_else(name: str) -> None:
    found = replay(hostile(name))
    told = markdown.compose(found)
    assert kinds_of(told) <= OURS
    assert not FORMULA.search(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", told))
    for token in tokens_of(told):
        assert token.type != "text" or not ALIVE.search(token.content)
    head, *rows = rows_of(told)
    assert head == ["task", "state", "window", "server", "took", "what became of it"]
    assert [len(row) for row in rows] == [6] * len(found.tasks)
    ids = Names((task.prompt_id for task in found.tasks), found.trace.windows)
    assert sorted((row[0].strip(), row[3]) for row in rows) == sorted(
        (ids.task(task.prompt_id).strip(), host(task.server)) for task in found.tasks
    )


texts = st.text(max_size=60) | st.text("\\\\`*_[]()<>|~$!&#@:;-+=.1aw \n", max_size=40)


@given(texts)
def test_a_plain_text_is_shown_as_it_is(text: str) -> None:
    told = f"line 1: {markdown.plain(text)}"
    assert kinds_of(told) <= {"paragraph", "inline", "text", "text_special"}
    assert not FORMULA.search(told)
    assert not ALIVE.search("".join(token.content for token in tokens_of(told) if token.type == "text"))
    (inline,) = (token for token in READER.parse(told) if token.type == "inline")
    assert shown(inline) == f"line 1: {harmless(text)}".rstrip()


@given(texts)
def test_code_is_shown_as_it_is(text: str) -> None:
    told = f"line 1: {markdown.code(text)}"
    assert kinds_of(told) <= {"paragraph", "inline", "text", "code_inline"}
    (inline,) = (token for token in READER.parse(told) if token.type == "inline")
    assert shown(inline).split() == f"line 1: {harmless(text, 80)}".split()
