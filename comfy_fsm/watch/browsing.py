"""Browsing of the tasks of a view: which are shown, in which order, which one is selected or open.

Pure: a key changes what is chosen, and the same choice of the same view is the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from comfy_fsm.core.machine import SETTLED, State
from comfy_fsm.watch.snapshot import FAILURES, Snapshot, TaskRow

__all__ = ["KEYS", "KINDS", "ORDERS", "Browsing"]

_Choice = TypeVar("_Choice")

KEYS = (
    ("up down j k", "select a task"),
    ("PgUp PgDn g G", "ten tasks up or down; the first, the last"),
    ("Enter", "open the diagnosis of the selected task"),
    ("Esc", "back; then no search, all servers, all states"),
    ("/", "search: an id, a tag, a node, a window, the words of an error"),
    ("f", "state: all, failed, open, then one state after the other"),
    ("v", "server: all, then one after the other"),
    ("s r", "sort by another column; reverse"),
    ("?", "these keys"),
    ("q", "quit"),
)
"""Each key, and what it does."""
KINDS: dict[str, Callable[[State], bool]] = {
    "all": lambda state: True,
    "failed": lambda state: state in FAILURES,
    "open": lambda state: state not in SETTLED,
    "completed": lambda state: state is State.COMPLETED,
    "cancelled": lambda state: state is State.CANCELLED,
}
ORDERS: dict[str, Callable[[TaskRow, float], tuple[object, ...]] | None] = {
    "failures first": None,
    "newest": lambda row, now: (-row.number,),
    "took": lambda row, now: (-_took(row, now),),
    "state": lambda row, now: (row.state, -row.number),
    "server": lambda row, now: (row.server, -row.number),
}
"""Keys to sort by; None keeps the order of the view."""
_PAGE = 10
_LONGEST = 60
"""Letters of a search."""
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -_PAGE, "pgdn": _PAGE, "g": -1_000_000, "home": -1_000_000,
          "G": 1_000_000, "end": 1_000_000}  # fmt: skip


def _took(row: TaskRow, now: float) -> float:
    if row.begun_at is None:
        return -1.0
    ended = row.ended_at if row.state in SETTLED and row.ended_at is not None else now
    return ended - row.begun_at


class Browsing(Struct):
    """Choices of the person at the keyboard; changed by `press` alone."""

    kind: str = "all"
    server: str | None = None
    word: str = ""
    order: str = "failures first"
    reverse: bool = False
    selected: int | None = None
    """Number of the selected task: it stays selected where rows move."""
    opened: int | None = None
    """Number of the task whose diagnosis is open."""
    top: int = 0
    """Lines of the diagnosis above the first that is shown."""
    typing: bool = False
    help: bool = False
    quits: bool = False

    @property
    def narrowed(self) -> bool:
        """Return whether some rows are not shown."""
        return self.kind != "all" or self.server is not None or bool(self.word)

    @property
    def active(self) -> bool:
        """Return whether the person looks at the tasks, which then get the room of the other sections."""
        return self.narrowed or self.typing or self.selected is not None

    def said(self) -> str:
        """Return what is chosen, in words."""
        words = [self.kind] if self.kind != "all" else []
        words += [f"at {self.server}"] if self.server is not None else []
        words += [f"with “{self.word}”"] if self.word else []
        if self.order != "failures first" or self.reverse:
            words.append(f"by {self.order}{', reversed' if self.reverse else ''}")
        return ", ".join(words)

    def rows(self, view: Snapshot) -> Sequence[TaskRow]:
        """Return the chosen rows of the view, in the chosen order."""
        rows = [row for row in view.tasks if self._takes(row)]
        key, now = ORDERS[self.order], view.at or 0.0
        if key is not None:
            rows.sort(key=lambda row: key(row, now))
        return rows[::-1] if self.reverse else rows

    def _takes(self, row: TaskRow) -> bool:
        if not KINDS[self.kind](row.state) or self.server not in (None, row.server):
            return False
        said = (row.prompt_id, row.window, row.server, row.state, row.error, row.tag, row.node)
        wanted = self.word.casefold()
        return not wanted or any(wanted in text.casefold() for text in said if text is not None)

    def press(self, key: str, view: Snapshot) -> None:
        """Take a key: a printable character, or the name of another."""
        if key == "closed" or (key in ("q", "Q") and not self.typing):
            self.quits = True
        elif self.typing:
            self._type(key)
        elif self.help:
            self.help = False
        elif key == "?":
            self.help = True
        elif self.opened is not None:
            self._read(key)
        else:
            self._choose(key, view)

    def _type(self, key: str) -> None:
        if key in ("enter", "esc"):
            self.typing = False
            self.word = self.word if key == "enter" else ""
        elif key == "backspace":
            self.word = self.word[:-1]
        elif len(key) == 1 and key.isprintable():
            self.word = (self.word + key)[:_LONGEST]

    def _read(self, key: str) -> None:
        if key in ("esc", "enter", "backspace"):
            self.opened = None
        else:
            self.top = max(0, self.top + _STEPS.get(key, 0))

    def _choose(self, key: str, view: Snapshot) -> None:
        if key in _STEPS:
            self._move(_STEPS[key], view)
        elif key == "enter":
            if self._index(self.rows(view)) is None:
                self._move(1, view)
            self.opened, self.top = self.selected, 0
        elif key == "esc":
            self.kind, self.server, self.word, self.selected = "all", None, "", None
        elif key == "/":
            self.typing, self.word = True, ""
        elif key == "f":
            self.kind = _after(self.kind, list(KINDS))
        elif key == "v":
            self.server = _after(self.server, [None, *(row.url for row in view.servers)])
        elif key == "s":
            self.order, self.reverse = _after(self.order, list(ORDERS)), False
        elif key == "r":
            self.reverse = not self.reverse

    def _index(self, rows: Sequence[TaskRow]) -> int | None:
        return next((index for index, row in enumerate(rows) if row.number == self.selected), None)

    def _move(self, steps: int, view: Snapshot) -> None:
        rows = self.rows(view)
        at = self._index(rows)
        index = (0 if steps > 0 else len(rows) - 1) if at is None else at + steps
        self.selected = rows[max(0, min(index, len(rows) - 1))].number if rows else None


def _after(now: _Choice, choices: list[_Choice]) -> _Choice:
    """Return the next choice, and after the last the first."""
    return choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]
