"""Findings: their codes, each with its severity, its meaning and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

__all__ = ["CODES", "GRAVITY", "Code", "Description", "Finding", "Severity"]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


GRAVITY = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


class Code(StrEnum):
    """Codes of all findings; the table below says what each means."""

    __hash__ = str.__hash__  # Enum computes its hash in Python, at each look-up; a string keeps it

    WRONG_SERVER = "wrong-server"
    CONTRADICTION = "contradiction"
    DOUBLE_DELIVERY = "double-delivery"
    LOST = "lost"
    DEAF_SOCKET = "deaf-socket"
    RESUBMITTED = "resubmitted"
    FOREIGN_INTERRUPT = "foreign-interrupt"
    FOREIGN_DELETE = "foreign-delete"
    MIXED_SERVERS = "mixed-servers"
    DAMAGED = "damaged"
    CALLBACK_RECURSION = "callback-recursion"
    SOCKET_GAP = "socket-gap"
    MISSED_END = "missed-end"
    LATE_EVIDENCE = "late-evidence"
    UNVERIFIED = "unverified"
    UNRESOLVED = "unresolved"
    SILENCE = "silence"
    BLOCKED_ERROR = "blocked-error"
    SHARED_CLIENT_ID = "shared-client-id"
    HISTORY_EARLY = "history-early"
    HISTORY_INCOMPLETE = "history-incomplete"
    PARTIAL_ACCEPT = "partial-accept"
    OUTPUTS_CUT = "outputs-cut"
    IMAGES_MISSED = "images-missed"
    STALE_STATUS = "stale-status"
    UNDECODABLE = "undecodable"
    CLOCK_STEP = "clock-step"
    OUT_OF_ORDER = "out-of-order"
    TIME_UNIT = "time-unit"
    OUTPUTS_UNSEEN = "outputs-unseen"
    FOREIGN_MESSAGE = "foreign-message"
    UNKNOWN_PROMPT = "unknown-prompt"
    UNATTRIBUTED = "unattributed"
    REPEATED_SIGNAL = "repeated-signal"
    REDACTED = "redacted"
    SAME_SERVER = "same-server"
    UNRECOGNIZED = "unrecognized"


class Description(Struct, frozen=True):
    """Row of the table of findings."""

    code: Code
    severity: Severity
    meaning: str
    advice: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

_ROWS: dict[Code, tuple[Severity, str, str]] = {
    Code.WRONG_SERVER: (
        _E, "A server that the task is not bound to was asked about it, or answered about it.",
        "Ask only the server that accepted the POST; behind a balancer, keep its cookie.",
    ),
    Code.CONTRADICTION: (
        _E, "Two pieces of terminal evidence disagree.",
        "Trust the server's record over a message; check the outputs before using them.",
    ),
    Code.DOUBLE_DELIVERY: (
        _E, "One result was delivered twice.",
        "Let one place decide and deliver from the log, not from every signal.",
    ),
    Code.LOST: (
        _E, "The task is absent from queue and history, so its server is concluded to have forgotten it.",
        "It may have run: look for its files before you run it again. A restart empties queue and history.",
    ),
    Code.DEAF_SOCKET: (
        _E, "The task made progress, and the window's open socket received nothing about it.",
        "Close the socket and open it under a fresh client id; a ping proves nothing here.",
    ),
    Code.RESUBMITTED: (
        _E, "The same prompt id was posted again.",
        "Look for the id before posting again: it may have run twice.",
    ),
    Code.FOREIGN_INTERRUPT: (
        _E, "A window's interrupt hit another window's task.",
        "Interrupt by prompt id, and only on servers that honour it (0.3.57 and newer).",
    ),
    Code.FOREIGN_DELETE: (
        _E, "A window removed another window's pending task.",
        "Delete by id, never clear a queue that others use.",
    ),
    Code.MIXED_SERVERS: (
        _W, "The answers of one address contradict each other, so no absence is believed there.",
        "Name one server; behind a balancer keep its cookie. A node that hides rows of the queue looks the same.",
    ),
    Code.DAMAGED: (
        _E, "The log or trace itself is damaged here.",
        "What follows was still read; find out what wrote or copied this file.",
    ),
    Code.CALLBACK_RECURSION: (
        _E, "A progress callback caused its own call and was cut off.",
        "Do not report progress from inside a progress callback.",
    ),
    Code.SOCKET_GAP: (
        _W, "The window's socket was down while one of its tasks was in flight.",
        "ComfyUI does not resend what you missed: ask queue and history after every reconnect.",
    ),
    Code.MISSED_END: (
        _W, "The task settled, though no end signal of it reached its window's socket.",
        "Only HTTP showed the end; keep asking.",
    ),
    Code.LATE_EVIDENCE: (
        _W, "A conclusion was taken back, because evidence about the task came late.",
        "If it was run again meanwhile, look for both runs; raise the time limits of the policy if this happens often.",
    ),
    Code.UNVERIFIED: (
        _W, "Settled on a statement alone: the record was gone or never fetched.",
        "Fetch the history at once after the end, before anyone clears it.",
    ),
    Code.UNRESOLVED: (
        _W, "The trace ends and the task is undecided.",
        "Ask the bound server: the queue first, then the history.",
    ),
    Code.SILENCE: (
        _W, "No sign of life for longer than the check tier.",
        "A silent node is not necessarily dead: check the queue.",
    ),
    Code.BLOCKED_ERROR: (
        _W, "ExecutionBlocked was reported, which is not an end: the prompt goes on.",
        "Do not treat this execution_error as a failure.",
    ),
    Code.SHARED_CLIENT_ID: (
        _W, "Two sockets of one window are open at one server.",
        "One client id per window and process: the second socket makes one of them deaf.",
    ),
    Code.HISTORY_EARLY: (
        _W, "The history was empty after a stated end and before the record existed.",
        "Retry: the record is written after the end is reported.",
    ),
    Code.HISTORY_INCOMPLETE: (
        _W, "The history entry does not validate.",
        "Retry; do not take it for a success.",
    ),
    Code.PARTIAL_ACCEPT: (
        _W, "Accepted with node_errors: some outputs were dropped and will never come.",
        "Read node_errors in the answer to the POST.",
    ),
    Code.OUTPUTS_CUT: (
        _W, "More outputs were reported than are kept: some are missing in the result.",
        "Raise outputs, text_characters or image_bytes of the Policy, or save less in one run.",
    ),
    Code.IMAGES_MISSED: (
        _W, "Images that come over the socket alone may be missing from the result.",
        "Run it again with the socket open from start to end, or save them by SaveImage, which keeps files.",
    ),
    Code.STALE_STATUS: (
        _W, "status_str disagrees with the messages; the messages were believed.",
        "Judge by status.messages, not by status_str.",
    ),
    Code.UNDECODABLE: (
        _W, "A frame or line could not be decoded.",
        "It may have been the one that ended a task: verify over HTTP.",
    ),
    Code.CLOCK_STEP: (
        _W, "Time went backwards within one connection.",
        "Do not trust durations near this point.",
    ),
    Code.OUT_OF_ORDER: (
        _W, "A frame came in an order in which no server sends it.",
        "Look for a proxy or recorder that reorders frames.",
    ),
    Code.TIME_UNIT: (
        _N, "Times are in milliseconds, or in a smaller unit; they were converted to seconds.",
        "Have the recorder write seconds since the epoch.",
    ),
    Code.OUTPUTS_UNSEEN: (
        _N, "A list of jobs reported the end: it names no outputs, and counts more than came.",
        "Fetch the job or the record by its id: the files may be there.",
    ),
    Code.FOREIGN_MESSAGE: (
        _N, "A window received a frame about a task that is not its own; it changed nothing.",
        "Route by prompt id.",
    ),
    Code.UNKNOWN_PROMPT: (
        _N, "A frame about a prompt that nobody in the trace submitted.",
        "Another client uses this server.",
    ),
    Code.UNATTRIBUTED: (
        _N, "An execution frame without a prompt id; attributed to nobody.",
        "Expected right after a reconnect, and from servers before 2024.",
    ),
    Code.REPEATED_SIGNAL: (
        _N, "An end signal came again; it changed nothing.",
        "Expected; make completion idempotent.",
    ),
    Code.REDACTED: (
        _N, "A secret, or text that repeats an input, was removed before it was written to the log.",
        "Results were delivered complete; only the log lacks this text, and no decision depends on it.",
    ),
    Code.SAME_SERVER: (
        _N, "Two addresses were taken for one server, since nothing speaks against it.",
        "Use one address for each server; if these are two servers, give them distinct names.",
    ),
    Code.UNRECOGNIZED: (
        _N, "An unknown message type, kind, route, word or field; not judged.",
        "A newer server, a custom node or a proxy may send it; what could be read of the rest counts.",
    ),
}  # fmt: skip
CODES: dict[Code, Description] = {code: Description(code, *row) for code, row in _ROWS.items()}


@dataclass(slots=True)
class Finding:
    """Finding that a reader should know of: one code about one subject, with the positions that show it."""

    code: Code
    severity: Severity
    at: float
    window: str | None
    server: str | None
    prompt_id: str | None
    text: str
    positions: list[int]
    count: int = 1
