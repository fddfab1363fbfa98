"""Campaign that kills a writer at random instants, again and again on one log: what was acknowledged must be there.

python -m tests.campaigns.kills [--count 2000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from tests.campaigns.writing import judged, write

LIVES = 5
"""Writers that are killed on one log, one after the other."""


def killed(path: Path, appends: int, after: float) -> str:
    """What a writer told that was killed so many seconds after it had told so many lines."""
    hear, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(hear)
            asyncio.run(write(path, 10**6, tell, callers="abc"))
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(hear, "rb") as told:
        said = b"".join(islice(told, appends))
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        said += told.read()
    os.waitpid(child, 0)
    return said.decode()


def lives(seed: str) -> tuple[int, list[str]]:
    """Of one log: how many appends were acknowledged, and what is wrong."""
    dice, wrong, acknowledged = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "a.log")
        for life in range(LIVES):
            if dice.random() < 0.3:  # while it opens the log, or soon after
                told = killed(path, 0, dice.uniform(0.0, 0.06))
            else:
                told = killed(path, dice.randint(1, 30), dice.uniform(0.0, 0.01))
            acknowledged += told.count("kept")
            wrong += [f"seed {seed}, life {life}: {each}" for each in judged(path, told)]
    return acknowledged, wrong


def campaign(count: int, seed: int, *, processes: int = 1) -> tuple[int, list[str]]:
    """How many appends were acknowledged, and what is wrong."""
    acknowledged, wrong = 0, []
    with ProcessPoolExecutor(processes) as pool:
        for some, errors in pool.map(lives, [f"{seed}/{log}" for log in range(count // LIVES)]):
            acknowledged += some
            wrong += errors
    return acknowledged, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    acknowledged, wrong = campaign(chosen.count, chosen.seed, processes=chosen.processes)
    print(f"kills: {chosen.count}, {acknowledged} appends acknowledged, {len(wrong)} wrong", *wrong[:10], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
