"""What may be asked of the world, and the result that a settled task carries.

The fold only says what is wanted and from when on; a live runner performs it, replay passes it over.
"""

from __future__ import annotations

from msgspec import Struct

from comfy_fsm import media
from comfy_fsm.core.machine import State


class Output(Struct, frozen=True, gc=False):
    """One file that a run produced, named as the server named it: never a path to trust."""

    node: str
    kind: str
    filename: str
    subfolder: str = ""
    type: str = ""
    by_socket: bool = False
    """It came over the socket alone: nobody can fetch it again, and the name is ours."""
    size: int | None = None
    """Its bytes, where that is known: of what came over the socket."""
    digest: str = ""
    """Their SHA-256, in hexadecimal digits."""
    id: str = ""
    """The asset that it is, where its server keeps assets: it is found by this, too (P53)."""
    preview_id: str = ""
    """The asset that is its preview."""

    @property
    def path(self) -> str:
        """Type, folder and name, to be shown: `output/mesh/m.glb`."""
        return "/".join(part for part in (self.type, self.subfolder, self.filename) if part)

    @property
    def mime_type(self) -> str:
        """What its name says that it is; `application/octet-stream` where that is not known."""
        return media.type_of(self.filename)


class Text(Struct, frozen=True, gc=False):
    """A text that a node showed: a caption, an answer, a value."""

    node: str
    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


class NodeFault(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a server finds wrong with a node of a prompt that it refuses."""

    node_id: str
    node_type: str | None = None
    type: str | None = None
    message: str | None = None
    details: str | None = None
    """In its words, with the value; a log does not keep it, since it repeats an input."""
    input_name: str | None = None
    received: object = None
    """The value of that input; not in a log either."""
    allowed: object = None
    """What that input takes, as the server describes it: `[[names], …]`, or `[type, {min, max, …}]`."""

    def __str__(self) -> str:
        where = f"node {self.node_id!r:.80}" + (f" ({self.node_type:.80})" if self.node_type else "")
        name = f" input {self.input_name!r:.80}" if self.input_name else ""
        said = ": ".join(part for part in (self.message or self.type, self.details) if part)
        text = f"{where}{name}: {said[:200]}" if said else f"{where}{name}"
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Failure(Struct, frozen=True, gc=False):
    """Why a task failed or was rejected, in the server's words."""

    type: str | None = None
    message: str | None = None
    node_id: str | None = None
    node_type: str | None = None
    traceback: tuple[str, ...] = ()
    """Where the node raised, as the server told it."""
    status: int | None = None
    """The HTTP status that the POST was answered with, where that decided or left the doubt."""
    faults: tuple[NodeFault, ...] = ()
    """What a refusal says of each node."""
    error: object = None
    """The `error` of a refusal, whole."""
    node_errors: object = None
    """Its `node_errors`, whole."""


class Result(Struct, frozen=True, gc=False):
    """What a settled task carries; `server` is the one that executed it (R2.3)."""

    prompt_id: str | None
    window: str | None
    server: str
    state: State
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    texts: tuple[Text, ...] = ()
    left_out: int = 0
    """Outputs and texts beyond the bounds of the policy: they are not here."""
    missed: tuple[str, ...] = ()
    """Nodes that send their images over the socket, and whose images did not all come: they are gone."""
    confidence: str | None = None
    """`verified`, `stated` or `inferred`: how sure that is."""
    concluded: bool = False
    """Absence or time led to it, and nobody said so: late evidence takes it back, and to run it again is not safe."""
    accepted: bool = True
    """A server showed that it had it; what vanished after that may have run."""
    tag: object = None
    """What was given with it when it was submitted, after a restart too; without what may not be written down."""


class Effect(Struct, frozen=True, gc=False, tag=True):
    """Something asked of the world, wanted from `due` (seconds since the epoch) on."""

    due: float
    server: str


class OpenSocket(Effect, frozen=True, gc=False):
    """Open the window's socket, ending the old connection first (P3)."""

    window: str


class LookAtQueue(Effect, frozen=True, gc=False):
    """Ask the queue, and only after its answer the history (P29)."""

    prompt_id: str


class FetchHistory(Effect, frozen=True, gc=False):
    """Ask the bound server for the record of this prompt."""

    prompt_id: str


class Deliver(Effect, frozen=True, gc=False):
    """Hand the result to the application, once."""

    result: Result


class Warn(Effect, frozen=True, gc=False):
    """Tell the operator that this task has been silent for longer than the warning tier."""

    prompt_id: str


AnyEffect = OpenSocket | LookAtQueue | FetchHistory | Deliver | Warn
