"""Terminal display of `watch`: totals, servers, windows, tasks with progress, findings with advice.

Nothing is parsed as markup, and whatever a server or a log contains has passed `harmless`. It fits any terminal: each
section gets its share of the lines, and says how many rows did not fit.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from comfy_fsm.core.findings import CODES, GRAVITY
from comfy_fsm.core.machine import SETTLED
from comfy_fsm.display import STYLES, Names, age, harmless, host
from comfy_fsm.watch.snapshot import QUIET, AlertRow, FindingRow, Scene, ServerRow, Snapshot, TaskRow, WindowRow

__all__ = ["Terminal", "allot", "picture", "show"]

_UNWRAPPED = 4_000
_NARROW, _WIDE = 110, 150
"""Columns of a terminal below which a row leaves out whose it is, and from which on it also says what to do."""
_BAR = 16
_ALERTS = 4
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

    def draw(self, scene: Scene) -> None:
        """Draw the scene at the current size of the terminal."""
        self._live.update(picture(scene, *self._console.size), refresh=True)


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


def picture(scene: Scene, width: int, height: int | None) -> RenderableType:
    """Return the whole scene in so many lines; in as many as it needs if there is no height."""
    names = Names((task.prompt_id for task in scene.view.tasks), (row.window for row in scene.view.windows))
    sections = [section for make in (_servers, _windows, _tasks, _findings) if (section := make(scene, names, width))]
    head = _head(scene, width)
    if height is None:
        return Group(*head, *(part for section in sections for part in (Text(), section.draw(None))))
    spare = height - len(head) - 1
    blank = spare >= 6 * len(sections)  # a blank line above each is the first to go
    given = allot(spare - (1 + blank) * len(sections), [len(section.rows) for section in sections])
    parts: list[RenderableType] = [*head]
    used = len(head)
    for section, lines in zip(sections, given, strict=True):
        if lines:
            parts += [Text()] * blank + [section.draw(lines)]
            used += blank + 1 + lines
    if used >= height:
        return Group(*parts[:height])
    return Group(*parts, *[Text()] * (height - 1 - used), _foot(scene.view, width))


def _foot(view: Snapshot, width: int) -> Text:
    """Return how to leave, and the advice on the newest of the gravest findings if its row has no room for it."""
    foot = Text("q quits", "dim", no_wrap=True, overflow="ellipsis")
    if view.findings and width < _WIDE:
        finding = min(view.findings, key=lambda finding: GRAVITY[finding.severity])
        foot.append(f"   {finding.code}: ", STYLES[finding.severity]).append(CODES[finding.code].advice, "default")
    return foot


def allot(lines: int, wanted: Sequence[int]) -> list[int]:
    """Return the number of lines for each section: what it wants, or a fair share if there are too few."""
    given, left = [0] * len(wanted), max(0, lines)
    while left and (hungry := [index for index, want in enumerate(wanted) if given[index] < want]):
        share = max(1, left // len(hungry))
        for index in hungry:
            more = min(share, wanted[index] - given[index], left)
            given[index] += more
            left -= more
    return given


def _ago(scene: Scene, at: float | None) -> str:
    return "" if at is None else age(scene.at - at)


# the head


def _head(scene: Scene, width: int) -> list[Text]:
    view = scene.view
    first = Text.assemble(
        (harmless(scene.name, 60), "bold"), f"  {view.observations:,} observations", f"  {view.rate:,.0f} a second  "
    )
    first.append(_sparks(view.rates[-1 - max(0, width - 90) : -1]), "cyan")
    tallies = [_tally(view.states.items(), "no task yet"), _tally(view.severities.items(), "no finding", "s")]
    if view.waiting:
        since = f", the oldest for {_ago(scene, view.waiting_since)}" if view.waiting_since is not None else ""
        tallies[0].append(f" · {view.waiting:,} waiting for a server{since}", "yellow")
    standing, below = _standing(scene), [_alarm(alert) for alert in view.alerts[:_ALERTS]]
    if first.cell_len + standing.cell_len <= width:
        first.append_text(standing)
    else:  # what is wrong is never cut short
        below += [Text(line, standing.style) for line in textwrap.wrap(standing.plain.strip(), max(width, 1))]
    lines = [first, *tallies, *below]  # the counts outlast the words where a terminal has few lines
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


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


# the sections


class _Section(NamedTuple):
    """Section of the display: rows of cells under titles; one column shrinks on a narrow terminal."""

    titles: tuple[str, ...]
    rows: list[tuple[Text, ...]]
    total: int

    def __bool__(self) -> bool:
        return bool(self.rows)

    def draw(self, lines: int | None) -> Table:
        """Draw so many rows; if there are more, the title says how many."""
        shown = self.rows if lines is None else self.rows[:lines]
        left = self.total - len(shown)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        wide = [max((row[index].cell_len for row in shown), default=0) for index in range(len(self.titles))]
        for index, title in enumerate(self.titles):
            more = f" ({left:,} more)" if left and not index else ""
            gives_way = index and wide[index] == max(wide[1:])  # ids, states and ages stay whole beside it
            table.add_column(title + more, no_wrap=not gives_way, overflow="ellipsis")
        for row in shown:
            for cell in row:
                cell.no_wrap = True
            table.add_row(*row)
        return table


def _servers(scene: Scene, names: Names, width: int) -> _Section:
    def row(server: ServerRow) -> tuple[Text, ...]:
        return (
            Text(host(server.url)),
            _lamp(server),
            Text("" if server.queue is None else f"{server.queue:,}"),
            Text(f"{server.open:,}"),
            Text(f"{server.sockets:,}"),
            Text(_ago(scene, server.seen_at)),
        )

    titles = ("server", "", "queue", "tasks", "sockets", "heard")
    return _Section(titles, [row(server) for server in scene.view.servers], scene.view.all_servers)


def _lamp(server: ServerRow) -> Text:
    """Return whether it answers, why not, and whether it is given work: one cell, narrowed if need be."""
    lamp = Text(server.lamp, STYLES[server.lamp])
    if server.standing:
        lamp.append(f", {server.standing}", "yellow")
    if server.trouble is not None:
        lamp.append(f": {harmless(server.trouble, 60)}", "red")
    return lamp


def _windows(scene: Scene, names: Names, width: int) -> _Section:
    def row(window: WindowRow) -> tuple[Text, ...]:
        return (
            Text(names.window(window.window)),
            Text(host(window.server)),
            Text(window.socket, STYLES[window.socket]),
            Text(f"{window.open:,}"),
            Text(_ago(scene, window.heard_at)),
        )

    titles = ("window", "server", "socket", "tasks", "heard")
    return _Section(titles, [row(window) for window in scene.view.windows], scene.view.all_windows)


def _tasks(scene: Scene, names: Names, width: int) -> _Section:
    tagged = width >= _NARROW and any(task.tag for task in scene.view.tasks)

    def row(task: TaskRow) -> tuple[Text, ...]:
        begun, settled = task.begun_at, task.state in SETTLED
        until = task.ended_at if settled else scene.at
        return (
            Text(task.state, STYLES.get(task.state, "")),
            Text(names.task(task.prompt_id)),
            *([Text(harmless(task.tag or "", 24))] if tagged else []),
            *([] if width < _NARROW else [Text(names.window(task.window)), Text(host(task.server))]),
            Text("" if begun is None or until is None else age(until - begun)),
            Text(_ago(scene, task.ended_at) if settled else ""),
            _known(task),
        )

    whose = () if width < _NARROW else ("window", "server")
    titles = ("task", "", *(("tag",) if tagged else ()), *whose, "took", "ended", "progress")
    all_tasks = scene.view.all_open + scene.view.settled
    return _Section(titles, [row(task) for task in scene.view.tasks], all_tasks)


def _known(task: TaskRow) -> Text:
    """Return how far it is; of one that ended, what went wrong, or how sure its end is."""
    if task.state not in SETTLED:
        return _bar(task)
    return Text(harmless(task.error, 120), "red") if task.error else Text(task.confidence or "", "dim")


def _bar(task: TaskRow) -> Text:
    node = f" node {harmless(task.node, 20)}" if task.node is not None else ""
    if task.share is None:
        return Text(node.lstrip())
    done = round(task.share * _BAR)
    return Text.assemble(("━" * done, "cyan"), ("─" * (_BAR - done), "dim"), f" {task.share:4.0%}{node}")


def _findings(scene: Scene, names: Names, width: int) -> _Section:
    def row(finding: FindingRow) -> tuple[Text, ...]:
        times = f" ({finding.count:,} times)" if finding.count > 1 else ""
        advice = [Text(CODES[finding.code].advice, "italic")] if width >= _WIDE else []
        return (
            Text(finding.code, STYLES[finding.severity]),
            Text(_ago(scene, finding.at)),
            Text(_subject(names, finding)),
            Text(harmless(finding.text) + times),
            *advice,
        )

    titles = ("finding", "seen", "about", "", *(("what to do",) if width >= _WIDE else ()))
    total = sum(scene.view.codes.values()) + scene.view.unkept
    return _Section(titles, [row(finding) for finding in scene.view.findings], total)


def _subject(names: Names, finding: FindingRow) -> str:
    if finding.prompt_id is not None:
        return f"task {names.task(finding.prompt_id)}"
    if finding.window is not None:
        return f"window {names.window(finding.window)}"
    return host(finding.server) if finding.server is not None else ""
