"""Display of untrusted text: everything from a server or a trace passes `harmless` before a person sees it."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["LONGEST", "MARKS", "harmless"]

LONGEST = 300
MARKS = 3
"""Combining marks on one letter that are shown: no language needs more, and a tower of them covers other lines."""

# What Unicode has nobody draw (Default_Ignorable_Code_Point) and Python calls printable all the same, and the blank of
# Braille: an id with one of them in it looks like another id.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)


def harmless(text: object, longest: int = LONGEST) -> str:
    """Return the text on one line, with control, escape, bidirectional and other invisible characters spelled out."""
    shown = _cut(str(text), longest)
    if shown.isascii() and shown.isprintable():
        return shown
    made: list[str] = []
    marks = 0
    for letter in shown:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        hidden = not letter.isprintable() or marks > MARKS or _INVISIBLE.match(letter)
        made.append(_spell(letter) if hidden else letter)
    return _cut("".join(made), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _spell(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
