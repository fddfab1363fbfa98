"""What each frame says about the task it is about; whose it is was settled before it comes here."""

from __future__ import annotations

from collections.abc import Callable

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.settlement import ask_history, end, move, tell
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.registry.registry import Ledger, Socket
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire.bodies import BLOCKED, FINISHED, failure_of, progress

# The server's own order of one prompt's frames on one socket (P13, P21).
_START, _CACHED, _RUN, _STATED, _NULL = 1, 2, 3, 4, 5


def run(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    """The server works on it, or did before its end."""
    if task.phase < _RUN:
        task.phase = _RUN
    elif task.phase > _RUN:
        _disorder(ledger, task, name, position, at)
        move(ledger, task, Signal.TRAIL, name, position, at)
        return
    if task.state is not State.IN_PROGRESS:  # in progress it stays so: thousands of these come (P18)
        signal = Signal.TRAIL if task.over else Signal.RUN
        move(ledger, task, signal, name, position, at)


def _disorder(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    if task.posts <= 1:
        ledger.find("out-of-order", position, at, f"{name} after a frame that is always later", task=task)


def _start(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.StartData) -> None:
    if task.phase > _START and task.posts <= 1:
        _disorder(ledger, task, "execution_start", position, at)
        move(ledger, task, Signal.TRAIL, "execution_start", position, at)
        return
    task.phase, task.heard_null = _START, False
    task.whole, task.stamped = True, data.timestamp is not None
    task.started_at = task.started_at or at
    socket.running = task
    late = task.over and task.posts <= 1
    move(ledger, task, Signal.TRAIL if late else Signal.RUN, "execution_start", position, at)


def _cached(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.CachedData) -> None:
    task.reach(data.nodes, ledger.policy.outputs)
    if not task.stamped:  # before August 2024 a cached sink tells no `executed` (P14)
        task.finish_nodes(data.nodes, ledger.policy.outputs)
    task.must.difference_update(data.nodes)
    if task.phase > _CACHED:
        _disorder(ledger, task, "execution_cached", position, at)
    else:
        task.phase = _CACHED
    if task.state is not State.IN_PROGRESS:
        signal = Signal.RUN if task.phase <= _RUN and not task.over else Signal.TRAIL
        move(ledger, task, signal, "execution_cached", position, at)


def _executing(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.ExecutingData) -> None:
    if data.node is None:
        _null(ledger, socket, task, position, at)
        return
    if not task.settled:
        task.reach((data.node,), ledger.policy.outputs)
        if task.imaging is not None:
            task.imaging.node = data.node
    run(ledger, task, "executing", position, at)


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


def _executed(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.ExecutedData) -> None:
    if data.node is not None and not task.settled:
        output = bytes(data.output)
        if output != b"null":
            if data.node in task.announced or len(task.announced) < ledger.policy.outputs:
                task.announced[data.node] = output
            else:
                task.unannounced += 1
        task.reach((data.node,), ledger.policy.outputs)
        task.finish_nodes((data.node,), ledger.policy.outputs)
        if task.sinks is not None and not task.sinks and task.phase <= _RUN:
            task.phase = _RUN
            _exhaust(ledger, task, "executed", position, at)
            return
    run(ledger, task, "executed", position, at)


def _exhaust(ledger: Ledger, task: Task, name: str, position: int, at: float) -> None:
    task.point_to_end(name, at)
    if task.stated is None and not task.settled:
        task.confidence = "inferred"
    if task.state is not State.ENDING and move(ledger, task, Signal.EXHAUST, name, position, at):
        ask_history(ledger, task, at)


def _progress(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.PromptData) -> None:
    run(ledger, task, "progress", position, at)


def _progress_state(
    ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.ProgressStateData
) -> None:
    must = task.must
    if must and bytes(data.nodes).count(FINISHED) >= len(must):
        states = progress(data.nodes)
        if all(states.get(node) == "finished" for node in must):
            if task.phase <= _RUN:
                _exhaust(ledger, task, "progress_state", position, at)
            return
    if task.state is State.ENDING and task.phase <= _RUN and "running" not in progress(data.nodes).values():
        return  # nothing in it runs (P16): no news of the run
    if task.phase != _RUN or task.state is not State.IN_PROGRESS:  # else no news either, and most are such
        run(ledger, task, "progress_state", position, at)


def _success(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.PromptData) -> None:
    _stated(ledger, socket, task, State.COMPLETED, "execution_success", position, at)


def _error(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.FailureData) -> None:
    if data.exception_type == BLOCKED:  # no end: the prompt goes on and may succeed (P19)
        ledger.find("blocked-error", position, at, f"node {data.node_id} was blocked; the prompt goes on", task=task)
        run(ledger, task, "execution_error", position, at)
        return
    if not task.settled:
        task.error = task.error or failure_of(data)
    _stated(ledger, socket, task, State.FAILED, "execution_error", position, at)


def _interrupted(ledger: Ledger, socket: Socket, task: Task, position: int, at: float, data: seen.FailureData) -> None:
    _stated(ledger, socket, task, State.CANCELLED, "execution_interrupted", position, at)


def _stated(ledger: Ledger, socket: Socket, task: Task, outcome: State, name: str, position: int, at: float) -> None:
    task.heard_end = socket.told_end = True
    socket.running = None if socket.running is task else socket.running
    if task.phase > _STATED:
        _disorder(ledger, task, name, position, at)
    else:
        task.phase = _STATED
    tell(ledger, task, outcome, name, position, at)


SAYS: dict[type[seen.Frame], Callable[..., None]] = {
    seen.ExecutionStart: _start,
    seen.ExecutionCached: _cached,
    seen.Executing: _executing,
    seen.Executed: _executed,
    seen.Progress: _progress,
    seen.ProgressState: _progress_state,
    seen.ExecutionSuccess: _success,
    seen.ExecutionError: _error,
    seen.ExecutionInterrupted: _interrupted,
}
"""By frame; each is given ledger, socket, task, position, time and the frame's data."""
