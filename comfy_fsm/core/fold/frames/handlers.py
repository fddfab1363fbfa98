"""Handlers of frames: what each says about its task; attribution comes before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.settlement import apply_signal, note_end, request_record, state_outcome
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.registry.ending import Source
from comfy_fsm.core.registry.registry import Registry, Socket
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire.bodies import BLOCKED, FINISHED, failure_of, progress

__all__ = ["HANDLERS", "apply_run_frame"]

# Looked up once: Python 3.11 takes longer for a member of an enum than for a call.
_IN_PROGRESS, _ENDING = State.IN_PROGRESS, State.ENDING
# Phases of one prompt's frames on one socket, in the server's own order (P13, P21).
_START, _CACHED, _RUN, _STATED, _NULL = 1, 2, 3, 4, 5


def apply_run_frame(registry: Registry, task: Task, name: str) -> None:
    """Apply a frame that shows the server at work on the task, or shows that it was before the end."""
    if task.phase < _RUN:
        task.enter(_RUN)
    elif task.phase > _RUN:
        _disorder(registry, task, name)
        apply_signal(registry, task, Signal.TRAIL, name)
        return
    if task.state is not _IN_PROGRESS:  # in progress it stays so: thousands of these come (P18)
        signal = Signal.TRAIL if task.over else Signal.RUN
        apply_signal(registry, task, signal, name)


def _disorder(registry: Registry, task: Task, name: str) -> None:
    if task.posts <= 1:
        registry.report(Code.OUT_OF_ORDER, f"{name} after a frame that is always later", task)


def _start(registry: Registry, socket: Socket, task: Task, data: seen.StartData) -> None:
    if task.phase > _START and task.posts <= 1:
        _disorder(registry, task, "execution_start")
        apply_signal(registry, task, Signal.TRAIL, "execution_start")
        return
    task.enter(_START)
    task.begin(registry.now, has_timestamp=data.timestamp is not None)
    socket.running = task
    late = task.over and task.posts <= 1
    apply_signal(registry, task, Signal.TRAIL if late else Signal.RUN, "execution_start")


def _cached(registry: Registry, socket: Socket, task: Task, data: seen.CachedData) -> None:
    task.remains.reach(data.nodes, registry.policy.outputs)
    if not task.run.has_timestamp:  # before August 2024 a cached sink sends no `executed` (P14)
        task.remains.finish(data.nodes, registry.policy.outputs)
    task.skip(data.nodes)
    if task.phase > _CACHED:
        _disorder(registry, task, "execution_cached")
    else:
        task.enter(_CACHED)
    if task.state is not _IN_PROGRESS:
        signal = Signal.RUN if task.phase <= _RUN and not task.over else Signal.TRAIL
        apply_signal(registry, task, signal, "execution_cached")


def _executing(registry: Registry, socket: Socket, task: Task, data: seen.ExecutingData) -> None:
    if data.node is None:
        _null(registry, socket, task)
        return
    if not task.settled:
        task.remains.reach((data.node,), registry.policy.outputs)
        if task.imaging is not None:
            task.imaging.execute(data.node)
    apply_run_frame(registry, task, "executing")


def _null(registry: Registry, socket: Socket, task: Task) -> None:
    """Apply `executing` null: the run ended. On older servers, the outcome is inferred from what was not reported
    (P22)."""
    task.run.receive_end()
    socket.running = None if socket.running is task else socket.running
    if task.settled or task.run.null_received:
        registry.report(Code.REPEATED_SIGNAL, "executing null was reported again", task)
        return
    task.run.receive_end(null=True)
    task.enter(_NULL)
    task.conclude()
    note_end(registry, task, "executing")


def _executed(registry: Registry, socket: Socket, task: Task, data: seen.ExecutedData) -> None:
    if data.node is not None and not task.settled:
        output = bytes(data.output)
        if output != b"null":
            task.announce(data.node, output, registry.policy.outputs)
        task.remains.reach((data.node,), registry.policy.outputs)
        task.remains.finish((data.node,), registry.policy.outputs)
        if task.remains.sinks is not None and not task.remains.sinks and task.phase <= _RUN:
            task.enter(_RUN)
            _exhaust(registry, task, "executed")
            return
    apply_run_frame(registry, task, "executed")


def _exhaust(registry: Registry, task: Task, name: Source) -> None:
    task.note_end_source(name, registry.now)
    if task.stated is None and not task.settled:
        task.end.infer(None)
    if task.state is not _ENDING and apply_signal(registry, task, Signal.EXHAUST, name):
        request_record(registry, task)


def _progress(registry: Registry, socket: Socket, task: Task, data: seen.PromptData) -> None:
    apply_run_frame(registry, task, "progress")


def _progress_state(registry: Registry, socket: Socket, task: Task, data: seen.ProgressStateData) -> None:
    remaining = task.remaining
    if remaining and bytes(data.nodes).count(FINISHED) >= len(remaining):
        states = progress(data.nodes)
        if all(states.get(node) == "finished" for node in remaining):
            if task.phase <= _RUN:
                _exhaust(registry, task, "progress_state")
            return
    if task.state is _ENDING and task.phase <= _RUN and "running" not in progress(data.nodes).values():
        return  # nothing in it runs (P16), so it is no news of the run
    if task.phase != _RUN or task.state is not _IN_PROGRESS:  # otherwise no news either, like most
        apply_run_frame(registry, task, "progress_state")


def _success(registry: Registry, socket: Socket, task: Task, data: seen.PromptData) -> None:
    _stated(registry, socket, task, State.COMPLETED, "execution_success")


def _error(registry: Registry, socket: Socket, task: Task, data: seen.FailureData) -> None:
    if data.exception_type == BLOCKED:  # not an end: the prompt goes on and may succeed (P19)
        registry.report(Code.BLOCKED_ERROR, f"node {data.node_id} was blocked; the prompt goes on", task)
        apply_run_frame(registry, task, "execution_error")
        return
    if not task.settled:
        task.fail(task.error or failure_of(data))
    _stated(registry, socket, task, State.FAILED, "execution_error")


def _interrupted(registry: Registry, socket: Socket, task: Task, data: seen.FailureData) -> None:
    _stated(registry, socket, task, State.CANCELLED, "execution_interrupted")


def _stated(registry: Registry, socket: Socket, task: Task, outcome: State, name: Source) -> None:
    task.run.receive_end()
    socket.end_reported = True
    socket.running = None if socket.running is task else socket.running
    if task.phase > _STATED:
        _disorder(registry, task, name)
    else:
        task.enter(_STATED)
    state_outcome(registry, task, outcome, name)


_D = TypeVar("_D", covariant=True)
_Handler = Callable[[Registry, Socket, Task, object], None]


class _Bearing(Protocol[_D]):
    """Frame with data of this type."""

    @property
    def data(self) -> _D: ...


def _by(kind: type[_Bearing[_D]], says: Callable[[Registry, Socket, Task, _D], None]) -> tuple[type[object], _Handler]:
    """Pair a type of frame with its handler: mypy sees that the handler takes the data of that type."""
    return kind, cast(_Handler, says)


HANDLERS: dict[type[object], _Handler] = dict(
    (
        _by(seen.ExecutionStart, _start),
        _by(seen.ExecutionCached, _cached),
        _by(seen.Executing, _executing),
        _by(seen.Executed, _executed),
        _by(seen.Progress, _progress),
        _by(seen.ProgressState, _progress_state),
        _by(seen.ExecutionSuccess, _success),
        _by(seen.ExecutionError, _error),
        _by(seen.ExecutionInterrupted, _interrupted),
    )
)
"""Handlers by type of frame; each is given the registry, the socket, the task and the frame's data."""
