"""Campaign with four servers, six windows, and everything that can go wrong; seeded, so that each run can be
repeated.

python -m tests.campaigns.chaos --tasks 10000 --seed 7
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfy_fsm import State, Task
from comfy_fsm.testing import FakeComfy, Faults
from comfy_fsm.testing.execution.shared_state import Item
from replay import Replay, replay
from tests.support.worker import POLICY

SERVERS = 4
LIE = POLICY.absence_seconds / 4
TASKS_A_KILL = 125  # the client process is killed with -9 once for so many tasks: a longer day is not a calmer one


class Server(FakeComfy):
    """One that remembers which workflow each prompt was, over all its lives."""

    def __init__(self) -> None:
        super().__init__()
        self.workflows: dict[str, int] = {}

    async def start(self) -> None:
        await super().start()
        put = self.execution.put

        def noted(item: Item) -> None:
            self.workflows[item.prompt_id] = item.graph["1"]["inputs"]["color"]
            put(item)

        self.execution.put = noted


@dataclass
class Day:
    """How it went."""

    replayed: Replay
    servers: list[Server]
    kills: int
    restarts: int
    healed_at: float


async def live_through(tasks: int, seed: int, log: Path, *, steps: bool = False) -> Day:
    """One bad day: faults until every kill is spent, then healing, then the client must come to its end by itself."""
    dice, servers = random.Random(seed), [Server() for _ in range(SERVERS)]
    for server in servers:
        await server.__aenter__()
    kills, restarts, worker = tasks // TASKS_A_KILL, 0, None
    try:
        worker = await _start(log, tasks, servers, steps)
        for _ in range(kills):
            for _ in range(dice.randint(3, 8)):
                await asyncio.sleep(dice.uniform(0.02, 0.25))
                restarts += await _harm(dice, dice.choice(servers))
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
            worker = await _start(log, tasks, servers, steps)
        for server in servers:
            server.faults.turn(msgspec.to_builtins(Faults()))
        assert worker.stdout is not None
        assert await worker.stdout.readline(), f"seed {seed}: the client never took up its log"
        healed_at = time.time()
        async with asyncio.timeout(120 + tasks / 10):
            status = await worker.wait()
        assert status == 0, f"seed {seed}: the client ended with {status}"
        return Day(replay(log), servers, kills, restarts, healed_at)
    finally:
        if worker is not None and worker.returncode is None:
            worker.kill()
            await worker.wait()
        for server in servers:
            await server.__aexit__(None, None, None)


async def _start(log: Path, tasks: int, servers: list[Server], steps: bool) -> asyncio.subprocess.Process:
    urls = [server.url for server in servers]
    command = (sys.executable, "-m", "tests.support.worker", log, str(tasks), str(int(steps)), *urls)
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def _harm(dice: random.Random, server: FakeComfy) -> int:
    """One thing goes wrong at one server; 1 where it forgot everything."""
    match dice.randrange(11):
        case 0 | 1:
            server.cut()
        case 2:
            server.faults.swallow_post += 2
        case 3:
            server.faults.drop_post += 1
        case 4:
            server.faults.empty_history += 3
        case 5:
            server.faults.deaf += 1
        case 6:
            await server.restart(keep=False)
            return 1
        case 7:  # later than its client waits
            server.faults.delay = {"POST /prompt": dice.uniform(0.0, POLICY.deadline_seconds + 0.5)}
        case 8:
            server.faults.delay = {}
        case 9 | 10:  # a lie that is shorter than a client takes to believe it
            server.faults.hide_pending = True
            asyncio.get_running_loop().call_later(LIE, setattr, server.faults, "hide_pending", False)
    return 0


def judge(day: Day, tasks: int, *, steps: bool = False) -> None:
    """What must hold after any day; where the clock was set, no time in the log says how long anything took."""
    replayed = day.replayed
    undecided = [task.prompt_id for task in replayed.tasks if not task.settled]
    assert not undecided
    late = {
        task.prompt_id: task.settled_at for task in replayed.tasks if (task.settled_at or 0.0) > _at_most(task, day)
    }
    assert steps or not late, "settled later than two reconcile intervals and a proof after healing"
    assert not [task.prompt_id for task in replayed.tasks if task.state in (State.EXPIRED, State.CANCELLED)]
    assert len(replayed.tasks) >= tasks
    assert not [finding for finding in replayed.findings if finding.code in ("double-delivery", "resubmitted")]
    assert all(count == 1 for server in day.servers for count in server.posts.values())
    ran = Counter(server.workflows[prompt_id] for server in day.servers for prompt_id in server.runs.elements())
    assert not [workflow for workflow, count in ran.items() if count > 1], "a workflow ran twice"
    known = {prompt_id for server in day.servers for prompt_id in server.state.history if _owned_up(server, prompt_id)}
    lost = {task.prompt_id for task in replayed.tasks if task.state is State.LOST}
    assert not lost & known, "lost, and the server still knows them"


def _owned_up(server: FakeComfy, prompt_id: str) -> bool:
    """Nobody can tell a server that denies its record in every round of the proof from one that forgot it."""
    return server.state.denied[prompt_id] < POLICY.absences


def _at_most(task: Task, day: Day) -> float:
    """Two reconcile intervals after healing, or after it was submitted where that was later, and what a proof takes."""
    proof = POLICY.deadline_seconds + POLICY.post_seconds + 5 * POLICY.absence_seconds
    return max(day.healed_at, task.submitted_at or 0.0) + 2 * POLICY.check_seconds + proof


def main() -> None:
    parser = argparse.ArgumentParser(description="A bad day, and what is left of it.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", action="store_true", help="somebody keeps setting the clock")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        day = asyncio.run(live_through(given.tasks, given.seed, Path(folder) / "chaos.log", steps=given.steps))
        judge(day, given.tasks, steps=given.steps)
    states: dict[str, int] = {}
    for task in day.replayed.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    print(f"seed {given.seed}: {len(day.replayed.tasks)} tasks, {day.kills} kills, {day.restarts} restarts: {states}")


if __name__ == "__main__":
    main()
