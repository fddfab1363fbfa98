"""Observations: what a client can see, one line of a trace each.

Knows the trace format and ComfyUI's own words, not what anything means for a task. Every field that a server may leave
out has a default, forever. What the fold does not read stays `Raw`, undecoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw, Struct

__all__ = [
    "AnyObservation",
    "Binary",
    "BinaryData",
    "BinaryMetadata",
    "CachedData",
    "CloseData",
    "Closed",
    "Command",
    "CommandData",
    "CommandName",
    "DamageCode",
    "DamageData",
    "Damaged",
    "Delivered",
    "DeliveredData",
    "Entry",
    "Executed",
    "ExecutedData",
    "Executing",
    "ExecutingData",
    "ExecutionCached",
    "ExecutionError",
    "ExecutionInterrupted",
    "ExecutionStart",
    "ExecutionSuccess",
    "FailureData",
    "FeatureFlags",
    "Frame",
    "Header",
    "HeaderData",
    "KnownFrame",
    "KnownObservation",
    "Message",
    "NoAnswer",
    "NoAnswerData",
    "Observation",
    "Opened",
    "Progress",
    "ProgressState",
    "ProgressStateData",
    "PromptData",
    "Request",
    "RequestData",
    "Response",
    "ResponseData",
    "StartData",
    "Status",
    "Tick",
    "Undecodable",
    "UndecodableData",
    "Unrecognized",
    "UnrecognizedFrame",
]


class _Frame(Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    """JSON frame of the socket, tagged by its `type`."""


class PromptData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None


class StartData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    timestamp: float | None = None


class CachedData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    nodes: tuple[str, ...] = ()


class ExecutingData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    node: str | None = None


class ExecutedData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    node: str | None = None
    output: Raw = Raw(b"null")


class ProgressStateData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    nodes: Raw = Raw(b"{}")


class FailureData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    node_id: str | None = None
    node_type: str | None = None
    exception_type: str | None = None
    exception_message: str | None = None
    traceback: Raw = Raw(b"null")


class Status(_Frame, frozen=True, gc=False, tag="status"):
    data: Raw = Raw(b"null")


class FeatureFlags(_Frame, frozen=True, gc=False, tag="feature_flags"):
    pass


class ExecutionStart(_Frame, frozen=True, gc=False, tag="execution_start"):
    data: StartData


class ExecutionCached(_Frame, frozen=True, gc=False, tag="execution_cached"):
    data: CachedData


class Executing(_Frame, frozen=True, gc=False, tag="executing"):
    data: ExecutingData


class Executed(_Frame, frozen=True, gc=False, tag="executed"):
    data: ExecutedData


class Progress(_Frame, frozen=True, gc=False, tag="progress"):
    data: PromptData


class ProgressState(_Frame, frozen=True, gc=False, tag="progress_state"):
    data: ProgressStateData


class ExecutionSuccess(_Frame, frozen=True, gc=False, tag="execution_success"):
    data: PromptData


class ExecutionError(_Frame, frozen=True, gc=False, tag="execution_error"):
    data: FailureData


class ExecutionInterrupted(_Frame, frozen=True, gc=False, tag="execution_interrupted"):
    data: FailureData


class UnrecognizedFrame(_Frame, frozen=True, gc=False, tag="\N{REPLACEMENT CHARACTER}unrecognized"):
    """Frame of an unknown type, or of a known type in a shape that no version is known to send."""

    name: str = ""
    why: str = ""


KnownFrame = (
    Status
    | FeatureFlags
    | ExecutionStart
    | ExecutionCached
    | Executing
    | Executed
    | Progress
    | ProgressState
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
)
if TYPE_CHECKING:
    Frame = KnownFrame | UnrecognizedFrame
else:
    Frame = KnownFrame  # for a decoder: only our own reader makes an UnrecognizedFrame


class BinaryMetadata(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str | None = None
    node_id: object = None
    image_type: object = None


class BinaryData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Binary frame. `size` and `digest` describe the image in it; a recorder may leave out everything but `event`."""

    event: int = 0
    metadata: BinaryMetadata | None = None
    bytes: object = None
    format: object = None
    size: object = None
    digest: object = None


class CloseData(Struct, frozen=True, gc=False, omit_defaults=True):
    code: int | None = None


class UndecodableData(Struct, frozen=True, gc=False, omit_defaults=True):
    error: str = ""
    text: str = ""


class RequestData(Struct, frozen=True, gc=False, omit_defaults=True):
    id: str
    method: str
    path: str
    body: Raw = Raw(b"null")


