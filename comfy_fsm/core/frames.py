"""What a socket brings, folded: whose frame it is, and what it says about that task.

Attribution first (R3): a frame acts on a task only where server, window and prompt id agree.
"""

from __future__ import annotations

from collections.abc import Callable

from comfy_fsm.core import observations as seen
from comfy_fsm.core.evidence import BLOCKED, failure_of, finished_count, progress
from comfy_fsm.core.ledger import Ledger, Socket
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.settling import ask_history, end, judge_absence, move, tell
from comfy_fsm.core.task import Task

# The server's own order of one prompt's frames on one socket (P13, P21).
_START, _CACHED, _RUN, _STATED, _NULL = 1, 2, 3, 4, 5


def fold_message(ledger: Ledger, position: int, o: seen.Message) -> None:
    server = ledger.servers.get(o.server)  # the ledger's own look-up, without its calls: most entries are frames
    socket = server.sockets.get(o.window) if server is not None else None
    if socket is None:
        socket = ledger.socket(o.server, o.window)
    at, frame = o.at, o.data
    if at < socket.read_to and o.conn == socket.conn:
        ledger.find("clock-step", position, at, "earlier than the frame before it", window=o.window, server=o.server)
    socket.read_to = at
    _HANDLERS[type(frame)](ledger, socket, position, o, frame)
    if socket.absent:
        catch_up(ledger, socket, at)


def fold_binary(ledger: Ledger, position: int, o: seen.Binary) -> None:
    """A preview with metadata names its prompt; one without is nobody's (P7)."""
    socket = ledger.socket(o.server, o.window)
    socket.read_to = o.at
    prompt_id = o.data.metadata.prompt_id if o.data.metadata else None
    if prompt_id is not None:
        task = _hear(ledger, socket, position, o, prompt_id, False)
        if task is not None:
            _run(ledger, task, "preview", position, o.at)


def catch_up(ledger: Ledger, socket: Socket, at: float) -> None:
    """Read past the moment of a proof of absence: nothing older can be on its way any more."""
    ready = [task for task in socket.absent if task.absent_at <= at]
    socket.absent = [task for task in socket.absent if task.absent_at > at]
    for task in ready:
        judge_absence(ledger, task)


def replay_waiting(ledger: Ledger, task: Task) -> None:
    """The owner of these frames is known now (P12)."""
    server = ledger.server(task.server)
    for position, o in server.waiting.pop(task.prompt_id or "", ()):
        ledger.frames, ledger.strangers = ledger.frames - 1, ledger.strangers - 1
        if isinstance(o, seen.Message):
            _HANDLERS[type(o.data)](ledger, ledger.socket(o.server, o.window), position, o, o.data)
        else:
            fold_binary(ledger, position, o)


# attribution


def _hear(
    ledger: Ledger, socket: Socket, position: int, o: seen.Message | seen.Binary, prompt_id: str, addressed: bool
) -> Task | None:
    """The window's own task that this frame is about, or None: then it changes nothing (R3.1)."""
    server = socket.server
    ledger.frames += 1
    task = server.tasks.get(prompt_id)
    if task is None:
        return _stranger(ledger, socket, position, o, prompt_id, addressed)
    window = o.window
    if window == task.window or window == task.client_id:
        task.heard = True
        task.last_sign = o.at
        return task
    foreign = ledger.found.get(("foreign-message", window, server.url, prompt_id))
    if foreign is not None:  # from 0.3.45 to 0.3.57 most frames are (P2)
        ledger.count(foreign, position)
        return None
    text = "heard about a task of another window"
    ledger.find("foreign-message", position, o.at, text, window=window, server=server.url, prompt_id=prompt_id)
    return None


def _stranger(
    ledger: Ledger, socket: Socket, position: int, o: seen.Message | seen.Binary, prompt_id: str, addressed: bool
) -> Task | None:
    server = socket.server
    home = ledger.homes.get(prompt_id)
    if home is not None and home != server.url:
        text = f"told about by {server.url}, while it is bound to {home}"
        ledger.find("wrong-server", position, o.at, text, window=o.window, server=server.url, prompt_id=prompt_id)
        return None
    if addressed:  # only the socket under the client_id of its POST hears this (P1): adopted until a POST says more
        task = Task(server=server.url, window=o.window, client_id=o.window, heard=True)
        task.prompt_id = prompt_id
        ledger.add(task, server, position, o.at)
        replay_waiting(ledger, task)
        return task
    ledger.strangers += 1
    frames = server.waiting.setdefault(prompt_id, [])
    if len(frames) < ledger.policy.waiting_frames:
        frames.append((position, o))
    if len(server.waiting) > ledger.policy.waiting_prompts:
        gone, frames = server.waiting.popitem(last=False)
        report_stranger(ledger, server.url, gone, frames)
    return None


