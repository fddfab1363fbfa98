"""Collector: reads the entries of a trace once more, after they were judged, and makes the scene of them."""

from __future__ import annotations

from collections.abc import Iterable

from comfy_fsm.core import observations as seen
from comfy_fsm.core.machine import SETTLED, State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import routes
from comfy_fsm.display import Names, host, plural
from comfy_fsm.log.trace import Block
from comfy_fsm.report.picture import words
from comfy_fsm.report.picture.scene import (
    Act,
    Exchange,
    Frame,
    Kind,
    Lane,
    Ruler,
    Scene,
    Span,
    Texts,
    bars,
    chosen,
    flags,
)
from comfy_fsm.report.picture.thinning import Thinned
from comfy_fsm.report.player import Replay

__all__ = ["scene_of"]

_GRAVE = 6_000
"""Lines that moved a task or are cited, which are drawn at most; of the others, `_OTHERS`."""
_OTHERS = 12_000
_EXCHANGES = 6_000
_SPANS = 2_000
_LANES = 300
_OPEN = 10_000
"""Requests without an answer that are remembered while the trace is read."""
_ACTS = 1_000
_GAPS = 1_000
_IDLE = 5.0
"""Seconds in which nothing was seen, from which on a gap is drawn as a notch."""
_QUIET = (seen.Tick, seen.Header)


def scene_of(replay: Replay, blocks: Iterable[Block], since: float | None = None, until: float | None = None) -> Scene:
    """Return the scene of this replay; `blocks` are its entries again, `since` and `until` the part that is drawn."""
    collector = _Collector(replay, since, until)
    for block in blocks:
        for position, observation in zip(block.positions, block.observations, strict=True):
            collector.take(position, observation)
    return collector.scene()


