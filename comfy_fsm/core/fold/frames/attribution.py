"""Attribution: assigns each frame to a task, by server, window and prompt id; frames with an unknown id wait.

A frame acts on a task only if all three agree; one about a task of another window is noted, and changes nothing.
"""

from __future__ import annotations

import re

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.absence import judge_all
from comfy_fsm.core.fold.frames.handlers import HANDLERS, apply_run_frame
from comfy_fsm.core.fold.settlement import reopen_conclusion, request_queue_at_once
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.registry import MAX_WHAT, Registry, Socket, Subject
from comfy_fsm.core.registry.servers import COUNTING
from comfy_fsm.core.registry.socket_images import image_in
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import status
from comfy_fsm.core.wire.bodies import BLOCKED

__all__ = ["fold_binary", "fold_message", "replay_waiting", "report_unknown_prompt"]

_FOREIGN = Code.FOREIGN_MESSAGE  # looked up for most frames of some servers (P2)
_LOOKED_FOR = frozenset({State.PENDING, State.IN_PROGRESS})
_ABOUT_NO_PROMPT = re.compile(r"assets\.|(logs|notification)\Z")
"""Types of frames about the scan of a server's files (P54), its terminal and its service: known, and about no
prompt."""


def fold_message(registry: Registry, o: seen.Message) -> None:
    server = registry.servers.get(o.server)  # the registry's own look-up, without its calls: most entries are frames
    window, at, frame = o.window, o.at, o.data
    socket = server.sockets.get(window) if server is not None else None
    if socket is None or server is None:
        socket = registry.socket(o.server, window)
        server = socket.server
    if at < socket.read_to:
        _step_back(registry, socket, o)
    socket.read_to = at
    kind = type(frame)
    says = HANDLERS.get(kind)
    if says is not None:  # then it names a prompt, which mypy cannot see; isinstance would cost more than it tells
        data = frame.data  # type: ignore[union-attr]
        prompt_id = data.prompt_id  # type: ignore[union-attr]
        task = server.tasks.get(prompt_id or "")
        if task is not None and window == task.window:  # most frames: what _whose does, without its call
            task.receive(at)
        elif prompt_id is None:
            _nobody(registry, socket, o)
        else:
            task = _whose(registry, socket, o, prompt_id, task)
        if task is not None:
            if task.concluded and _takes_back(task, frame, at):
                reopen_conclusion(registry, task, frame.__struct_config__.tag)  # type: ignore[arg-type]
            says(registry, socket, task, data)
    elif kind is seen.Status:
        _note_status(registry, socket, frame, at)  # type: ignore[arg-type]
    elif kind is seen.UnrecognizedFrame:
        _note_unrecognized(registry, socket, frame)  # type: ignore[arg-type]
    if server.absent and (kind is seen.Status or at >= server.absent_due):
        judge_all(registry, server)


def _count(registry: Registry, socket: Socket, count: int) -> None:
    """Note the server's number of prompts: if it fell, and no end of ours was reported, ask which one ended."""
    counts, now = socket.counts, registry.now
    before = counts[-1][1] if counts else None
    counts.append((now, count))
    _count_on(socket)
    told, socket.end_reported = socket.end_reported, False
    if before is None or count >= before or told or now < socket.looked_at:
        return
    socket.looked_at = now + registry.policy.look_seconds
    own = socket.server.own.get(socket.window)
    if own is None:
        return
    for task in own.take_counted().values():
        if task.state in _LOOKED_FOR:
            task.inquiry.hasten()
            request_queue_at_once(registry, task)


def _count_on(socket: Socket) -> None:
    """Remember that this socket reports numbers; the one that last did so longest ago is dropped."""
    counting = socket.server.counting
    counting[socket.window] = socket
    counting.move_to_end(socket.window)
    if len(counting) > COUNTING:
        counting.popitem(last=False)


def _takes_back(task: Task, frame: seen.Frame, at: float) -> bool:
    """Return whether the frame refutes a conclusion: a stated end does, however late; news of the run only if it is
    younger."""
    if isinstance(frame, seen.ExecutionInterrupted) and task.state is State.CANCELLED:
        return False
    ended = isinstance(frame, seen.ExecutionSuccess | seen.ExecutionInterrupted) or (
        isinstance(frame, seen.ExecutionError) and frame.data.exception_type != BLOCKED
    )
    null = isinstance(frame, seen.Executing) and frame.data.node is None
    return ended or null or at > (task.settled_at or at)


def _step_back(registry: Registry, socket: Socket, o: seen.Message) -> None:
    if not registry.looks_back and o.conn == socket.conn:  # a frame that waited did not come late
        text = "earlier than the frame before it"
        registry.report(Code.CLOCK_STEP, text, Subject(o.window, socket.server.url))


def fold_binary(registry: Registry, o: seen.Binary) -> None:
    """Fold a binary frame: a preview with metadata names its prompt; one without is attributed to nobody (P7), though
    it may be an image that the running task keeps."""
    socket = registry.socket(o.server, o.window)
    socket.read_to = o.at
    metadata, task = o.data.metadata, socket.running
    if metadata is not None and metadata.prompt_id is not None:
        task = _whose(registry, socket, o, metadata.prompt_id, socket.server.tasks.get(metadata.prompt_id))
        if task is not None:
            apply_run_frame(registry, task, "preview")
    registry.imaged = None
    if task is not None and task.imaging is not None and not task.settled:
        image = image_in(task.imaging, o.data, registry.policy)
        registry.imaged = (task, image) if image is not None else None


