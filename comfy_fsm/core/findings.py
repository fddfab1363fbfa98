"""Findings: their codes, each with its severity, its meaning and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

__all__ = ["CODES", "GRAVITY", "Code", "Finding", "Severity"]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


GRAVITY = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


class Code(Struct, frozen=True):
    """Row of the table of findings."""

    code: str
    severity: Severity
    meaning: str
    advice: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

CODES: dict[str, Code] = {
    row[0]: Code(*row)
    for row in (
        ("wrong-server", _E, "A server that the task is not bound to was asked about it, or answered about it.",
         "Ask only the server that accepted the POST; behind a balancer, keep its cookie."),
        ("contradiction", _E, "Two pieces of terminal evidence disagree.",
         "Trust the server's record over a message; look at the outputs before using them."),
        ("double-delivery", _E, "One result was handed over twice.",
         "Let one place decide and deliver from the log, not from every signal."),
        ("lost", _E, "The task is absent from queue and history, so its server is concluded to have forgotten it.",
         "It may have run: look for its files before you run it again. A restart empties queue and history."),
        ("deaf-socket", _E, "The task made progress, and the window's open socket received nothing about it.",
         "Close the socket and open it under a fresh client id; a ping proves nothing here."),
        ("resubmitted", _E, "The same prompt id was posted again.",
         "Look for the id before posting again: it may have run twice."),
        ("foreign-interrupt", _E, "A window's interrupt hit another window's task.",
         "Interrupt by prompt id, and only on servers that honour it (0.3.57 and newer)."),
        ("foreign-delete", _E, "A window removed another window's pending task.",
         "Delete by id, never clear a queue that others use."),
        ("mixed-servers", _W, "The answers of one address contradict each other, so no absence is believed there.",
         "Name one server; behind a balancer keep its cookie. A node that hides rows of the queue looks the same."),
        ("damaged", _E, "The log or trace itself is damaged here.",
         "What follows was still read; find out what wrote or copied this file."),
        ("callback-recursion", _E, "A progress callback caused its own call and was cut off.",
         "Do not report progress from inside a progress callback."),
        ("socket-gap", _W, "The window's socket was down while one of its tasks was in flight.",
         "Nothing missed is repeated: ask queue and history after every reconnect."),
        ("missed-end", _W, "The task settled, though no end signal of it reached its window's socket.",
         "Only HTTP showed the end; keep asking."),
        ("late-evidence", _W, "A conclusion was taken back, because evidence about the task came late.",
         "If it was run again meanwhile, look for both runs; raise the spans of the policy if this comes often."),
        ("unverified", _W, "Settled on a statement alone: the record was gone or never fetched.",
         "Fetch the history at once after the end, before anyone clears it."),
        ("unresolved", _W, "The trace ends and the task is undecided.",
         "Ask the bound server: the queue first, then the history."),
        ("silence", _W, "No sign of life for longer than the check tier.",
         "Look at the queue; a silent node need not be dead."),
        ("blocked-error", _W, "ExecutionBlocked was reported, which is not an end: the prompt goes on.",
         "Do not treat this execution_error as a failure."),
        ("shared-client-id", _W, "Two sockets of one window are open at one server.",
         "One client id per window and process: the second socket makes one of them deaf."),
        ("history-early", _W, "The history was empty after a stated end and before the record existed.",
         "Retry: the record is written after the end is reported."),
        ("history-incomplete", _W, "The history entry does not validate.",
         "Retry; do not take it for a success."),
        ("partial-accept", _W, "Accepted with node_errors: some outputs were dropped and will never come.",
         "Read node_errors in the answer to the POST."),
        ("outputs-cut", _W, "More outputs were reported than are kept: some are not in the result.",
         "Raise outputs, text_characters or image_bytes of the Policy, or save less in one run."),
        ("images-missed", _W, "Images that come over the socket alone may be missing from the result.",
         "Run it again with the socket open from start to end, or save them by SaveImage, which keeps files."),
        ("stale-status", _W, "status_str disagrees with the messages; the messages were believed.",
         "Judge by status.messages, not by status_str."),
        ("undecodable", _W, "A frame or line could not be decoded.",
         "It may have been the one that ended a task: verify over HTTP."),
        ("clock-step", _W, "Time went backwards within one connection.",
         "Do not trust durations near this point."),
        ("out-of-order", _W, "A frame came in an order in which no server sends it.",
         "Look for a proxy or recorder that reorders frames."),
        ("time-unit", _N, "Times are in milliseconds, or in a smaller unit; they were converted to seconds.",
         "Have the recorder write seconds since the epoch."),
        ("outputs-unseen", _N, "A list of jobs reported the end: it names no outputs, and counts more than came.",
         "Fetch the job or the record by its id: the files may be there."),
        ("foreign-message", _N, "A window received a frame about a task that is not its own; it changed nothing.",
         "Route by prompt id."),
        ("unknown-prompt", _N, "A frame about a prompt that nobody in the trace submitted.",
         "Another client uses this server."),
        ("unattributed", _N, "An execution frame without a prompt id; attributed to nobody.",
         "Expected right after a reconnect, and from servers before 2024."),
        ("repeated-signal", _N, "An end signal came again; it changed nothing.",
         "Expected; make completion idempotent."),
        ("redacted", _N, "A secret, or text that repeats an input, was removed before it was written to the log.",
         "Results were delivered complete; only the log lacks this text, and no decision depends on it."),
        ("same-server", _N, "Two addresses were taken for one server, since nothing speaks against it.",
         "Use one address for each server; if these are two servers, give them distinct names."),
        ("unrecognized", _N, "An unknown message type, kind, route, word or field; not judged.",
         "A newer server, a custom node or a proxy may send it; what could be read of the rest counts."),
    )
}  # fmt: skip


class Finding(Struct):
    """Something that a reader should know: one code about one subject, with the positions that show it."""

    code: str
    severity: Severity
    at: float
    window: str | None
    server: str | None
    prompt_id: str | None
    text: str
    positions: list[int]
    count: int = 1
