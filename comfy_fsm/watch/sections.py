"""Sections of the `watch` display: tables of servers, windows, tasks with progress, and findings with advice.

Nothing is parsed as markup, and whatever a server or a log contains has passed `harmless`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from comfy_fsm.core.findings import CODES
from comfy_fsm.core.machine import SETTLED
from comfy_fsm.display import STYLES, Names, age, harmless, host
from comfy_fsm.watch.browsing import Browsing
from comfy_fsm.watch.snapshot import FindingRow, Scene, ServerRow, TaskRow, WindowRow

__all__ = ["NARROW", "SMALL", "WIDE", "Section", "ago", "allot", "sections"]

SMALL, NARROW, WIDE = 60, 110, 150
"""Columns of a terminal below which a row tells the least, below which it leaves out whose it is, and from which on it
also says what to do."""
_BAR = 16


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


def ago(scene: Scene, at: float | None) -> str:
    return "" if at is None else age(scene.at - at)


class Section(NamedTuple):
    """Section of the display: rows of cells under titles; one column shrinks on a narrow terminal."""

    titles: tuple[str, ...]
    rows: list[tuple[Text, ...]]
    total: int
    selected: int | None = None
    """Index of the row that is selected: it is among those that are drawn."""
    gives_way: int | None = None
    """Column that shrinks; None is the widest of those after the first."""
    brief: bool = False
    """Say `+3` for `(3 more)`."""

    def draw(self, lines: int | None) -> Table:
        """Draw so many rows; if there are more, the title says how many."""
        first = 0
        if lines is not None and self.selected is not None:
            first = max(0, min(self.selected - lines // 2, len(self.rows) - lines))
        shown = self.rows[first:] if lines is None else self.rows[first : first + lines]
        left = self.total - len(shown)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        wide = [max((row[index].cell_len for row in shown), default=0) for index in range(len(self.titles))]
        for index, title in enumerate(self.titles):
            more = (f" +{left:,}" if self.brief else f" ({left:,} more)") if left and not index else ""
            widest = index and wide[index] == max(wide[1:])  # ids, states and ages stay whole beside it
            shrinks = widest if self.gives_way is None else index == self.gives_way
            name = Text(title + more, no_wrap=True, overflow="ellipsis")
            table.add_column(name, no_wrap=not shrinks, overflow="ellipsis")
        for number, row in enumerate(shown, first):
            for cell in row:
                cell.no_wrap = True
            table.add_row(*row, style="reverse" if number == self.selected else None)
        return table


def sections(scene: Scene, width: int, browsing: Browsing) -> list[Section]:
    """Return the sections that have rows, in their order."""
    names = Names((task.prompt_id for task in scene.view.tasks), (row.window for row in scene.view.windows))
    made = [_servers(scene, width), _windows(scene, names, width), _tasks(scene, names, width, browsing)]
    return [section for section in (*made, _findings(scene, names, width)) if section.rows]


def _servers(scene: Scene, width: int) -> Section:
    small = width < SMALL

    def row(server: ServerRow) -> tuple[Text, ...]:
        queue = Text("" if server.queue is None else f"{server.queue:,}")
        sockets, heard = Text(f"{server.sockets:,}"), Text(ago(scene, server.seen_at))
        last = () if small else (sockets, heard)
        return (
            Text(host(server.url)),
            _lamp(server, width),
            *(() if small else (queue,)),
            Text(f"{server.open:,}"),
            *last,
        )

    titles = ("server", "", "tasks") if small else ("server", "", "queue", "tasks", "sockets", "heard")
    rows = [row(server) for server in scene.view.servers]
    return Section(titles, rows, scene.view.all_servers, gives_way=0 if width < NARROW else 1, brief=small)


def _lamp(server: ServerRow, width: int) -> Text:
    """Return whether it answers, and whether it is given work; why it does not answer, where there is room for that."""
    lamp = Text(server.lamp, STYLES[server.lamp])
    if server.standing:
        lamp.append(f", {server.standing}", "yellow")
    if server.trouble is not None and width >= NARROW:
        lamp.append(f": {harmless(server.trouble, 60)}", "red")
    return lamp


def _windows(scene: Scene, names: Names, width: int) -> Section:
    small = width < SMALL

    def row(window: WindowRow) -> tuple[Text, ...]:
        whose = Text(names.window(window.window)), Text(host(window.server)), Text(window.socket, STYLES[window.socket])
        return whose if small else (*whose, Text(f"{window.open:,}"), Text(ago(scene, window.heard_at)))

    titles = ("window", "server", "socket") if small else ("window", "server", "socket", "tasks", "heard")
    return Section(titles, [row(window) for window in scene.view.windows], scene.view.all_windows, brief=small)


def _tasks(scene: Scene, names: Names, width: int, browsing: Browsing) -> Section:
    chosen = browsing.rows(scene.view)
    tagged = width >= NARROW and any(task.tag for task in chosen)
    narrow, small = width < NARROW, width < SMALL

    def row(task: TaskRow) -> tuple[Text, ...]:
        begun, settled = task.begun_at, task.state in SETTLED
        until = task.ended_at if settled else scene.at
        return (
            Text(task.state, STYLES.get(task.state, "")),
            Text(names.task(task.prompt_id)),
            *([Text(harmless(task.tag or "", 24))] if tagged else []),
            *([] if narrow else [Text(names.window(task.window)), Text(host(task.server))]),
            Text("" if begun is None or until is None else age(until - begun)),
            *([] if small else [Text(ago(scene, task.ended_at) if settled else "")]),
            _known(task, small),
        )

    whose, ended = () if narrow else ("window", "server"), () if small else ("ended",)
    titles = ("task", "", *(("tag",) if tagged else ()), *whose, "took", *ended, "" if small else "progress")
    all_tasks = len(chosen) if browsing.narrowed else scene.view.all_open + scene.view.settled
    selected = next((index for index, task in enumerate(chosen) if task.number == browsing.selected), None)
    return Section(titles, [row(task) for task in chosen], all_tasks, selected, len(titles) - 1, small)


def _known(task: TaskRow, small: bool) -> Text:
    """Return how far it is; of one that ended, what went wrong, or how sure its end is."""
    if task.state not in SETTLED:
        return _bar(task, 0 if small else _BAR)
    return Text(harmless(task.error, 120), "red") if task.error else Text(task.confidence or "", "dim")


def _bar(task: TaskRow, width: int) -> Text:
    node = f" node {harmless(task.node, 20)}" if task.node is not None else ""
    if task.share is None:
        return Text(node.lstrip())
    done = round(task.share * width)
    share = f"{task.share:4.0%}" if width else f"{task.share:.0%}"
    return Text.assemble(("━" * done, "cyan"), ("─" * (width - done), "dim"), f" {share}" if width else share, node)


def _findings(scene: Scene, names: Names, width: int) -> Section:
    small, wide = width < SMALL, width >= WIDE

    def row(finding: FindingRow) -> tuple[Text, ...]:
        times = f" ({finding.count:,} times)" if finding.count > 1 else ""
        return (
            Text(finding.code, STYLES[finding.severity]),
            *([] if small else [Text(ago(scene, finding.at))]),
            Text(_subject(names, finding)),
            Text(harmless(finding.text) + times),
            *([Text(CODES[finding.code].advice, "italic")] if wide else []),
        )

    titles = ("finding", *(() if small else ("seen",)), "about", "", *(("what to do",) if wide else ()))
    total = sum(scene.view.codes.values()) + scene.view.unkept
    return Section(titles, [row(finding) for finding in scene.view.findings], total, brief=small)


def _subject(names: Names, finding: FindingRow) -> str:
    if finding.prompt_id is not None:
        return f"task {names.task(finding.prompt_id)}"
    if finding.window is not None:
        return f"window {names.window(finding.window)}"
    return host(finding.server) if finding.server is not None else ""
