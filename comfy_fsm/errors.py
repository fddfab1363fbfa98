"""Errors that this project raises, and nothing else.

    ComfyFsmError
    ├── LogError                 the log cannot be used as asked
    │   ├── LogLocked            another writer owns it               (fault: the caller's)
    │   ├── LogClosed            it was closed                        (fault: the caller's)
    │   ├── NotALog              the file is something else           (fault: the caller's)
    │   ├── LogVersionError      written by a newer version           (fault: the caller's)
    │   ├── LogDamaged           a row is not what was written        (fault: the disk's)
    │   ├── LogUnreachable       its database is away                 (fault: the database's, or the network's)
    │   ├── LogInDoubt           away since the middle of a commit    (fault: the database's, or the network's)
    │   └── LogWriteFailed       the disk or the database refused     (fault: the disk's, or the database's)
    │       ├── LogMoved         removed or renamed while it was open (fault: whoever moved it)
    │       ├── LogReadOnly      its database takes no writes         (fault: the caller's, or the database's)
    │       ├── LogTakenOver     another writer has it now            (fault: nobody's)
    │       └── LogRewound       its database lost commits            (fault: the database's)
    ├── TraceError               the trace cannot be read at all
    │   ├── NotATrace            it is something else                 (fault: the caller's)
    │   └── TraceVersionError    written in a newer format            (fault: the caller's)
    ├── ClientError              the client cannot do what was asked
    │   ├── BadServerUrl         no http(s) address of a server       (fault: the caller's)
    │   ├── BadWorkflow          no workflow in API format            (fault: the caller's)
    │   ├── UnknownInput         the workflow has no such node, input (fault: the caller's)
    │   ├── BadTag               no JSON, or too much of it           (fault: the caller's)
    │   ├── SecretInWorkflow     the log may not hold it              (fault: the caller's)
    │   ├── BacklogFull          too many jobs wait                   (fault: the caller's)
    │   ├── ServerUnreachable    no ComfyUI answers there             (fault: the server's, or the network's)
    │   ├── HandshakeRefused     other credentials or address wanted  (fault: the caller's)
    │   ├── DownloadFailed       the file could not be fetched        (fault: the server's, or the network's)
    │   ├── UploadFailed         the server did not take the file     (fault: the server's, or the caller's)
    │   ├── UnknownTask          no task, or several, of that id      (fault: the caller's)
    │   ├── ClientClosed         closed before the task settled       (fault: the caller's)
    │   └── MissingExtra         a library of ours is not installed   (fault: the caller's)
    ├── TaskError                the task did not complete; it says whether to try again is safe
    │   ├── TaskFailed           a node raised                        (fault: the workflow's)
    │   ├── TaskCancelled        somebody interrupted or removed it   (fault: nobody's)
    │   ├── TaskRejected         the server would not run it          (fault: the workflow's)
    │   ├── TaskLost             the server forgot it, or never had it (fault: the server's)
    │   └── TaskExpired          nothing more was heard of it         (fault: unknown)
    └── InvariantBroken          this project contradicts itself      (fault: ours)

Odd behaviour of a server is never an error: it is an observation, and perhaps a finding.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

__all__ = [
    "MAX_TOLD",
    "BacklogFull",
    "BadServerUrl",
    "BadTag",
    "BadWorkflow",
    "ClientClosed",
    "ClientError",
    "ComfyFsmError",
    "DownloadFailed",
    "HandshakeRefused",
    "InvariantBroken",
    "LogClosed",
    "LogDamaged",
    "LogError",
    "LogInDoubt",
    "LogLocked",
    "LogMoved",
    "LogReadOnly",
    "LogRewound",
    "LogTakenOver",
    "LogUnreachable",
    "LogVersionError",
    "LogWriteFailed",
    "MissingExtra",
    "NotALog",
    "NotATrace",
    "SecretInWorkflow",
    "ServerUnreachable",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskLost",
    "TaskRejected",
    "TraceError",
    "TraceVersionError",
    "UnknownInput",
    "UnknownTask",
    "UploadFailed",
]

_MAX_FAULTS = 3
"""Faults of a refused prompt that a message names."""
MAX_TOLD = 500
"""Characters of a server's own words that a message repeats: enough to see what failed."""


class ComfyFsmError(Exception):
    """Root of the tree: catch it to catch everything this project raises on purpose."""