def report_stranger(
    ledger: Ledger, server: str, prompt_id: str, frames: list[tuple[int, seen.Message | seen.Binary]]
) -> None:
    for position, o in frames:
        text = "nobody in the trace submitted this prompt"
        ledger.find("unknown-prompt", position, o.at, text, window=o.window, server=server, prompt_id=prompt_id)


def _nobody(ledger: Ledger, socket: Socket, position: int, o: seen.Message, what: str) -> None:
    """A frame without an id is attributed to nobody (P4), whatever seems likely."""
    text = f"{what} without a prompt id"
    ledger.find("unattributed", position, o.at, text, window=o.window, server=socket.server.url)


# what each frame says


def _run(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    if task.phase < _RUN:
        task.phase = _RUN
    elif task.phase > _RUN:
        _disorder(ledger, task, name, position, at)
        move(ledger, task, Signal.TRAIL, name, position, at)
        return
    if task.state is not State.IN_PROGRESS:  # in progress it stays so: thousands of these come (P18)
        signal = Signal.RUN if task.stated is None else Signal.TRAIL
        move(ledger, task, signal, name, position, at)


def _disorder(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    if task.posts <= 1:
        ledger.find("out-of-order", position, at, f"{name} after a frame that is always later", task=task)


def _start(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ExecutionStart) -> None:
    if frame.data.prompt_id is None:
        return _nobody(ledger, socket, position, o, "execution_start")
    task = _hear(ledger, socket, position, o, frame.data.prompt_id, True)
    if task is None:
        return
    if task.phase > _START and task.posts <= 1:
        _disorder(ledger, task, "execution_start", position, o.at)
        move(ledger, task, Signal.TRAIL, "execution_start", position, o.at)
        return
    task.phase, task.heard_null = _START, False
    task.whole, task.stamped = True, frame.data.timestamp is not None
    task.started_at = task.started_at or o.at
    socket.running = task
    move(ledger, task, Signal.RUN, "execution_start", position, o.at)


def _cached(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ExecutionCached) -> None:
    if frame.data.prompt_id is None:
        return _nobody(ledger, socket, position, o, "execution_cached")
    task = _hear(ledger, socket, position, o, frame.data.prompt_id, True)
    if task is None:
        return
    task.reach(frame.data.nodes, ledger.policy.outputs)
    if task.sinks is not None and not task.stamped:  # before August 2024 a cached sink tells no `executed` (P14)
        task.sinks.difference_update(frame.data.nodes)
    task.must.difference_update(frame.data.nodes)
    if task.phase > _CACHED:
        _disorder(ledger, task, "execution_cached", position, o.at)
    else:
        task.phase = _CACHED
    if task.state is not State.IN_PROGRESS:
        signal = Signal.RUN if task.phase <= _RUN and task.stated is None else Signal.TRAIL
        move(ledger, task, signal, "execution_cached", position, o.at)


def _executing(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.Executing) -> None:
    prompt_id, node = frame.data.prompt_id, frame.data.node
    if prompt_id is None:  # after a reconnect in mid-run (P4)
        return _nobody(ledger, socket, position, o, "executing")
    task = _hear(ledger, socket, position, o, prompt_id, True)
    if task is None:
        return
    if node is None:
        _null(ledger, socket, task, position, o.at)
        return
    if not task.settled:
        task.reach((node,), ledger.policy.outputs)
    _run(ledger, task, "executing", position, o.at)


def _null(ledger: Ledger, socket: Socket, task: Task, position: int, at: float) -> None:
    """`executing` null: it ended. How, only older servers let us conclude, by what they did not say (P22)."""
    task.heard_end = True
    socket.running = None if socket.running is task else socket.running
    if task.settled or task.heard_null:
        ledger.find("repeated-signal", position, at, "executing null was told again", task=task)
        return
    task.heard_null, task.phase = True, _NULL
    task.conclude()
    end(ledger, task, "executing", position, at)


def _executed(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.Executed) -> None:
    data = frame.data
    if data.prompt_id is None:
        return _nobody(ledger, socket, position, o, "executed")
    task = _hear(ledger, socket, position, o, data.prompt_id, True)
    if task is None:
        return
    if data.node is not None and not task.settled:
        output = bytes(data.output)
        if output != b"null" and len(task.announced) < ledger.policy.outputs:
            task.announced[data.node] = output
        if task.sinks is None:
            task.reach((data.node,), ledger.policy.outputs)
        else:
            task.sinks.discard(data.node)
            if not task.sinks and task.phase <= _RUN:
                task.phase = _RUN
                _exhaust(ledger, task, "executed", position, o.at)
                return
    _run(ledger, task, "executed", position, o.at)


def _exhaust(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    task.point_to_end(name, at)
    if task.stated is None and not task.settled:
        task.confidence = "inferred"
    if task.state is not State.ENDING and move(ledger, task, Signal.EXHAUST, name, position, at):
        ask_history(ledger, task, at)


def _progress(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.Progress) -> None:
    prompt_id = frame.data.prompt_id
    if prompt_id is not None:
        task = _hear(ledger, socket, position, o, prompt_id, False)
        if task is not None:
            _run(ledger, task, "progress", position, o.at)
        return
    running = socket.running
    if running is not None and running.whole and running.state is State.IN_PROGRESS:
        running.last_sign = o.at  # before January 2024 it never names one; a server runs one prompt at a time
        return
    _nobody(ledger, socket, position, o, "progress")


def _progress_state(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ProgressState) -> None:
    data = frame.data
    if data.prompt_id is None:
        return _nobody(ledger, socket, position, o, "progress_state")
    task = _hear(ledger, socket, position, o, data.prompt_id, False)
    if task is None:
        return
    if task.must and finished_count(data.nodes) >= len(task.must):
        states = progress(data.nodes)
        if all(states.get(node) == "finished" for node in task.must):
            if task.phase <= _RUN:
                _exhaust(ledger, task, "progress_state", position, o.at)
            return
    if task.state is State.ENDING and task.phase <= _RUN and "running" not in progress(data.nodes).values():
        return  # nothing in it runs (P16): no news of the run
    _run(ledger, task, "progress_state", position, o.at)


def _success(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ExecutionSuccess) -> None:
    _stated(ledger, socket, position, o, frame.data.prompt_id, State.COMPLETED, "execution_success", None)


def _error(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ExecutionError) -> None:
    data = frame.data
    if data.exception_type != BLOCKED:
        _stated(ledger, socket, position, o, data.prompt_id, State.FAILED, "execution_error", data)
        return
    if data.prompt_id is None:
        return _nobody(ledger, socket, position, o, "execution_error")
    task = _hear(ledger, socket, position, o, data.prompt_id, False)
    if task is not None:  # no end: the prompt goes on and may succeed (P19)
        ledger.find("blocked-error", position, o.at, f"node {data.node_id} was blocked; the prompt goes on", task=task)
        _run(ledger, task, "execution_error", position, o.at)


def _interrupted(
    ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.ExecutionInterrupted
) -> None:
    _stated(ledger, socket, position, o, frame.data.prompt_id, State.CANCELLED, "execution_interrupted", None)


def _stated(
    ledger: Ledger,
    socket: Socket,
    position: int,
    o: seen.Message,
    prompt_id: str | None,
    outcome: State,
    name: str,
    failure: seen.FailureData | None,
) -> None:
    if prompt_id is None:
        return _nobody(ledger, socket, position, o, name)
    task = _hear(ledger, socket, position, o, prompt_id, outcome is not State.CANCELLED)  # P2
    if task is None:
        return
    task.heard_end = True
    socket.running = None if socket.running is task else socket.running
    if task.phase > _STATED:
        _disorder(ledger, task, name, position, o.at)
    else:
        task.phase = _STATED
    tell(ledger, task, outcome, name, position, o.at, failure_of(failure) if failure else None)


def _quiet(ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.Frame) -> None:
    """Status and feature flags say nothing about any task."""
    if type(frame) is seen.FeatureFlags:
        socket.server.honours_ids = True  # both came with 0.3.45


def _unrecognized(
    ledger: Ledger, socket: Socket, position: int, o: seen.Message, frame: seen.UnrecognizedFrame
) -> None:
    text = f"frame of type {frame.name!r}" + (f": {frame.why}" if frame.why else "")
    ledger.find("unrecognized", position, o.at, text, window=o.window, server=socket.server.url)


_HANDLERS: dict[type[seen.Frame], Callable[..., None]] = {
    seen.Status: _quiet,
    seen.FeatureFlags: _quiet,
    seen.ExecutionStart: _start,
    seen.ExecutionCached: _cached,
    seen.Executing: _executing,
    seen.Executed: _executed,
    seen.Progress: _progress,
    seen.ProgressState: _progress_state,
    seen.ExecutionSuccess: _success,
    seen.ExecutionError: _error,
    seen.ExecutionInterrupted: _interrupted,
    seen.UnrecognizedFrame: _unrecognized,
}
