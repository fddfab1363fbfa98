"""Heading and table as HTML that stands in a notebook; every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from comfy_fsm.display import harmless

__all__ = ["draw"]

_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"
_WORDS = {
    "pass": "#19703a", "completed": "#19703a", "fail": "#b3261e", "failed": "#b3261e", "rejected": "#b3261e",
    "lost": "#b3261e", "expired": "#b3261e", "error": "#b3261e", "incomplete": "#8a5a00", "unknown": "#8a5a00",
    "warning": "#8a5a00", "cancelled": "#7a3c93",
}  # fmt: skip
"""Colours that are read on white and on black."""


def draw(word: str, heading: str, titles: Sequence[str], rows: Iterable[Sequence[object]], more: str = "") -> str:
    """Return the heading in the colour of its word, the table, and below it what it leaves out."""
    head = "".join(f'<th style="{_CELL}">{_text(title)}</th>' for title in titles)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
    colour = _WORDS.get(word, "inherit")
    left = f"<p>{_text(more)}</p>" if more else ""
    return f'<div><p><strong style="color:{colour}">{_text(heading)}</strong></p>{table}{left}</div>'


def _cell(value: object) -> str:
    colour = _WORDS.get(str(value))
    return f'<td style="{_CELL}{f";color:{colour};font-weight:600" if colour else ""}">{_text(value)}</td>'


def _text(value: object) -> str:
    return html.escape(harmless(value))
