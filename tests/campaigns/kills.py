"""Kill a writer at a random instant, again and again on one log: what it told to be acknowledged must be there.

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
from pathlib import Path

from tests.campaigns.writing import judged, write


def killed(path: Path, after: float) -> str:
    """What a writer told before it was killed."""
    hear, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(hear)
            asyncio.run(write(path, 10**6, tell, callers="abc"))
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(hear, "rb") as told:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        said = told.read().decode()
    os.waitpid(child, 0)
    return said


def campaign(count: int, seed: int) -> tuple[int, list[str]]:
    """How many appends were acknowledged, and what is wrong."""
    dice, wrong, acknowledged = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        for n in range(count):
            path = Path(scratch, f"{n // 5}.log")  # five lives each
            told = killed(path, dice.uniform(0.0, 0.3))
            acknowledged += told.count("kept")
            wrong += [f"seed {seed}, {n}: {each}" for each in judged(path, told)]
            if n % 5 == 4:
                for left in Path(scratch).iterdir():
                    left.unlink()
    return acknowledged, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    acknowledged, wrong = campaign(chosen.count, chosen.seed)
    print(f"kills: {chosen.count}, {acknowledged} appends acknowledged, {len(wrong)} wrong", *wrong[:10], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
