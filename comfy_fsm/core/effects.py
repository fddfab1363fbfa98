"""Effects: what the fold asks for, and the result that a settled task carries.

The fold only says what is wanted and from when on; a live runner performs it, and a replay ignores it.
"""

from __future__ import annotations

from msgspec import Struct

from comfy_fsm import mime_types
from comfy_fsm.core.machine import State

__all__ = [
    "AnyEffect",
    "Deliver",
    "Effect",
    "Failure",
    "FetchHistory",
    "LookAtQueue",
    "NodeFault",
    "OpenSocket",
    "Output",
    "Result",
    "Text",
    "Warn",
]


class Output(Struct, frozen=True, gc=False):
    """File that a run produced, named as the server named it: never a path to trust."""

    node: str
    kind: str
    filename: str
    subfolder: str = ""
    type: str = ""
    by_socket: bool = False
    """It came over the socket alone: nobody can fetch it again, and its name is ours."""
    size: int | None = None
    """Size in bytes, where known: of files that came over the socket."""
    digest: str = ""
    """SHA-256 of these bytes, in hexadecimal digits."""
    id: str = ""
    """Id of the asset, on servers that keep assets: the file can be found by it, too (P53)."""
    preview_id: str = ""
    """Id of the asset that is its preview."""

    @property
    def path(self) -> str:
        """Type, folder and name, for display: `output/mesh/m.glb`."""
        return "/".join(part for part in (self.type, self.subfolder, self.filename) if part)

    @property
    def mime_type(self) -> str:
        """MIME type that the name suggests; `application/octet-stream` if unknown."""
        return mime_types.type_of(self.filename)


class Text(Struct, frozen=True, gc=False):
    """Text that a node showed: a caption, an answer, a value."""

    node: str
    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


class NodeFault(Struct, frozen=True, gc=False, omit_defaults=True):
    """Error that a server found in a node of a prompt that it refused."""

    node_id: str
    node_type: str | None = None
    type: str | None = None
    message: str | None = None
    details: str | None = None
    """Details in the server's words, with the value; not kept in a log, since they repeat an input."""
    input_name: str | None = None
    received: object = None
    """Value of that input; not kept in a log either."""
    allowed: object = None
    """Values that the input accepts, as the server describes them: `[[names], …]`, or `[type, {min, max, …}]`."""

    def __str__(self) -> str:
        where = f"node {self.node_id!r:.80}" + (f" ({self.node_type:.80})" if self.node_type else "")
        name = f" input {self.input_name!r:.80}" if self.input_name else ""
        said = ": ".join(part for part in (self.message or self.type, self.details) if part)
        text = f"{where}{name}: {said[:200]}" if said else f"{where}{name}"
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Failure(Struct, frozen=True, gc=False):
    """Reason why a task failed or was rejected, in the server's words."""

    type: str | None = None
    message: str | None = None
    node_id: str | None = None
    node_type: str | None = None
    traceback: tuple[str, ...] = ()
    """Traceback of the node, as the server reported it."""
    status: int | None = None
    """HTTP status of the answer to the POST, where it decided the outcome or left it in doubt."""
    faults: tuple[NodeFault, ...] = ()
    """Errors that a refusal reports, node by node."""
    error: object = None
    """`error` of a refusal, complete."""
    node_errors: object = None
    """`node_errors` of a refusal, complete."""


class Result(Struct, frozen=True, gc=False):
    """Result of a settled task; `server` is the one that executed it."""

    prompt_id: str | None
    window: str | None
    server: str
    state: State
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    texts: tuple[Text, ...] = ()
    left_out: int = 0
    """Number of outputs and texts beyond the bounds of the policy; they are not included."""
    missed: tuple[str, ...] = ()
    """Nodes that send their images over the socket, and whose images did not all arrive: those cannot be fetched
    again."""
    confidence: str | None = None
    """How sure the state is: `verified`, `stated` or `inferred`."""
    concluded: bool = False
    """The state was concluded from absence or time, and nobody stated it: late evidence may reopen the task, and
    running it again is not safe."""
    accepted: bool = True
    """A server showed that it had the task; if it vanished afterwards, it may have run."""
    tag: object = None
    """Value that the application attached on submission; it survives a restart, except for what may not be written
    down."""


class Effect(Struct, frozen=True, gc=False, tag=True):
    """Action that the fold asks for, from `due` (seconds since the epoch) on."""

    due: float
    server: str


class OpenSocket(Effect, frozen=True, gc=False):
    """Open the window's socket, ending the old connection first (P3)."""

    window: str


class LookAtQueue(Effect, frozen=True, gc=False):
    """Ask for the queue and, only after its answer, for the history (P29)."""

    prompt_id: str


class FetchHistory(Effect, frozen=True, gc=False):
    """Ask the bound server for the record of this prompt."""

    prompt_id: str


class Deliver(Effect, frozen=True, gc=False):
    """Deliver the result to the application, once."""

    result: Result


class Warn(Effect, frozen=True, gc=False):
    """Warn the operator that this task has been silent for longer than the warning tier."""

    prompt_id: str


AnyEffect = OpenSocket | LookAtQueue | FetchHistory | Deliver | Warn
