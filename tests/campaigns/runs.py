"""Kill `run` at a random instant, then let `resume` end: each file that the server made is in the folder, once.

python -m tests.campaigns.runs [--count 200] [--seed 1] [--processes 4]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice, repeat
from pathlib import Path
from urllib.request import urlopen

from comfy_fsm.__main__ import main as command
from comfy_fsm.testing.workflows import picture

FILES = 4
PATIENCE = 8
"""Calls of `resume` after which all must be there."""


@contextmanager
def server() -> Iterator[str]:
    """A fake server in a process of its own."""
    words = [sys.executable, "-m", "comfy_fsm.testing", "--port", "0", "--step-seconds", "0.01"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as fake:
        assert fake.stdout is not None
        found = re.search(r"http://[\w.:]+", fake.stdout.readline())
        assert found is not None
        try:
            yield found[0]
        finally:
            fake.kill()


def start(words: list[str]) -> tuple[int, int]:
    """A command in a process of its own, loaded already: its id, and what it tells on standard output."""
    hear, tell = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(hear)
            sys.stdout, sys.stderr = os.fdopen(tell, "w"), os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
            sys.argv = ["comfy_fsm", *words]
            status = command(words)
        finally:
            os._exit(status)
    os.close(tell)
    return child, hear


def killed(words: list[str], lines: int, after: float) -> None:
    """A command that is killed so many seconds after it told so many lines."""
    child, hear = start(words)
    with os.fdopen(hear, "rb") as told:
        list(islice(told, lines))
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def ended(words: list[str]) -> int:
    """The status of a command that is let alone."""
    child, hear = start(words)
    with os.fdopen(hear, "rb") as told:
        told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attack(url: str, colors: list[int], dice: random.Random) -> tuple[int, list[str]]:
    """How many files there should be after one life was cut off, or several, and what is wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        names = []
        for color in colors:
            names.append(str(Path(scratch, f"{color}.json")))
            Path(names[-1]).write_text(json.dumps(picture(color)))
        (folder := Path(scratch, "out")).mkdir()
        shared = ["--server", url, "--log", str(Path(scratch, "a.log")), "--output", str(folder)]
        killed(["run", *shared, *names], *_instant(dice))
        while dice.random() < 0.3:
            killed(["resume", *shared], *_instant(dice))
        for _ in range(PATIENCE):
            if not Path(scratch, "a.log").exists() or ended(["resume", *shared]) == 0:
                break
        else:
            return 0, [f"resume did not end with 0, {PATIENCE} times"]
        wanted, found = _made(url, colors), Counter(map(_digest, folder.rglob("*")))
        wrong = [f"{count} copies of one file" for count in found.values() if count > 1]
        wrong += ["a file is missing" for each in wanted if each not in found]
        wrong += ["a file is there that nobody made" for each in found if each not in wanted]
        return len(wanted), wrong


def _instant(dice: random.Random) -> tuple[int, float]:
    """At first while it loads, opens and submits; then around the saving of one file or another."""
    if dice.random() < 0.3:
        return 0, dice.uniform(0.0, 0.2)
    return dice.randint(1, FILES), dice.uniform(0.0, 0.01)


def _digest(path: Path) -> bytes:
    return blake2b(path.read_bytes()).digest()


def _made(url: str, colors: list[int]) -> set[bytes]:
    """The files that the server made of these workflows."""
    with urlopen(f"{url}/history") as answer:
        records = json.load(answer).values()
    made = set()
    for record in records:
        if record["prompt"][2]["1"]["inputs"]["color"] in colors:
            for output in record["outputs"].values():
                for image in output.get("images", ()):
                    with urlopen(f"{url}/view?filename={image['filename']}&subfolder={image['subfolder']}") as answer:
                        made.add(blake2b(answer.read()).digest())
    return made


def campaign(count: int, seed: int, *, processes: int = 1) -> tuple[int, list[str]]:
    """How many files there should be, and what is wrong. Most of an attack waits for a server that may still take up
    what it was sent: several wait beside each other."""
    files, wrong = 0, []
    colors = [list(range(n * FILES, (n + 1) * FILES)) for n in range(count)]
    dice = [random.Random(f"{seed}/{n}") for n in range(count)]
    with server() as url, ProcessPoolExecutor(processes) as pool:
        for n, (made, errors) in enumerate(pool.map(attack, repeat(url), colors, dice)):
            files += made
            wrong += [f"seed {seed}, {n}: {each}" for each in errors]
    return files, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=4)
    chosen = parser.parse_args()
    files, wrong = campaign(chosen.count, chosen.seed, processes=chosen.processes)
    print(f"runs: {chosen.count} killed, {files} files, {len(wrong)} wrong", *wrong[:10], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
