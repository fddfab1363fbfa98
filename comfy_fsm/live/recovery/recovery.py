"""Recovery of tasks on request: asks their own server first, and the others only if that one denies them.

    call ─► recover ─► the bound server, in rounds (P29) ─► denied: seek ─► the others ─► one has it: adopt ─► ask there

Each step is a command in the log, each request and answer an observation; the fold decides what they mean. Nothing is
ever posted, and settled tasks are left alone. Silence proves nothing (P33): it ends the search.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from itertools import groupby

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.absence import LONE
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import FINAL, State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.recovery.probes import ProbeResult
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, Recovered, Recovery, needs_recovery
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import UnknownTask
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.recovery.prober import Prober

__all__ = ["Recoverer"]

_PATIENCE = 3  # ticks after a proof of absence until it counts: it waits for what a socket may still hold


class Recoverer:
    """Recovery on a board that `ingest` folds into; if that writes to no log, the result is what would be done."""

    def __init__(
        self, board: Board, ingest: Ingest, prober: Prober, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._board = board
        self._ingest = ingest
        self._prober = prober
        self._policy = policy
        self._clock = clock
        self.abandoned = False
        """No process follows what the log left open: all of it is stuck."""

    def find(self, prompt_id: str) -> list[Task]:
        """Return the tasks of the one id that starts with this; several if it was posted twice. Raises UnknownTask."""
        found = [task for task in self._board.tasks if (task.prompt_id or "").startswith(prompt_id or "\0")]
        exact = [task for task in found if task.prompt_id == prompt_id]
        ids = {task.prompt_id for task in exact or found}
        if len(ids) > 1:
            raise UnknownTask(
                f"{len(ids)} prompt ids begin with {prompt_id!r:.80}; write more of the one that is meant"
            )
        if not ids:
            raise UnknownTask(
                f"no task's prompt id begins with {prompt_id!r:.80}; this log knows {len(self._board.tasks)} tasks"
            )
        return exact or found

    async def recover(self, prompt_id: str | None = None, *, act: bool, takes_over: bool = False) -> Recovery:
        """Recover this task, or all that need it; `takes_over`: no other process follows the open tasks in the log."""
        now, patience = self._clock(), self._policy.check_seconds
        if prompt_id is not None:
            tasks = self.find(prompt_id)
        else:
            wait = -math.inf if self.abandoned else patience
            tasks = [task for task in self._board.tasks if needs_recovery(task, self._silence(task, now), wait)]
        cases = [_Case(task) for task in tasks]
        wanted = [case for case in cases if not case.name]
        if wanted:
            await self._prober.call()
        silent = self._prober.silent
        asked = [case for case in wanted if case.bound in self._prober.exchanges and case.bound not in silent]
        if asked and takes_over:
            await self._take_over()
        homes = groupby(sorted(asked, key=lambda case: case.bound), key=lambda case: case.bound)
        await asyncio.gather(*(self._recover_at(url, list(found)) for url, found in homes))
        for case in wanted:
            if case not in asked:
                case.name = "unreachable" if case.bound in silent else "unnamed"
                case.showings |= {url: said for url, said in silent.items() if url == case.bound}
        named = tuple(self._prober.exchanges) if wanted else ()
        return Recovery(act, tuple(case.result() for case in cases), tuple(silent.values()), named)

    async def consistency(self, prompt_id: str) -> Consistency:
        return await self._prober.consistency(self.find(prompt_id)[-1])

    async def history(self, prompt_id: str, *, attempts: int) -> Fetched:
        """Fetch the record of a prompt, even one that the log does not know."""
        try:
            task = self.find(prompt_id)[-1]
        except UnknownTask:
            if any((task.prompt_id or "").startswith(prompt_id) for task in self._board.tasks):
                raise  # of several
            return await self._prober.history(prompt_id, None, attempts)
        return await self._prober.history(task.prompt_id or "", task, attempts)

    async def _take_over(self) -> None:
        """Take over like a resuming process: nobody watched meanwhile, and no socket of that time is open."""
        left = [task.window for task in self._board.tasks if not (task.settled and task.delivered)]
        for window in dict.fromkeys(window for window in left if window is not None):
            at, data = self._clock(), seen.CommandData("resume")
            await self._ingest.write(seen.Command(at=at, window=window, data=data))

    async def _recover_at(self, url: str, cases: list[_Case]) -> None:
        """Ask this server about the tasks bound to it, and the other servers about those that it denies."""
        await self._command("recover", cases)
        left = cases
        rounds, waited, pause = 0, 0.0, 0.0
        span = self._policy.absence_seconds * LONE  # as long as an absence must last that nothing else agrees with
        while left and (rounds < self._policy.absences or (waited < span and not self._are_absent(left))):
            await asyncio.sleep(pause)
            await self._look(url, left)
            left = [case for case in left if case.is_denied and case.task.state not in FINAL]
            rounds, waited = rounds + 1, waited + pause
            pause = self._policy.pause(rounds + 3)
        denied = [case for case in left if self._board.denied(case.task)]
        if denied:
            await self._search([other for other in self._prober.exchanges if other != url], denied)
        await self._conclude([case.task for case in cases if case.is_denied])
        for case in cases:
            case.name = case.name or _outcome(case)

    def _are_absent(self, cases: list[_Case]) -> bool:
        return all(self._board.proved_absent(case.task) for case in cases)

    def _silence(self, task: Task, now: float) -> float:
        return now - self._board.server(task.server).quiet_since(task)

    async def _search(self, others: list[str], cases: list[_Case]) -> None:
        """Find the one other server that has a task which its own server denies."""
        for case in cases:
            if any(self._board.task(case.task.prompt_id or "", other) is not None for other in others):
                case.name = "taken"
        cases = [case for case in cases if not case.name]
        await asyncio.gather(*(self._seek(other, cases) for other in others))
        for case in cases:
            case.showings = {url: case.showings[url] for url in (case.bound, *others)}  # as named, not as answered
            await self._choose(case, [case.showings[other] for other in others])
        moved = sorted((case for case in cases if case.name == "moved"), key=lambda case: case.task.server)
        for url, found in groupby(moved, key=lambda case: case.task.server):
            await self._look(url, there := list(found))
            for case in there:
                case.name = "adopted" if case.task.state in FINAL else "moved"

    async def _seek(self, url: str, cases: list[_Case]) -> None:
        """Ask a server to which the tasks are not bound, after logging that it is asked."""
        if url not in self._prober.silent:
            await self._command("seek", cases, url)
        await self._look(url, cases)

    async def _choose(self, case: _Case, showings: list[ProbeResult]) -> None:
        have = [showing for showing in showings if showing.held]
        if len(have) > 1:
            case.name = "twofold"
        elif have and have[0].missing:
            case.name = "doubtful"
        elif have:
            await self._command("adopt", [case], have[0].server)
            case.name = "moved" if case.task.server == have[0].server else "unclear"
        elif any(showing.says_nothing for showing in showings):
            case.name = "denied"

    async def _conclude(self, tasks: list[Task]) -> None:
        """Wait for what a socket may still deliver, then log a tick, so that absence can be concluded."""
        for _ in range(_PATIENCE):
            if all(task.settled or not task.inquiry.rounds for task in tasks):
                return
            await asyncio.sleep(self._policy.settle_seconds)
            await self._ingest.write(seen.Tick(at=self._clock()))

    async def _look(self, url: str, cases: list[_Case]) -> None:
        found = await self._prober.probe(url, [case.task for case in cases])
        for case, showing in zip(cases, found, strict=True):
            case.showings[url] = showing

    async def _command(self, name: seen.CommandName, cases: Iterable[_Case], to: str | None = None) -> None:
        """Log one command for each task, in one commit."""
        at = self._clock()
        commands = [
            seen.Command(at=at, server=case.bound, data=seen.CommandData(name, case.task.prompt_id, to))
            for case in cases
        ]
        await asyncio.gather(*map(self._ingest.write, commands))


class _Case:
    """Task on its way to a decision, and what was shown about it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.bound = task.server
        self.before = task.state
        self.showings: dict[str, ProbeResult] = {}
        self.name = "final" if task.state in FINAL else ""

    @property
    def is_denied(self) -> bool:
        return self.showings[self.bound].has == "denied"

    def result(self) -> Recovered:
        task, showings = self.task, tuple(self.showings.values())
        prompt_id = task.prompt_id or ""
        return Recovered(
            prompt_id,
            task.window,
            self.bound,
            task.server,
            self.before,
            task.state,
            self.name,
            showings,
            task.outputs,
            task.texts,
        )


def _outcome(case: _Case) -> str:
    """Return which case it is, by what its own server showed."""
    task, showing = case.task, case.showings[case.bound]
    if task.state in FINAL:
        return "settled" if showing.held else "unverified"
    if showing.held:
        return "unclear" if showing.has == "recorded" else "open"
    if showing.says_nothing:
        return "unreachable"
    return "lost" if task.state is State.LOST else "unclear"