class _Collector:
    def __init__(self, replay: Replay, since: float | None, until: float | None) -> None:
        self._replay = replay
        self._since, self._until = since, until
        self._texts, self._ruler, self._tasks = Texts(), Ruler(replay), chosen(replay)
        self._names = Names((task.prompt_id for task in replay.tasks), replay.trace.windows)
        self._numbers = {task.prompt_id: number for number, task in enumerate(self._tasks)}
        self._posted = {task.submission.position: number for number, task in enumerate(self._tasks)}
        self._grave = {told.position for task in self._tasks for told in task.signals}
        self._grave |= {position for finding in replay.findings for position in finding.positions}
        self._lanes: dict[tuple[str | None, str | None, Kind], int] = {}
        self._flags = flags(replay, self._tasks, self._ruler, self._texts)
        self._open: dict[str, tuple[int, int, int, int, int, list[str] | None, float]] = {}
        self._sockets: dict[int, list[tuple[int, int, int | None]]] = {}
        self._spans, self._exchanges = Thinned[Span](_SPANS), Thinned[Exchange](_EXCHANGES)
        self._cited, self._others = Thinned[Frame](_GRAVE), Thinned[Frame](_OTHERS)
        self._hits: list[tuple[int, int]] = []
        self._gaps: list[tuple[int, int]] = []
        self._last: float | None = None
        self._without_lane = self._ticks = self._outside = 0

    def take(self, position: int, o: seen.AnyObservation) -> None:
        """Take the next entry."""
        if (self._since is not None and o.at < self._since) or (self._until is not None and o.at > self._until):
            self._outside += 1
            return
        if isinstance(o, _QUIET):
            self._ticks += isinstance(o, seen.Tick)
            return
        self._note_gap(o.at)
        match o:
            case seen.Request():
                self._take_request(position, o)
            case seen.Response() | seen.NoAnswer():
                self._take_answer(position, o)
            case seen.Opened() | seen.Closed():
                self._take_socket(position, o)
            case _:
                self._take_frame(position, o)

    def _note_gap(self, at: float) -> None:
        if self._last is not None and at - self._last > _IDLE and len(self._gaps) < _GAPS:
            self._gaps.append((self._ruler.time(self._last), self._ruler.time(at)))
        self._last = at if self._last is None else max(at, self._last)

    def _lane(self, o: seen.AnyObservation, kind: Kind) -> int:
        """Return the number of the lane; -1 where there are too many of them."""
        key = o.window, o.server, kind
        known = self._lanes.get(key)
        if known is None:
            known = self._lanes[key] = len(self._lanes) if len(self._lanes) < _LANES else -1
        return known

    def _take_request(self, position: int, o: seen.Request) -> None:
        asked = routes.parse(o.data.method, o.data.path)
        lane = self._lane(o, "http")
        task = self._posted.get(position, self._numbers.get(asked.prompt_id, -1))
        if len(self._open) >= _OPEN:
            self._finish(next(iter(self._open)), None)
        if o.data.id in self._open:
            self._finish(o.data.id, None)
        told = self._ruler.time(o.at), self._ruler.line(position), self._texts.index(words.request_of(o))
        self._open[o.data.id] = (lane, *told, task, words.targets_of(asked, o), o.at)

    def _take_answer(self, position: int, o: seen.Response | seen.NoAnswer) -> None:
        if o.data.id in self._open:
            self._finish(o.data.id, (position, o))
        else:
            self._add_frame(self._lane(o, "http"), position, o, f"answer {words.answer_of(o)} to no request", None)

    def _finish(self, id: str, answer: tuple[int, seen.Response | seen.NoAnswer] | None) -> None:
        lane, asked, line, word, task, targets, at = self._open.pop(id)
        answered = last = said = -1
        good = 0
        if answer is not None:
            position, o = answer
            answered, last = self._ruler.time(o.at), self._ruler.line(position)
            said = self._texts.index(words.answer_of(o))
            good = int(isinstance(o, seen.Response) and o.data.status < 400)
        if lane < 0:
            self._without_lane += 1 if answer is None else 2
            return
        self._exchanges.add(Exchange(lane, asked, line, answered, last, word, said, good, task))
        if targets is not None and len(self._hits) < _ACTS:
            self._hits += [(line, hit) for hit in self._hit(targets, lane, at)]

    def _hit(self, targets: list[str], lane: int, at: float) -> list[int]:
        """Return the tasks that an act is about: those it names, or those that ran or waited there then."""
        if targets:
            return [number for id in targets if (number := self._numbers.get(id, -1)) >= 0]
        server = next(key[1] for key, number in self._lanes.items() if number == lane)
        return [number for number, task in enumerate(self._tasks) if task.server == server and _was_running(task, at)]

    def _take_socket(self, position: int, o: seen.Opened | seen.Closed) -> None:
        lane = self._lane(o, "socket")
        if lane < 0:
            self._without_lane += 1
            return
        at, line = self._ruler.time(o.at), self._ruler.line(position)
        sockets = self._sockets.setdefault(lane, [])
        if isinstance(o, seen.Opened):
            sockets.append((at, line, o.conn))
            return
        mine = next((each for each in sockets if each[2] == o.conn), sockets[0] if sockets else None)
        if mine is not None:
            sockets.remove(mine)
        opened, first, _ = mine or (-1, -1, None)
        self._spans.add(Span(lane, opened, at, first, line, self._texts.index(words.words_of(o))))

    def _take_frame(self, position: int, o: seen.AnyObservation) -> None:
        kind: Kind = "client" if isinstance(o, seen.Command | seen.Delivered) else "socket"
        self._add_frame(self._lane(o, kind), position, o, words.words_of(o), words.prompt_of(o))

    def _add_frame(self, lane: int, position: int, o: seen.AnyObservation, word: str, prompt_id: str | None) -> None:
        if lane < 0:
            self._without_lane += 1
            return
        grave, task = int(position in self._grave), self._numbers.get(prompt_id, -1) if prompt_id is not None else -1
        frame = Frame(lane, self._ruler.time(o.at), self._ruler.line(position), self._texts.index(word), task, grave)
        (self._cited if grave else self._others).add(frame)

    def scene(self) -> Scene:
        """Return all that was taken."""
        for id in list(self._open):
            self._finish(id, None)
        for lane, sockets in self._sockets.items():
            for opened, line, _ in sockets:
                self._spans.add(Span(lane, opened, -1, line, -1, self._texts.index("open where the trace ends")))
        exchanges = sorted(self._exchanges.items, key=lambda exchange: exchange.asked)
        numbers = {exchange.line: number for number, exchange in enumerate(exchanges)}
        trace = self._replay.trace
        shown = [key for key, number in self._lanes.items() if number >= 0]
        return Scene(
            picture=1,
            files=trace.names,
            origin=self._ruler.origin,
            length=max(1, self._ruler.time(trace.last_at)),
            lanes=[Lane(self._names.window(window), host(server or ""), kind) for window, server, kind in shown],
            spans=self._spans.items,
            exchanges=exchanges,
            frames=sorted([*self._cited.items, *self._others.items], key=lambda frame: (frame.at, frame.line)),
            tasks=bars(self._replay, self._tasks, self._ruler, self._texts),
            acts=[Act(numbers[line], task) for line, task in self._hits if line in numbers],
            flags=self._flags,
            gaps=self._gaps,
            texts=self._texts.all,
            left_out=self._left_out(),
        )

    def _left_out(self) -> list[str]:
        """Say what the picture does not show, and what would."""
        told = (
            (self._others.left_out + self._cited.left_out, "frame", "drawn are those that moved a task or are cited"),
            (self._exchanges.left_out, "exchange", "evenly thinned"),
            (self._spans.left_out, "socket span", "evenly thinned"),
            (self._without_lane, "line", f"of windows beyond the first {_LANES} lanes"),
            (self._outside, "line", "outside of the time that was asked for"),
            (len(self._replay.tasks) - len(self._tasks), "task", "shown are the most urgent"),
            (
                len(self._replay.findings) - len(self._flags),
                "finding",
                "shown are the gravest",
            ),
            (self._ticks, "tick", "in which nothing was seen"),
        )
        return [f"{plural(count, what)} ({why})" for count, what, why in told if count]


def _was_running(task: Task, at: float) -> bool:
    state = None
    for told in task.signals:
        if told.at > at:
            break
        state = told.after
    return state in (State.IN_PROGRESS, State.ENDING) and state not in SETTLED
