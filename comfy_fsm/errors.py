"""Every error this project raises, and nothing else.

    ComfyFsmError
    ├── LogError                 the log cannot be used as asked
    │   ├── LogLocked            another writer owns it               (fault: the caller's)
    │   ├── LogClosed            it was closed                        (fault: the caller's)
    │   ├── NotALog              the file is something else           (fault: the caller's)
    │   ├── LogVersionError      written by a newer version           (fault: the caller's)
    │   ├── LogDamaged           a row is not what was written        (fault: the disk's)
    │   └── LogWriteFailed       the disk refused                     (fault: the disk's)
    ├── TraceError               the trace cannot be read at all
    │   ├── NotATrace            it is something else                 (fault: the caller's)
    │   └── TraceVersionError    written in a newer format            (fault: the caller's)
    └── InvariantBroken          this project contradicts itself      (fault: ours)

Odd behaviour of a server is never an error: it is an observation, and perhaps a finding.
"""


class ComfyFsmError(Exception):
    """The root: catch it to catch everything this project raises on purpose."""


class LogError(ComfyFsmError):
    """The log cannot be used as asked."""


class LogLocked(LogError):
    """Another process or another writer of this process holds the log; nothing was written."""


class LogClosed(LogError):
    """The log was closed before this call; nothing was written by it."""


class NotALog(LogError):
    """The file is no log of this project; it was not touched."""


class LogVersionError(LogError):
    """The log was written by a newer version of this project; it was not touched."""


class LogDamaged(LogError):
    """A row of the log is not what was written; `position` names the first such row."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class LogWriteFailed(LogError):
    """The disk refused a commit: what was not acknowledged is not in the log."""


class TraceError(ComfyFsmError):
    """The trace cannot be read at all; `line` names where that showed, 0 for the whole file."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class NotATrace(TraceError):
    """The file holds something else than a trace."""


class TraceVersionError(TraceError):
    """The trace declares a format version that this version of the project cannot read."""


class InvariantBroken(ComfyFsmError):
    """This project contradicts itself: please report it, with the trace."""
