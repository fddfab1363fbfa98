"""Diagnoses as lines of text: the most urgent first, then what is so, what is missing, and what to do.

Only words and where they break; `text.py` draws them. Whatever a trace contains has passed `harmless`.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain

from comfy_fsm.core.effects import Failure
from comfy_fsm.core.explain.diagnosis import Diagnosis, Evidence, Explanation, Remark, Step, explain
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import Names, harmless, plural
from comfy_fsm.report.player import Replay, tag_of
from comfy_fsm.report.sources import Origins
from comfy_fsm.report.time_format import TimeFormat

__all__ = [
    "WIDTH",
    "Line",
    "briefs",
    "lines",
    "of_task",
    "untold",
]

_SHEETS = 20
"""Tasks told in full; those that need a look come first, and the JSON document has them all."""
_CALM = 12
"""Lines for the tasks with which all is well."""
_CHAIN = 8
"""Signals named where a task is not told move by move: the first and the last ones."""
_PLACES = 6
_MARGIN = 9
"""Letters on the left for the titles."""
WIDTH = 100
"""Letters of a line: prose wider than this is hard to read, on any terminal."""
_WARNED, _WELL = 3, 4
_EXPLAINED = 200
"""Tasks whose reason is told, in full or in a line."""
_LINE = 200
_LONG = 600
_PASTED = 4_000
"""Letters of a command: it is not to be cut, and in one line, since it is there to be pasted."""
_TAIL = 40
_GLUE = "\u00a0"

Line = list[tuple[str, str]]
"""Pieces of text, each with its style."""


def lines(replay: Replay, width: int, *, whole: bool) -> Iterator[Line]:
    """Return the diagnoses of a replay; `whole` includes the transitions of every task, even of those without
    problems.
    """
    diagnoses, loose = replay.diagnose()
    sheet = _Sheet(replay.tasks, replay.origins, min(width, WIDTH), whole)
    told = [each for each in diagnoses if whole or each.concern < _WELL]
    for diagnosis in told[:_SHEETS]:
        yield []
        yield from sheet.task(diagnosis)
    if len(told) > _SHEETS:
        yield []
        yield [(f"and {len(told) - _SHEETS:,} more tasks that need attention; name one, or see --format json", "dim")]
    yield from sheet.calm([each for each in diagnoses if each not in told])
    shown = [finding for each in told[:_SHEETS] for finding in each.findings]
    yield from sheet.loose([finding for finding in loose if finding not in shown])


def briefs(replay: Replay, width: int, clock: TimeFormat) -> Iterator[Line]:
    """Return what became of each task that needs a look: what is so, what is missing, what to do; the most urgent
    first."""
    urgent = sorted((task for task in replay.tasks if replay.urgency_of(task)[0] < _WARNED), key=replay.urgency_of)
    sheet = _Sheet(replay.tasks, replay.origins, min(width, WIDTH), False)
    explained = explain(replay.board, urgent[:_EXPLAINED], replay.log)
    for told in explained[:_SHEETS]:
        yield []
        yield from sheet.brief(told, clock)
    if rest := explained[_SHEETS:]:
        yield []
        yield [("The others, a line each.", "bold")]
    names = Names((told.prompt_id for told in rest), ())
    for told in rest:
        yield [(f"{told.state:11}  {names.task(told.prompt_id)}  ", told.state), (harmless(told.says.text, _LINE), "")]
    if len(urgent) > _EXPLAINED:
        yield [(f"and {len(urgent) - _EXPLAINED:,} more; narrow it with --failed, --since, --until or --grep", "dim")]


def of_task(board: Board, task: Task, log: str, width: int) -> Iterator[Line]:
    """Return the diagnosis of one task of a board that was read from this log, with every transition."""
    (told,) = explain(board, [task], log)
    return _Sheet([task], Origins([log]), min(width, WIDTH), True).task(told)


def untold(told: Diagnosis, error: Failure | None) -> Iterator[str]:
    """Yield what the server said beyond the sentence: each input that it refused, or an error that it stated."""
    if error is None:
        return
    said = " ".join(told.says.text.split())
    if error.message and " ".join(error.message.split())[:_LINE] not in said:
        yield harmless(": ".join(part for part in (error.type, error.message) if part), _LONG)
    yield from (harmless(fault, _LONG) for fault in error.faults[:_PLACES])


class _Sheet:
    """Page of diagnoses: its width, and how it cites positions."""

    def __init__(self, tasks: Iterable[Task], origins: Origins, width: int, whole: bool) -> None:
        self._place = origins.locate
        files = origins.files
        self._many = len(files) > 1
        short = {file: os.path.basename(file) for file in files}
        self._names = short if len(set(short.values())) == len(files) else {file: file[-_TAIL:] for file in files}
        self._width = max(width, 40)
        self._whole = whole
        self._errors: dict[str | None, Failure] = {}
        self._tags: dict[str | None, str] = {}
        for task in tasks:
            if task.error is not None:
                self._errors[task.prompt_id] = task.error
            if tag := tag_of(task, _LONG):
                self._tags[task.prompt_id] = tag

    def brief(self, told: Diagnosis, clock: TimeFormat) -> Iterator[Line]:
        """Return a task without its evidence and its findings, which a report has elsewhere."""
        ended = clock.time(told.evidence[-1].at) if told.evidence else ""
        yield [(told.state.upper(), told.state), ("  " + _id(told.prompt_id), "bold"), (f"  {ended}", "")]
        if tag := self._tags.get(told.prompt_id):
            yield from self._section("tag", self._prose(tag))
        yield from self._prose(self._remark(told.says), margin=0)
        yield from self._error(told)
        missing = (self._prose(self._remark(remark), "- ") for remark in told.missing)
        yield from self._section("missing", chain.from_iterable(missing))
        yield from self._section("next", self._steps(told.steps))

    def task(self, told: Diagnosis) -> Iterator[Line]:
        yield [(told.state.upper(), told.state), ("  " + _id(told.prompt_id), "bold")]
        if tag := self._tags.get(told.prompt_id):
            yield from self._section("tag", self._prose(tag))
        yield from self._prose(self._remark(told.says), margin=0)
        owner = harmless(told.window, 60) if told.window is not None else "not known"
        yield from self._error(told)
        yield from self._section(
            "window", self._prose(f"{owner}, at {harmless(told.server, 100) or 'no known server'}")
        )
        evidence = self._moves(told.evidence) if self._whole else self._chain(told.evidence)
        yield from self._section("evidence", evidence)
        missing = (self._prose(self._remark(remark), "- ") for remark in told.missing)
        yield from self._section("missing", chain.from_iterable(missing))
        graver = (each for each in told.findings if self._whole or each.severity != "note")
        yield from self._section("findings", chain.from_iterable(map(self._finding, graver)))
        yield from self._section("next", self._steps(told.steps))

    def _error(self, told: Diagnosis) -> Iterator[Line]:
        said = untold(told, self._errors.get(told.prompt_id))
        yield from self._section("error", chain.from_iterable(map(self._prose, said)))

    def calm(self, diagnoses: list[Diagnosis]) -> Iterator[Line]:
        if not diagnoses:
            return
        yield []
        count = len(diagnoses)
        yield [(f"Nothing is wrong with {plural(count, 'task')}.", "bold")]
        names = Names((told.prompt_id for told in diagnoses[:_CALM]), ())
        for told in diagnoses[:_CALM]:
            name = names.task(told.prompt_id) + "  "
            yield from self._prose(name + self._remark(told.says), later=" " * len(name), margin=0)
        if count > _CALM:
            yield [(f"and {count - _CALM:,} more; name one, or see --format json", "dim")]

    def loose(self, findings: list[Explanation]) -> Iterator[Line]:
        graver = [each for each in findings if each.severity != "note"]
        if not graver:
            return
        yield []
        yield [("Findings about no single task.", "bold")]
        for finding in graver[:_SHEETS]:
            about = (("window", finding.window), ("server", finding.server), ("task", finding.prompt_id))
            subject = ", ".join(f"{word} {harmless(name, 60)}" for word, name in about if name is not None)
            yield from self._finding(finding, f"{subject}: " if subject else "")
        if len(graver) > _SHEETS:
            yield [(f"and {len(graver) - _SHEETS:,} more; see --format json", "dim")]

    def _section(self, title: str, body: Iterable[Line]) -> Iterator[Line]:
        """Return a section, with its title on the left."""
        for number, line in enumerate(body):
            yield [(f"{'' if number else title:{_MARGIN}}", "dim"), *line]

    def _chain(self, evidence: tuple[Evidence, ...]) -> Iterator[Line]:
        links = [self._glue(f"{self._place_of(each.position)} {each.signal}") for each in evidence]
        if links and not self._many:
            links[0] = self._glue("line ") + links[0]
        if len(links) > _CHAIN:
            links = [*links[:3], self._glue(f"{len(links) - _CHAIN + 1:,} more"), *links[4 - _CHAIN :]]
        yield from self._prose(" · ".join(links))

    def _moves(self, evidence: tuple[Evidence, ...]) -> Iterator[Line]:
        """Return each signal with its transition, and below it the table's reason."""
        begun = min((each.at for each in evidence), default=0.0)
        cites = [self._place_of(each.position) for each in evidence]
        signals = [harmless(each.signal, 24) for each in evidence]
        broad, wide = max(map(len, cites), default=0), max(map(len, signals), default=0)
        for each, cite, signal in zip(evidence, cites, signals, strict=True):
            move = str(each.after) if each.after is each.before else f"{each.before} → {each.after}"
            yield [(f"{cite:>{broad}}  {f'+{each.at - begun:.3f}':>9}  {signal:{wide}}  ", ""), (move, str(each.after))]
            yield from self._prose(each.why, " " * (broad + 13), style="dim")

    def _finding(self, finding: Explanation, subject: str = "") -> Iterator[Line]:
        begin = f"{finding.severity} {finding.code}: "
        more = finding.count - min(len(finding.positions), _PLACES)
        counted = f"({self._cited(finding.positions)}{self._glue(f' and {more:,} more') if more > 0 else ''})"
        prose = self._prose(f"{subject}{harmless(finding.text, _LONG)} {counted}", begin, later="  ")
        for number, line in enumerate(prose):
            words = line[0][0]
            yield [(begin, finding.severity), (words[len(begin) :], "")] if number == 0 else line
        yield from self._prose(finding.advice, "  ", style="advice")

    def _steps(self, steps: tuple[Step, ...]) -> Iterator[Line]:
        for number, step in enumerate(steps, start=1):
            yield from self._prose(harmless(step.text, _LONG), f"{number}. ")
            if step.command is not None:
                yield [("   " + harmless(step.command, _PASTED), "command")]
        if not steps:
            yield [("nothing needs to be done", "")]

    def _remark(self, remark: Remark) -> str:
        cited = f" ({self._cited(remark.positions)})" if remark.positions else ""
        return harmless(remark.text, _LONG) + cited

    def _cited(self, positions: tuple[int, ...]) -> str:
        shown = [self._place_of(position) for position in dict.fromkeys(positions[:_PLACES])]
        word = "" if self._many else "line " if len(shown) == 1 else "lines "
        return self._glue(word + ", ".join(shown))

    def _place_of(self, position: int) -> str:
        place = self._place(position)
        return f"{harmless(self._names[place.file], _TAIL)}:{place.line}" if self._many else str(place.line)

    def _glue(self, text: str) -> str:
        """Return the text so that it is not broken over lines."""
        return harmless(text).replace(" ", _GLUE)

    def _prose(
        self, text: str, first: str = "", *, later: str | None = None, style: str = "", margin: int = _MARGIN
    ) -> Iterator[Line]:
        rest = " " * len(first) if later is None else later
        for line in textwrap.wrap(
            text, self._width - margin, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ):
            yield [(line.replace(_GLUE, " "), style)]


def _id(prompt_id: str | None) -> str:
    return "(no id)" if prompt_id is None else harmless(prompt_id, 60)
