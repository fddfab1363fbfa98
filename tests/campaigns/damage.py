"""Campaign that flips a bit or cuts one of the files that a killed writer leaves: what is lost must be reported.

python -m tests.campaigns.damage [--count 20000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import tempfile
from itertools import islice
from pathlib import Path

from comfy_fsm.errors import LogError
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read
from tests.campaigns.writing import write


def killed(folder: Path, appends: int) -> dict[str, bytes]:
    """The files of a log whose writer was killed."""
    path = folder / "a.log"
    if (child := os.fork()) == 0:

        async def die() -> None:
            await write(path, appends, os.open(os.devnull, os.O_WRONLY))
            log = await Log.open(path)
            await log.append(b"the last but one")
            await log.append(b"the last")
            os._exit(0)

        try:
            asyncio.run(die())
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}


def hurt(content: bytes, dice: random.Random) -> bytes:
    if dice.random() < 0.3:
        return content[: dice.randrange(len(content))]
    flipped = bytearray(content)
    flipped[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def found(path: Path, most: int) -> list[LogRow] | str:
    try:
        return list(islice(read(path), 2 * most + 1000))
    except (LogError, OSError) as error:
        return str(error)


def campaign(count: int, seed: int) -> tuple[int, list[str]]:
    """How many were told, and what was not."""
    dice, silent, told = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        (origin := Path(scratch, "origin")).mkdir()
        files = killed(origin, 24)
        (place := Path(scratch, "hurt")).mkdir()
        whole = found(origin / "a.log", 0)
        assert isinstance(whole, list)
        lines = {record.position: record.line for record in whole}
        for n in range(count):
            for left in place.iterdir():
                left.unlink()
            name = dice.choice(sorted(files))
            for each, content in files.items():
                (place / each).write_bytes(hurt(content, dice) if each == name else content)
            got = found(place / "a.log", len(lines))
            if isinstance(got, str) or any(record.damage for record in got):
                told += 1
            elif {record.position: record.line for record in got} != lines:
                silent.append(f"seed {seed}, {n}: {name}: {len(got)} of {len(lines)} rows, and nothing told")
            if not isinstance(got, str):
                silent += [
                    f"seed {seed}, {n}: {name}: position {record.position} is not what was written"
                    for record in got
                    if record.damage is None and record.line != lines.get(record.position)
                ]
        shutil.rmtree(place)
    return told, silent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    told, silent = campaign(chosen.count, chosen.seed)
    print(f"damage: {chosen.count} files hurt, {told} told, {chosen.count - told - len(silent)} did no harm, "
          f"{len(silent)} silent", *silent[:10], sep="\n")  # fmt: skip
    return bool(silent)


if __name__ == "__main__":
    raise SystemExit(main())
