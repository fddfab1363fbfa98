"""ComfyUI's own log as a trace: prompts that were got, how their runs ended, restarts of the server.

The log names no prompt. They are counted as they are got, and are taken to run in that order, as the queue has them
unless one is put before others. It tells of an exception and of an interruption, and of success by no word at all: a
run of which it says nothing else *ended*, and how is not known.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Raw
from msgspec.json import encode

from comfy_fsm.captures.capture import MAX_KEPT, Capture
from comfy_fsm.captures.frame_dump import NOBODY, NOWHERE, seconds
from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.display import plural
from comfy_fsm.errors import TraceError
from comfy_fsm.live.redaction.messages import Redactor

__all__ = ["is_server_log", "read_server_log"]

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_BEFORE = re.compile(  # what services, containers and loggers put before a line, and the time that they tell
    r"^(?:[\w.-]+ +\| )?"
    r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ [^\s:]+: )?"
    r"(?:\[?(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\]? ?)?"
    r"(?:\[?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?:? )?"
)
_SIGNS = re.compile(
    rb"(?:^|[\s\]m])(?:got prompt[ \t]*(?:\x1b\[0m)?[\r\n]|Prompt executed in [\d:.]+|To see the GUI go to: https?://"
    rb"|Total VRAM \d+ MB, total RAM|Checkpoint files will always be loaded safely|ComfyUI version: "
    rb"|\*\* ComfyUI startup time:)"
)
_EXECUTED = re.compile(r"Prompt executed in (?:(?P<seconds>\d+(?:\.\d+)?) seconds|(?P<clock>\d+:\d\d:\d\d))$")
_EXCEPTION = "!!! Exception during processing !!! "
_RAISED = re.compile(r"(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)|[a-z_]\w*(?:\.\w+)+): ")
_ADDRESS = re.compile(r"To see the GUI go to: (?P<url>https?://[^\s/]+)")
_MAX_TEXT = 2_000  # characters of an exception


def is_server_log(head: bytes) -> bool:
    """Return whether these first bytes are of a log of ComfyUI."""
    return not head.lstrip().startswith((b"{", b"#")) and _SIGNS.search(head) is not None


def read_server_log(lines: Iterable[tuple[list[bytes | str], bool]], redactor: Redactor) -> Capture:
    """Read a log line by line; a text in place of a line says what is wrong with it."""
    reading = _Reading(redactor)
    for some, _ in lines:
        for line in some:
            reading.take(line)
    return reading.capture()


class _Prompt(NamedTuple):
    number: int
    at: float

    @property
    def prompt_id(self) -> str:
        return f"prompt-{self.number}"


class _Reading:
    """State of the reading so far."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._damage: str | None = None
        self._number = self._timed = self._count = self._kept = 0
        self._at = 0.0
        self._server = NOWHERE
        self._events: list[tuple[float, bytes]] = []
        self._waiting: deque[_Prompt] = deque()
        self._last: _Prompt | None = None  # the one that was got last, of which a refusal would be
        self._ended_at = 0.0
        self._exception: str | None = None
        self._raised: str | None = None
        self._interrupted = False
        self._starts = self._unknown = self._lost = 0

    def take(self, line: bytes | str) -> None:
        if isinstance(line, str):
            self._damage = self._damage or line
            return
        self._number += 1
        for part in line.decode("utf-8", "replace").split("\r"):  # a progress bar is written over itself
            self._read(_ESCAPES.sub("", part).rstrip())

    def _read(self, text: str) -> None:
        found = _BEFORE.match(text)
        told = seconds(found["time"].replace(",", ".")) if found is not None and found["time"] else None
        self._timed += told is not None
        self._at = max(self._at, told) if told is not None else self._at if self._timed else float(self._number)
        words = _ESCAPES.sub("", text[found.end() :] if found is not None else text)
        if words == "got prompt":
            self._got()
        elif (executed := _EXECUTED.match(words)) is not None:
            self._executed(_seconds_of(executed))
        elif words.startswith(_EXCEPTION):
            self._exception, self._raised = words[len(_EXCEPTION) :][:_MAX_TEXT], None
        elif words == "Processing interrupted":
            self._interrupted = True
        elif words.startswith("invalid prompt: "):
            self._refused(words.removeprefix("invalid prompt: "))
        elif (address := _ADDRESS.search(words)) is not None:
            self._started(address["url"])
        elif self._exception is not None and (raised := _RAISED.match(words)) is not None:
            self._raised = raised["type"]

    # what a line says

    def _got(self) -> None:
        self._count += 1
        self._last = _Prompt(self._count, self._at)
        self._waiting.append(self._last)
        data = seen.CommandData("follow", self._last.prompt_id)
        self._put(seen.Command(at=self._at, window=NOBODY, server=self._server, data=data))

    def _executed(self, took: float) -> None:
        if not self._waiting:  # got before the log begins
            self._unknown += 1
            self._forget_run()
            return
        prompt = self._waiting.popleft()
        begun = max(prompt.at, self._ended_at, self._at - took) if self._timed else self._at
        self._frame("execution_start", begun, prompt_id=prompt.prompt_id)
        if self._interrupted:
            self._frame("execution_interrupted", self._at, prompt_id=prompt.prompt_id)
        elif self._exception is not None:
            error = {"exception_message": self._exception, "exception_type": self._raised}
            self._frame("execution_error", self._at, prompt_id=prompt.prompt_id, **error)
        self._frame("executing", self._at, prompt_id=prompt.prompt_id, node=None)
        self._ended_at = self._at
        self._forget_run()

    def _forget_run(self) -> None:
        self._exception = self._raised = None
        self._interrupted = False

    def _refused(self, why: str) -> None:
        """Note that the prompt that was got last was not taken: it never waits."""
        prompt, self._last = self._last, None
        if prompt is None or not self._waiting or self._waiting[-1] is not prompt:
            return
        self._waiting.pop()
        number = f"log-{prompt.number}"
        asked = seen.RequestData(number, "POST", "/prompt", Raw(encode({"prompt_id": prompt.prompt_id})))
        self._put(seen.Request(at=self._at, window=NOBODY, server=self._server, data=asked))
        body = Raw(encode({"error": {"type": "invalid_prompt", "message": why[:_MAX_TEXT]}, "node_errors": {}}))
        answer = seen.ResponseData(number, 400, body)
        self._put(seen.Response(at=self._at, window=NOBODY, server=self._server, data=answer))

    def _started(self, url: str) -> None:
        """Note that a server starts: its queue is empty, and what waited before is gone."""
        self._starts += 1
        if self._starts > 1:
            self._lost += len(self._waiting)
            closed = seen.CloseData(1006)
            self._put(seen.Closed(at=self._at, window=NOBODY, server=self._server, data=closed))
        self._waiting.clear()
        self._forget_run()
        self._server = url
        self._put(seen.Opened(at=self._at, window=NOBODY, server=url))

    def _frame(self, kind: str, at: float, **data: object) -> None:
        text = encode({"type": kind, "data": data}).decode()
        self._add(at, codec.message_line(text, at=at, window=NOBODY, server=self._server))

    def _put(self, observation: seen.KnownObservation) -> None:
        self._add(observation.at, codec.encode(observation))

    def _add(self, at: float, line: bytes) -> None:
        self._events.append((at, self._redactor.scrub(line)))
        self._kept += len(line)
        if self._kept > MAX_KEPT:
            why = f"more than {MAX_KEPT} bytes would have to be kept; cut the log into parts"
            raise TraceError(f"line {self._number}: {why}", self._number)

    # what comes of it

    def capture(self) -> Capture:
        lines = [line for _, line in sorted(self._events, key=lambda event: event[0])]
        return Capture("server-log", lines, [*self._notes()], self._damage)

    def _notes(self) -> Iterator[str]:
        yield (
            f"a log of ComfyUI with {plural(self._count, 'prompt')}: it names none, so they are counted, and taken to "
            "run in the order in which they were got; one that was put before others is mistaken for another"
        )
        yield "it tells of exceptions and interruptions, and of no success: a run without either ended, nobody says how"
        if not self._timed:
            yield "no line has a time: the number of the line stands in for it, and durations mean nothing"
        if self._unknown:
            yield f"{plural(self._unknown, 'run')} ended that began before the log: nothing is known of them"
        if self._starts > 1:
            again, lost = plural(self._starts - 1, "time"), plural(self._lost, "prompt")
            yield f"the server was started again {again}, and its queue was lost, with {lost} that waited or ran"


def _seconds_of(executed: re.Match[str]) -> float:
    if executed["seconds"] is not None:
        return float(executed["seconds"])
    hours, minutes, rest = map(int, executed["clock"].split(":"))
    return float(3_600 * hours + 60 * minutes + rest)