class LogError(ComfyFsmError):
    """Raised when the log cannot be used as asked."""


class LogLocked(LogError):
    """Raised when another process or another writer of this process holds the log; nothing was written."""


class LogClosed(LogError):
    """Raised when the log was closed before this call; nothing was written by it."""


class NotALog(LogError):
    """Raised when the file is no log of this project; it was not touched."""


class LogVersionError(LogError):
    """Raised when the log was written by a newer version of this project; it was not touched."""


class LogDamaged(LogError):
    """Raised when a row of the log is not what was written; `position` names the first such row."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class LogUnreachable(LogError):
    """Raised when the database of the log cannot be reached; nothing was read or written."""


class LogInDoubt(LogError):
    """Raised when the database went away in mid-commit and did not come back: the lines are in the log, all or none."""


class LogWriteFailed(LogError):
    """Raised when the disk or the database refused a commit: what was not acknowledged is not in the log."""


class LogMoved(LogWriteFailed):
    """Raised when the file of the log was removed, renamed or replaced while it was open; no more is written to it."""


class LogReadOnly(LogWriteFailed):
    """Raised when the database of the log is a standby, or was made read-only; nothing was written."""


class LogTakenOver(LogWriteFailed):
    """Raised when another writer took the log up while our session was away; no more is written to it."""


class LogRewound(LogWriteFailed):
    """Raised when the database lost rows that it had acknowledged; no more is written until the log is opened again."""


class TraceError(ComfyFsmError):
    """Raised when the trace cannot be read at all; `line` names where that showed, 0 for the whole file."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class NotATrace(TraceError):
    """Raised when the file holds something else than a trace."""


class TraceVersionError(TraceError):
    """Raised when the trace declares a format version that this version of the project cannot read."""


class ClientError(ComfyFsmError):
    """Raised when the client cannot do what was asked."""


class BadServerUrl(ClientError):
    """Raised when it is no http or https address of a server; nothing was sent."""


class BadWorkflow(ClientError):
    """Raised when it is no workflow in API format; nothing was sent."""


class UnknownInput(ClientError):
    """Raised when a workflow has no such node or input, or several nodes of that name; it was not changed."""


class BadTag(ClientError):
    """Raised when a tag is no JSON value, or too long for the log; nothing was sent."""


class SecretInWorkflow(ClientError):
    """Raised when a job would have to wait, and may not be written down whole; nothing was enqueued."""


class BacklogFull(ClientError):
    """Raised when as many jobs wait as may; nothing was enqueued."""


class ServerUnreachable(ClientError):
    """Raised when nothing answers at `server`, or nothing that is ComfyUI: no evidence about any task (P33)."""

    def __init__(self, message: str, server: str) -> None:
        super().__init__(message)
        self.server = server


class HandshakeRefused(ClientError):
    """Raised when `server` refused the socket with `status`, and will do so again with the same credentials and
    address."""

    def __init__(self, message: str, server: str, status: int) -> None:
        super().__init__(message)
        self.server = server
        self.status = status


class DownloadFailed(ClientError):
    """Raised when `server` did not hand over the file, or not all of it; nothing was left on the disk.

    `status` is that of its answer, where it answered by another than 200; `gone` where nobody will ever have it again.
    """

    def __init__(self, message: str, server: str, status: int | None = None, gone: bool = False) -> None:
        super().__init__(message)
        self.server = server
        self.status = status
        self.gone = gone


class UploadFailed(ClientError):
    """Raised when `server` did not say that it has the file now; to send it again is safe."""

    def __init__(self, message: str, server: str) -> None:
        super().__init__(message)
        self.server = server


class UnknownTask(ClientError):
    """Raised when the log knows no task of this prompt id, or more than one whose id begins so; nothing was asked or
    done."""


class ClientClosed(ClientError):
    """Raised when the client was closed first: the task may go on at its server, and the log tells how far it was
    followed."""


class MissingExtra(ClientError):
    """Raised when what was asked for needs a library that comes with an extra; `extra` names it."""

    def __init__(self, extra: str, consequence: str) -> None:
        super().__init__(
            f"the libraries of the extra {extra!r} are not installed, so {consequence}; "
            f"run: pip install 'comfy-fsm[{extra}]'"
        )
        self.extra = extra