class ResponseData(Struct, frozen=True, gc=False, omit_defaults=True):
    id: str
    status: int
    body: Raw = Raw(b"null")
    retry_after: object = None
    """Seconds after which to try again, if the server stated them. It may be of any type, so that a foreign recorder's
    value does not make the whole answer unreadable."""
    location: object = None
    """Where a redirect leads, without what may be secret in it; of any type for the same reason."""


class NoAnswerData(Struct, frozen=True, gc=False, omit_defaults=True):
    id: str
    error: str = ""


class HeaderData(Struct, frozen=True, gc=False, omit_defaults=True):
    version: int
    recorder: str | None = None
    policy: Raw = Raw(b"null")


CommandName = Literal[
    "resume", "follow", "recover", "seek", "adopt", "callback-cut",
    "submit", "enqueue", "withdraw", "rebind", "recall", "cancel", "drain", "undrain",
]  # fmt: skip
"""Commands that we write; a trace may hold any other, which changes nothing."""


class CommandData(Struct, frozen=True, gc=False, omit_defaults=True):
    name: str
    prompt_id: str | None = None
    to: str | None = None
    priority: float = 0.0
    graph: str | None = None
    workflow: Raw = Raw(b"null")
    withheld: tuple[str, ...] = ()
    """Inputs (`node.input`) that were removed from the workflow because they contain a secret."""
    tag: Raw = Raw(b"null")
    """Any JSON that the application attached to its task."""


class DeliveredData(Struct, frozen=True, gc=False, omit_defaults=True):
    prompt_id: str
    state: str | None = None


class Observation(Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", omit_defaults=True):
    """Observation of something that was seen, tagged by its `kind`; `at` is in seconds since the epoch, UTC.

    `redacted`: the recorder removed text from it before writing it down.
    """

    at: float
    window: str | None = None
    server: str | None = None
    seq: int | None = None
    conn: int | None = None
    mono: int | None = None
    redacted: bool = False


class Header(Observation, frozen=True, gc=False, kw_only=True, tag="trace"):
    data: HeaderData


class Opened(Observation, frozen=True, gc=False, kw_only=True, tag="ws.open"):
    pass


class Closed(Observation, frozen=True, gc=False, kw_only=True, tag="ws.close"):
    data: CloseData = CloseData()


class Message(Observation, frozen=True, gc=False, kw_only=True, tag="ws.message"):
    data: Frame


class Binary(Observation, frozen=True, gc=False, kw_only=True, tag="ws.binary"):
    data: BinaryData = BinaryData()


class Undecodable(Observation, frozen=True, gc=False, kw_only=True, tag="ws.undecodable"):
    data: UndecodableData


class Request(Observation, frozen=True, gc=False, kw_only=True, tag="http.request"):
    data: RequestData


class Response(Observation, frozen=True, gc=False, kw_only=True, tag="http.response"):
    data: ResponseData


class NoAnswer(Observation, frozen=True, gc=False, kw_only=True, tag="http.error"):
    data: NoAnswerData


class Tick(Observation, frozen=True, gc=False, kw_only=True, tag="tick"):
    pass


class Command(Observation, frozen=True, gc=False, kw_only=True, tag="command"):
    data: CommandData


class Delivered(Observation, frozen=True, gc=False, kw_only=True, tag="delivered"):
    data: DeliveredData


class Unrecognized(Observation, frozen=True, gc=False, kw_only=True, tag="\N{REPLACEMENT CHARACTER}unrecognized"):
    """Line of an unknown kind, or of a known kind in an unknown shape; kept, not judged."""

    name: str = ""
    why: str = ""


DamageCode = Literal["damaged", "undecodable", "time-unit"]
"""Codes of the findings that a reader of logs and traces makes."""


class DamageData(Struct, frozen=True, gc=False, omit_defaults=True):
    code: DamageCode
    why: str


class Damaged(Observation, frozen=True, gc=False, kw_only=True, tag="\N{REPLACEMENT CHARACTER}damaged"):
    """Part of a log or trace that its reader could not read; its `code` is that of the finding to report."""

    data: DamageData


KnownObservation = (
    Header
    | Opened
    | Closed
    | Message
    | Binary
    | Undecodable
    | Request
    | Response
    | NoAnswer
    | Tick
    | Command
    | Delivered
)
"""What a line of a trace can hold."""
AnyObservation = KnownObservation | Unrecognized | Damaged
"""The same, and what only our own reader makes of a line."""


class Entry(Struct, frozen=True, gc=False):
    """Observation in the log, with its position, which can be compared and is otherwise opaque."""

    position: int
    observation: AnyObservation
