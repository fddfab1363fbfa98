"""Board: folds entries, and gives out effects and findings.

The same code runs live and in replay: append, then fold, then perform. Time is a field of the entry; the board says in
`due` when it next wants a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import AnyEffect, Output
from comfy_fsm.core.findings import CODES, Code, Finding
from comfy_fsm.core.fold.absence import is_proved, judge_absence, judge_all
from comfy_fsm.core.fold.adoption import is_denied
from comfy_fsm.core.fold.commands import fold_command
from comfy_fsm.core.fold.deafness import check_missed_frames
from comfy_fsm.core.fold.frames.attribution import fold_binary, fold_message, report_unknown_prompt
from comfy_fsm.core.fold.responses import fold_no_answer, fold_request, fold_response
from comfy_fsm.core.fold.resubmission import is_still_absent, never_ran, witness_for
from comfy_fsm.core.fold.settlement import take_outputs
from comfy_fsm.core.fold.silence import expire_overdue, remind
from comfy_fsm.core.fold.sockets import fold_closed, fold_opened
from comfy_fsm.core.observations import AnyObservation, Entry
from comfy_fsm.core.policy import DEFAULT, Policy, from_header
from comfy_fsm.core.registry.registry import MAX_WHAT, Registry, Server, Subject
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.backlog import Backlog
from comfy_fsm.core.wire import codec

__all__ = ["Board"]


class Board:
    """Board of all tasks, windows and servers, folded from entries."""

    def __init__(self, policy: Policy = DEFAULT, *, fixed: bool = False) -> None:
        """Start empty; `fixed`: the policy stands, whatever a header states of the one by which the log was written."""
        self._registry = Registry(policy)
        self._registry.fixed_policy = fixed

    def fold(self, entry: Entry) -> None:
        """Fold one entry; an entry at or before the last position was folded already, and changes nothing."""
        self.fold_observation(entry.position, entry.observation)

    def fold_observation(self, position: int, o: AnyObservation) -> None:
        """Fold an observation without the entry around it, for those who fold a million."""
        registry = self._registry
        if position <= registry.position:
            if type(o) is seen.Damaged:  # damage at a place whose entry was read all the same
                with registry.as_of(position, o.at):
                    _damaged(registry, o)
            return
        registry.position = position
        if o.mono is not None:
            o = registry.clock.steady(o, o.mono)
        registry.now = at = o.at
        if at >= registry.due:
            remind(registry)
        if o.redacted:
            _redacted(registry, o)
        _FOLDS[type(o)](registry, o)

    def finish(self) -> None:
        """End the trace: what waited for a later entry is judged by what is there."""
        registry = self._registry
        for server in registry.each_server():
            for task in list(server.open_tasks.values()):
                judge_absence(registry, task, closing=True)
            for socket in server.sockets.values():
                check_missed_frames(registry, socket, closing=True)
            for prompt_id, frames in server.waiting.items():
                report_unknown_prompt(registry, server.url, prompt_id, frames)
            for task in server.open_tasks.values():
                if task.remains.announced or task.run.statusless_outputs is not None:
                    take_outputs(registry, task, task.run.statusless_outputs)
                text = f"still {task.state} where the trace ends"
                registry.report(Code.UNRESOLVED, text, task)

    def forget(self, keep: int, *, delivered: bool = False) -> list[Task]:
        """Drop the final tasks except the last `keep`, and their findings; late reports on them change nothing.

        For whoever runs for long; `delivered`: only tasks whose result was delivered. `lost` and `expired` tasks stay,
        since they can be reopened. The metrics then describe what is left, and a POST of a dropped id is a new task.
        """
        return self._registry.drop_settled(keep, delivered=delivered)

    def drain(self) -> list[AnyEffect]:
        """Return the effects wanted since the last call, earliest first; each is handed over once."""
        registry = self._registry
        effects = sorted(registry.effects.values(), key=lambda effect: effect.due)
        registry.effects.clear()
        for effect in effects:
            registry.hand_over(effect)
        return effects

    def discard(self) -> None:
        """Drop the wanted effects, where nobody performs them."""
        self._registry.effects.clear()

    @property
    def due(self) -> float:
        """Time of the next tick that the board wants, in seconds since the epoch; infinite while it waits for
        nothing."""
        registry = self._registry
        if registry.overdue:
            return registry.now
        loose = [socket.loose_due[0][0] for socket in registry.loose.values() if socket.loose_due]
        absent = [server.absent_due for server in registry.absent.values() if server.absent]
        return min(registry.due, *loose, *absent, float("inf"))

    def task(self, prompt_id: str, server: str) -> Task | None:
        """Return the task with this id at this server, or the one for which a client chose it in vain (P10)."""
        known = self._registry.peek(server)
        return known.tasks.get(prompt_id) or known.chosen.get(prompt_id)

    def takes_ids(self, server: str) -> bool:
        """Return whether this server showed that it honours a prompt id that the client chose (since 0.3.45, P10)."""
        return self._registry.peek(server).honours_ids is True

    def server(self, server: str | None) -> Server:
        """Return what is known of this server, however its address is spelled; read only."""
        return self._registry.peek(server)

    @property
    def servers(self) -> list[Server]:
        """Return all servers, in the order in which they were first seen."""
        return self._registry.each_server()

    @property
    def imaged(self) -> tuple[Task, Output] | None:
        """Task and output of the last binary frame, if a task keeps its image; None if it was a preview."""
        return self._registry.imaged

    @property
    def position(self) -> int:
        """Position of the last entry."""
        return self._registry.position

    @property
    def backlog(self) -> Backlog:
        """Jobs that wait to be posted; read only."""
        return self._registry.backlog

    def listed(self, server: str) -> frozenset[str] | None:
        """Return the ids that the queue of this server listed last, whoever posted them; None before its first
        listing."""
        queues = self._registry.peek(server).queues
        return queues[-1].ids if queues else None

    def open_at(self, server: str) -> list[Task]:
        return list(self._registry.peek(server).open_tasks.values())

    def may_move(self, task: Task) -> str | None:
        """Return why it is certain that its job did not run and will not; None if it is not certain."""
        return never_ran(self._registry, task)

    def still_absent(self, task: Task, since: float) -> bool:
        """Return whether everything that its server reported since then denies it; asked before it is posted again."""
        return is_still_absent(self._registry, task, since)

    def denied(self, task: Task) -> bool:
        """Return whether its own server denies it, by the proof that also makes a task lost: another may have it."""
        return is_denied(self._registry, task)

    def proved_absent(self, task: Task) -> bool:
        """Return whether it is settled, or its absence proved: its server need not be asked about it once more."""
        return is_proved(self._registry, task)

    def witness_for(self, task: Task) -> Task | None:
        """Return a task whose record would show that the server of this one forgot nothing since."""
        return witness_for(self._registry, task)

    @property
    def tasks(self) -> list[Task]:
        """Return all tasks, in the order in which they were first seen."""
        return list(self._registry.tasks.values())

    @property
    def size(self) -> int:
        """Number of tasks, windows and servers, with which its memory grows."""
        registry = self._registry
        return len(registry.tasks) + len(registry.windows) + len(registry.servers)

    @property
    def findings(self) -> list[Finding]:
        return list(self._registry.findings.values())

    def findings_of(self, task: Task) -> list[Finding]:
        """Return the findings about this task, in the order of the table of codes; by one look-up for each code."""
        registry = self._registry
        keys = [(code, task.window, task.server, task.prompt_id) for code in CODES]
        every = [each for key in keys for each in (key, *((*key, name) for name in registry.named.get(key, ())))]
        return [found for key in every if (found := registry.found.get(key)) is not None]

    @property
    def unkept_findings(self) -> int:
        return self._registry.unkept_findings

    @property
    def registry(self) -> Registry:
        """Return everything that was noted, for the modules that explain it; read only."""
        return self._registry

    @property
    def policy(self) -> Policy:
        """Policy in force: as given, or as the last header stated."""
        return self._registry.policy

    @property
    def now(self) -> float:
        """Time of the last entry, in seconds since the epoch."""
        return self._registry.now

    @property
    def frames(self) -> tuple[int, int]:
        """Number of frames that named a prompt, and of those whose prompt was known."""
        heard = sum(task.frames for task in self._registry.tasks.values())
        overheard = sum(finding.count for finding in self.findings if finding.code == Code.FOREIGN_MESSAGE)
        return heard + overheard + self._registry.strangers, heard + overheard

    @property
    def windows(self) -> list[str]:
        return [name for name, window in self._registry.windows.items() if name is not None and window.seen]

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys(server.url for server in self._registry.servers.values() if server.url))


def _undecodable(registry: Registry, o: seen.Undecodable) -> None:
    registry.report(Code.UNDECODABLE, o.data.error, Subject(o.window, o.server))


def _damaged(registry: Registry, o: seen.Damaged) -> None:
    """Report damage; what follows is folded all the same."""
    registry.report(Code(o.data.code), o.data.why, Subject())


def _redacted(registry: Registry, o: AnyObservation) -> None:
    text = f"in a line of kind {type(o).__struct_config__.tag}"
    registry.report(Code.REDACTED, text, Subject(o.window, o.server))


def _unrecognized(registry: Registry, o: seen.Unrecognized) -> None:
    text = f"line of kind {o.name!r:.{MAX_WHAT}}" + (f": {o.why}" if o.why else "")
    registry.report(Code.UNRECOGNIZED, text, Subject(o.window, o.server), name=f"line {o.name}")


# time and deliveries


def _ticked(registry: Registry, o: seen.Tick) -> None:
    """Fold a tick: give up silent tasks, and judge what nothing on its way can change any more."""
    expire_overdue(registry)
    for server in list(registry.absent.values()):
        if server.absent:
            judge_all(registry, server, ticked=True)
        else:
            del registry.absent[server.url]
    for socket in list(registry.loose.values()):
        check_missed_frames(registry, socket, closing=False)


def _delivered(registry: Registry, o: seen.Delivered) -> None:
    for task in registry.tasks_of(o.data.prompt_id, o.server):
        if task.delivered:
            registry.report(Code.DOUBLE_DELIVERY, "its result was delivered again", task)
        task.deliver()
        registry.relieve(task)


def _headed(registry: Registry, o: seen.Header) -> None:
    """Fold a header: it states how the trace was made, and by which policy; nothing about any task."""
    told = None if registry.fixed_policy else codec.body(o.data.policy, dict[str, object])
    if told:
        registry.policy, registry.policy_is_stated = from_header(registry.policy, told), True


_O = TypeVar("_O", bound=seen.Observation)
_Fold = Callable[[Registry, object], None]


def _by(kind: type[_O], fold: Callable[[Registry, _O], None]) -> tuple[type[seen.Observation], _Fold]:
    """Pair a kind with its fold: mypy sees that they fit, which a table of all kinds cannot say."""
    return kind, cast(_Fold, fold)


_FOLDS: dict[type[seen.Observation], _Fold] = dict(
    (
        _by(seen.Header, _headed),
        _by(seen.Opened, fold_opened),
        _by(seen.Closed, fold_closed),
        _by(seen.Message, fold_message),
        _by(seen.Binary, fold_binary),
        _by(seen.Undecodable, _undecodable),
        _by(seen.Request, fold_request),
        _by(seen.Response, fold_response),
        _by(seen.NoAnswer, fold_no_answer),
        _by(seen.Tick, _ticked),
        _by(seen.Command, fold_command),
        _by(seen.Delivered, _delivered),
        _by(seen.Unrecognized, _unrecognized),
        _by(seen.Damaged, _damaged),
    )
)