def replay_waiting(registry: Registry, task: Task) -> None:
    """Fold the frames that waited until the owner of this prompt was known (P12)."""
    for position, o in registry.server(task.server).waiting.pop(task.prompt_id or "", ()):
        registry.strangers -= 1
        with registry.as_of(position, o.at):
            if isinstance(o, seen.Message):
                fold_message(registry, o)
            else:
                fold_binary(registry, o)


def report_unknown_prompt(
    registry: Registry, server: str, prompt_id: str, frames: list[tuple[int, seen.Message | seen.Binary]]
) -> None:
    for position, o in frames:
        text = "nobody in the trace submitted this prompt"
        with registry.as_of(position, o.at):
            registry.report(Code.UNKNOWN_PROMPT, text, Subject(o.window, server, prompt_id))


def _whose(
    registry: Registry, socket: Socket, o: seen.Message | seen.Binary, prompt_id: str, task: Task | None
) -> Task | None:
    """Return the window's own task that this frame is about, or None; `task`: the one with this id at this address."""
    server, window = socket.server, o.window
    if task is None:
        task = registry.task_at(server, prompt_id)
    if task is None:
        return _stranger(registry, socket, o, prompt_id)
    if task.server != server.url:
        registry.join(server, task.server)
    if window == task.window or window == task.client_id:
        task.receive(o.at)
        return task
    foreign = socket.overheard.get(prompt_id)
    if foreign is not None:  # from 0.3.45 to 0.3.57 most frames are such (P2)
        foreign.count += 1
        registry.counters.found[_FOREIGN] += 1
        if foreign.count <= registry.policy.lines:
            foreign.positions.append(registry.position)
        return None
    text = "received about a task of another window"
    note = registry.report(_FOREIGN, text, Subject(window, server.url, prompt_id))
    if note is not None:
        socket.overheard[prompt_id] = note
    return None


def _stranger(registry: Registry, socket: Socket, o: seen.Message | seen.Binary, prompt_id: str) -> Task | None:
    server = socket.server
    home = registry.homes.get(prompt_id)
    if home is not None:  # bound to another server; or to this one, and its task was dropped
        if home != server.url:
            text = f"reported by {server.url}, while it is bound to {home}"
            registry.report(Code.WRONG_SERVER, text, Subject(o.window, server.url, prompt_id))
        return None
    if isinstance(o, seen.Message) and _addressed(o.data) and registry.unposted < registry.policy.unposted:
        registry.unposted += 1  # it belongs to this window until a POST says more
        task = Task(server=server.url, prompt_id=prompt_id, window=o.window, client_id=o.window, frames=1)
        registry.add(task, server)
        replay_waiting(registry, task)
        return task
    registry.strangers += 1
    registry.counters.strange += 1
    frames = server.waiting.setdefault(prompt_id, [])
    if len(frames) < registry.policy.waiting_frames:
        frames.append((registry.position, o))
    if len(server.waiting) > registry.policy.waiting_prompts:
        gone, frames = server.waiting.popitem(last=False)
        report_unknown_prompt(registry, server.url, gone, frames)
    return None


def _addressed(frame: seen.Frame) -> bool:
    """Return whether only the socket under the client_id of the POST receives this (P1), and not perhaps everybody (P2,
    P19)."""
    if isinstance(frame, seen.ExecutionError):
        return frame.data.exception_type != BLOCKED
    return not isinstance(frame, seen.Progress | seen.ProgressState | seen.ExecutionInterrupted)


def _nobody(registry: Registry, socket: Socket, o: seen.Message) -> None:
    """Attribute a frame without an id to nobody (P4), whatever seems likely."""
    running = socket.running
    alive = running is not None and running.run.unbroken and running.state is State.IN_PROGRESS
    if running is not None and alive and isinstance(o.data, seen.Progress):
        running.note_sign(o.at)  # before January 2024 it never has an id; a server runs one prompt at a time
        return
    text = f"{o.data.__struct_config__.tag} without a prompt id"
    registry.report(Code.UNATTRIBUTED, text, Subject(o.window, socket.server.url))


def _note_status(registry: Registry, socket: Socket, frame: seen.Status, at: float) -> None:
    """Note what a server says of itself."""
    count, greeting = status.read(frame.data)
    if count is not None:
        _count(registry, socket, count)
        if not greeting:
            socket.counted_at = at
    if greeting:
        socket.greeted_at = at


def _note_unrecognized(registry: Registry, socket: Socket, frame: seen.UnrecognizedFrame) -> None:
    if not _ABOUT_NO_PROMPT.match(frame.name):
        text = f"frame of type {frame.name!r:.{MAX_WHAT}}" + (f": {frame.why}" if frame.why else "")
        url, name = socket.server.url, f"frame {frame.name}"
        registry.report(Code.UNRECOGNIZED, text, Subject(socket.window, url), name=name)
