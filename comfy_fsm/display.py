"""Display for people: untrusted text made harmless, ids cut short, spans of time, plurals, and styles.

Everything from a server or a trace passes `harmless` before a person sees it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["LONGEST", "MARKS", "STYLES", "Names", "age", "cut", "duration", "harmless", "host", "plural", "span"]

STYLES = {
    "pass": "bold green", "fail": "bold red", "incomplete": "bold yellow", "unknown": "bold yellow",
    "submitting": "yellow", "uncertain": "yellow", "pending": "yellow", "in_progress": "bold cyan", "ending": "cyan",
    "completed": "green", "failed": "red", "cancelled": "magenta", "rejected": "red", "lost": "bold red",
    "expired": "bold red", "error": "bold red", "warning": "yellow", "note": "dim", "advice": "italic",
    "command": "cyan", "open": "green", "down": "bold red", "shared": "yellow", "closed": "dim", "none": "dim",
    "answering": "green", "not answering": "bold red", "not asked": "dim",
}  # fmt: skip
"""Style of each word that is shown in colour: verdicts, states, severities, and how sockets and servers are."""
_UNITS = ((1, "s"), (60, "min"), (3_600, "h"), (86_400, "d"))

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
    shown = cut(str(text), longest)
    if shown.isascii() and shown.isprintable():
        return shown
    made: list[str] = []
    marks = 0
    for letter in shown:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        hidden = not letter.isprintable() or marks > MARKS or _INVISIBLE.match(letter)
        made.append(_spell(letter) if hidden else letter)
    return cut("".join(made), longest)


def cut(text: str, longest: int) -> str:
    """Shorten a text, with an ellipsis for what is left out."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _spell(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


class Names:
    """Ids, shortened as far as they stay distinct among those on display, since people compare them by eye."""

    def __init__(self, prompt_ids: Iterable[str | None], windows: Iterable[str | None]) -> None:
        self._tasks = _shortest(prompt_ids)
        self._windows = _shortest(windows)

    def task(self, prompt_id: str | None) -> str:
        return "(no id)" if prompt_id is None else harmless(prompt_id[: self._tasks], 40)

    def window(self, window: str | None) -> str:
        return "" if window is None else harmless(window[: self._windows], 40)


def _shortest(names: Iterable[str | None]) -> int:
    ids, length = {name for name in names if name is not None}, 8
    while length < 40 and len({each[:length] for each in ids}) < len(ids):
        length += 4
    return length


def host(server: str) -> str:
    """Return the address of a server without its scheme."""
    return harmless(server.removeprefix("http://").removeprefix("https://"), 40)


def plural(count: int, word: str) -> str:
    """Return `1 task`, or `1,234 tasks`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def span(seconds: float) -> str:
    """Format a measured span: `1.25 s`, `2 min 5 s`, `3 h 20 min`."""
    return f"{seconds:.2f} s" if seconds < 100 else _hours(round(seconds))


def duration(seconds: float) -> str:
    """Format a duration for a sentence: `0.5 s`, `42 s`, `2 min 5 s`, `3 h 20 min`."""
    whole = round(max(0.0, seconds))
    if whole < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "0 s"
    return _hours(whole)


def age(seconds: float) -> str:
    """Format an age in a column, as short as possible: `0.5 s`, `42 s`, `90 min`, `3 h`."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    size, unit = max(each for each in _UNITS if each[0] == 1 or seconds >= 2 * each[0])
    return f"{seconds // size:,.0f} {unit}"


def _hours(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
