"""Terminal display of `watch`: totals above its sections; the diagnosis of one task, and the keys, in their place.

Nothing is parsed as markup, and whatever a server or a log contains has passed `harmless`. It fits any terminal: each
section gets its share of the lines, and says how many rows did not fit.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.style import Style
from rich.text import Text

from comfy_fsm.core.findings import CODES, GRAVITY
from comfy_fsm.display import STYLES, age, harmless, host, plural
from comfy_fsm.report.diagnosis_text import Line
from comfy_fsm.watch.browsing import KEYS, Browsing
from comfy_fsm.watch.projection import OPEN, SETTLED
from comfy_fsm.watch.sections import NARROW, SMALL, WIDE, ago, allot, sections
from comfy_fsm.watch.snapshot import QUIET, AlertRow, Scene, ServerRow, Snapshot

__all__ = ["Terminal", "opened", "picture", "show"]

_Explain = Callable[[int, int], Iterable[Line]]
"""Returns the diagnosis of the task with this number, in lines of at most so many columns."""
_UNWRAPPED = 4_000
_ALERTS = _TROUBLES = 4
_OTHERS = 3
"""Rows that each other section keeps while a person looks at the tasks."""
_SPARKS = "▁▂▃▄▅▆▇█"


class Terminal:
    """Alternate screen of a terminal, as a context manager."""

    def __init__(self, *, color: bool) -> None:
        self._console = _console(color)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def draw(self, scene: Scene, browsing: Browsing, explain: _Explain) -> None:
        """Draw what is chosen of the scene, at the current size of the terminal."""
        width, height = self._console.size
        if browsing.help:
            drawn = opened(_help(), width, height, Browsing(), "any key: back")
        elif browsing.opened is not None:
            drawn = opened(
                explain(browsing.opened, width), width, height, browsing, "Esc back   up down scroll   q quits"
            )
        else:
            drawn = picture(scene, width, height, browsing)
        self._live.update(drawn, refresh=True)


def show(scene: Scene, *, color: bool) -> None:
    """Print the scene once and in full: as wide as the terminal, or uncut if it is none."""
    width = _console(color).width if sys.stdout.isatty() else _UNWRAPPED
    console = _console(color, width)
    with console.capture() as captured:
        console.print(picture(scene, width, None))
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _console(color: bool, width: int | None = None) -> Console:
    plain = not color or bool(os.environ.get("NO_COLOR"))
    system: Literal["auto"] | None = None if plain else "auto"
    return Console(color_system=system, highlight=False, markup=False, emoji=False, width=width)


def picture(scene: Scene, width: int, height: int | None, browsing: Browsing | None = None) -> RenderableType:
    """Return the whole scene in so many lines; in as many as it needs if there is no height."""
    browsing = browsing or Browsing()
    made = sections(scene, width, browsing)
    head = _head(scene, width, browsing)
    if height is None:
        return Group(*head, *(part for section in made for part in (Text(), section.draw(None))))
    spare = height - len(head) - 1
    blank = spare >= 6 * len(made)  # a blank line above each is the first to go
    wanted = [len(section.rows) for section in made]
    if browsing.active:
        wanted = [
            min(want, _OTHERS) if section.titles[0] != "task" else want
            for section, want in zip(made, wanted, strict=True)
        ]
    given = allot(spare - (1 + blank) * len(made), wanted)
    parts: list[RenderableType] = [*head]
    used = len(head)
    for section, lines in zip(made, given, strict=True):
        if lines:
            parts += [Text()] * blank + [section.draw(lines)]
            used += blank + 1 + lines
    if used >= height:
        return Group(*parts[:height])
    return Group(*parts, *[Text()] * (height - 1 - used), _foot(scene.view, width, browsing))


def opened(lines: Iterable[Line], width: int, height: int, browsing: Browsing, foot: str) -> RenderableType:
    """Return these lines, folded where they are too long, from where the person has scrolled to."""
    console = Console(width=width, file=io.StringIO())
    told = [Text.assemble(*((text, STYLES.get(style, style)) for text, style in line)) for line in lines]
    folded = [row for text in told for row in text.wrap(console, max(width, 1), overflow="fold")]
    room = max(height - 1, 1)
    browsing.top = max(0, min(browsing.top, len(folded) - room))
    shown = folded[browsing.top : browsing.top + room]
    below = len(folded) - browsing.top - len(shown)
    last = Text(f"{foot}   {plural(below, 'line')} below" if below else foot, "dim", no_wrap=True, overflow="ellipsis")
    return Group(*shown, *[Text()] * (room - len(shown)), *([last] if height > 1 else []))


def _help() -> list[Line]:
    wide = max(len(keys) for keys, _ in KEYS)
    told: list[Line] = [[("Keys", "bold")], []]
    told += [[(f"{keys:{wide}}  ", "command"), (does, "")] for keys, does in KEYS]
    kept = f"They choose among {OPEN} open tasks, the newest {SETTLED} failures and the newest {SETTLED} others."
    return [*told, [], [(f"{kept} For older ones: comfy-fsm diagnose ID LOG", "dim")]]


def _foot(view: Snapshot, width: int, browsing: Browsing) -> Text:
    """Return how to leave, and the advice on the newest of the gravest findings if its row has no room for it."""
    foot = Text("q quits", "dim", no_wrap=True, overflow="ellipsis")
    if browsing.typing:
        return Text.assemble(
            ("/", "bold"), harmless(browsing.word), ("▏  Enter keeps it, Esc drops it", "dim"), no_wrap=True
        )
    foot.append("   Enter opens   Esc back   ? keys" if browsing.active else "   ? keys", "dim")
    if view.findings and width < WIDE:
        finding = min(view.findings, key=lambda finding: GRAVITY[finding.severity])
        foot.append(f"   {finding.code}: ", STYLES[finding.severity]).append(CODES[finding.code].advice, "default")
    return foot


# the head


def _head(scene: Scene, width: int, browsing: Browsing) -> list[Text]:
    view = scene.view
    rate = f"  {view.rate:,.0f} a second  " if width >= SMALL else ""
    first = Text.assemble((harmless(scene.name, 60), "bold"), f"  {view.observations:,} observations", rate)
    first.append(_sparks(view.rates[-1 - max(0, width - 90) : -1]), "cyan")
    tallies = [_tally(view.states.items(), "no task yet"), _tally(view.severities.items(), "no finding", "s")]
    if view.waiting:
        since = f", the oldest for {ago(scene, view.waiting_since)}" if view.waiting_since is not None else ""
        tallies[0].append(f" · {view.waiting:,} waiting for a server{since}", "yellow")
    standing, below = _standing(scene), [_alarm(alert) for alert in view.alerts[:_ALERTS]]
    if first.cell_len + standing.cell_len <= width:
        first.append_text(standing)
    else:  # what is wrong is never cut short
        below += _wrapped(standing.plain.strip(), standing.style, width)
    if width < NARROW:  # as there is no room for it in the row of the server
        gone = [server for server in view.servers if server.trouble is not None]
        below += [line for server in gone[:_TROUBLES] for line in _wrapped(_trouble(server), "red", width)]
    if said := browsing.said():
        kept = f": {len(browsing.rows(view)):,} of {plural(len(view.tasks), 'task')}" if browsing.narrowed else ""
        below += _wrapped(f"shown: {harmless(said)}{kept} (Esc: all)" if kept else f"sorted {said}", "reverse", width)
    counts = [line for tally in tallies for line in tally.wrap(_console(False, width), max(width, 1))]
    lines = [first, *counts, *below]  # the counts outlast the words where a terminal has few lines
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _wrapped(text: str, style: str | Style, width: int) -> list[Text]:
    return [Text(line, style) for line in textwrap.wrap(text, max(width, 1))]


def _trouble(server: ServerRow) -> str:
    return f"{host(server.url)}: {server.lamp}: {harmless(server.trouble, 60)}"


def _alarm(alert: AlertRow) -> Text:
    server = f" ({harmless(alert.server, 60)})" if alert.server else ""
    return Text(f"alert {alert.name}{server}: {alert.summary}", "bold red")


def _standing(scene: Scene) -> Text:
    if scene.trouble is not None:
        return Text(f"  {harmless(scene.trouble, 200)}", "bold red")
    if scene.behind:
        return Text("  reading on", "yellow")
    if scene.written is False:
        old = f"; its last entry is {age(scene.now - scene.end)} old" if scene.now and scene.view.observations else ""
        return Text(f"  no process writes this log{old}", "yellow")
    if scene.now is not None and scene.now - scene.end > QUIET and scene.view.observations:
        return Text(f"  nothing new for {age(scene.now - scene.end)}", "yellow")
    return Text()


def _sparks(rates: Sequence[int]) -> str:
    most = max(rates, default=0)
    return "".join(_SPARKS[-(-rate * (len(_SPARKS) - 1) // most)] for rate in rates) if most else ""


def _tally(counts: Iterable[tuple[str, int]], nothing: str, plural: str = "") -> Text:
    """Return `3 in progress · 12 completed`, in the order of the table of words."""
    line = Text()
    for word, count in counts:
        line.append(" · " if line else "", "dim")
        line.append(f"{count:,} {word}{plural if count != 1 else ''}", STYLES.get(word, ""))
    return line or Text(nothing, "dim")