class _Failure(Protocol):
    @property
    def type(self) -> str | None: ...
    @property
    def message(self) -> str | None: ...
    @property
    def node_id(self) -> str | None: ...
    @property
    def status(self) -> int | None: ...
    @property
    def faults(self) -> Sequence[object]: ...


class _Result(Protocol):
    """`Result` of `core/effects.py`, which stands above this module, as whoever catches an error reads it."""

    @property
    def prompt_id(self) -> str | None: ...
    @property
    def window(self) -> str | None: ...
    @property
    def server(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def outputs(self) -> Sequence[Any]: ...
    @property
    def error(self) -> _Failure | None: ...
    @property
    def texts(self) -> Sequence[Any]: ...
    @property
    def left_out(self) -> int: ...
    @property
    def missed(self) -> Sequence[str]: ...
    @property
    def confidence(self) -> str | None: ...
    @property
    def concluded(self) -> bool: ...
    @property
    def tag(self) -> object: ...
    @property
    def accepted(self) -> bool: ...


def _why(failure: _Failure) -> str:
    """Return what the server said, cut short: the status, its words, and the first nodes that it found at fault."""
    told = ": ".join(part for part in (failure.type, failure.message) if part)[:MAX_TOLD]
    where = f" in node {failure.node_id!r:.80}" if failure.node_id else ""
    status = f"HTTP {failure.status}" if failure.status is not None else ""
    words = f"{told!r}{where}" if told else where.strip()
    faults = [str(fault) for fault in failure.faults[:_MAX_FAULTS]]
    if len(failure.faults) > _MAX_FAULTS:
        faults.append(f"and {len(failure.faults) - _MAX_FAULTS} more")
    why = "; ".join([": ".join(filter(None, (status, words))), *faults]).removeprefix("; ")
    return f" ({why})" if why else ""


class TaskError(ComfyFsmError):
    """Raised when the task did not complete; `result` is what it carries, and may hold the outputs it had come to."""

    happened: ClassVar[str] = "did not complete"
    again: ClassVar[str] = "check the server before you run it again"
    doubtful: ClassVar[str] = "that is only concluded from its absence, and it may still run: check before a second run"
    """What stands in for `again` where nobody told how it ended."""
    unseen: ClassVar[str] = ""
    """And where no server ever showed that it had it."""
    safe_to_retry: bool = False
    """Whether a second run cannot double what the first one did or still does; never so of what is only concluded."""

    def __init__(self, result: _Result) -> None:
        why = _why(result.error) if result.error is not None else ""
        place = result.server or "no server yet"
        again = self.again if result.accepted else self.unseen or self.again
        if result.concluded and self.safe_to_retry:
            self.safe_to_retry, again = False, self.doubtful
        super().__init__(f"task {result.prompt_id!r} {self.happened}{why} on {place}; {again}")
        self.result = result
        self.server = result.server
        self.prompt_id = result.prompt_id

    def __reduce__(self) -> tuple[type["TaskError"], tuple[_Result]]:
        return type(self), (self.result,)


class TaskFailed(TaskError):
    """Raised when a node raised while it ran."""

    happened = "failed"
    again = "it is over, so it is safe to run it again, once the cause is fixed"
    safe_to_retry = True


class TaskCancelled(TaskError):
    """Raised when it was interrupted while it ran, or removed before."""

    happened = "was cancelled"
    again = "it is over, so it is safe to run it again"
    safe_to_retry = True


class TaskRejected(TaskError):
    """Raised when the server refused to run it."""

    happened = "was rejected"
    again = "nothing ran, so it is safe to submit it again, once what the server names is put right"
    safe_to_retry = True


class TaskLost(TaskError):
    """Raised when it is in neither the queue nor the history: its server forgot it, or never accepted it."""

    happened = "was lost"
    again = "it may have run before it was forgotten, so running it again may run it twice"
    unseen = (
        "it was never accepted, as far as its server shows; that is concluded from its absence, so check the server "
        "before it is submitted again"
    )


class TaskExpired(TaskError):
    """Raised when nothing was heard of it for as long as the policy waits; it may still run."""

    happened = "expired undecided"
    again = "it may still run, so recover it before you run it again"


class InvariantBroken(ComfyFsmError):
    """Raised when this project contradicts itself: please report it, with the trace."""
