"""Writer process for the campaigns: prints each position that is acknowledged, and each that is refused."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from comfy_fsm.errors import LogError, LogWriteFailed
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read


def lines(name: str, n: int) -> list[bytes]:
    """One append: mostly a line, now and then many, and one that is longer than a page."""
    count = 40 if n % 7 == 3 else 1
    return [(b'{"at":%d,"kind":"tick","data":{"of":"%s","part":%d}}' % (n, name.encode(), part)).ljust(
        9000 if n % 11 == 5 and not part else 0
    ) for part in range(count)]  # fmt: skip


async def write(path: Path, appends: int, tell: int, *, callers: str = "a") -> None:
    """Append, and write to the descriptor `tell` what became of each append, once that is known."""

    async def talk(log: Log, name: str) -> None:
        for n in range(appends):
            these = lines(name, n)
            try:
                position = await log.append(*these)
                os.write(tell, b"kept %s %d %d\n" % (name.encode(), n, position))
            except LogWriteFailed:
                os.write(tell, b"refused %s %d 0\n" % (name.encode(), n))

    async with await Log.open(path) as log:
        await asyncio.gather(*(talk(log, name) for name in callers))


def judged(path: Path, told: str) -> list[str]:
    """What is wrong with a log, given all that was told of its writing; nothing, where all is well."""
    wrong: list[str] = []
    kept = [line.split() for line in told.splitlines(keepends=True) if line.startswith("kept") and line.endswith("\n")]
    refused = [line.split() for line in told.splitlines(keepends=True) if line.startswith("refused")]
    try:
        records = {record.position: record for record in read(path)} if kept or path.exists() else {}
    except (LogError, OSError) as error:
        return [f"cannot be read: {error}"] if kept else []
    for _, name, n, position in kept:
        these = lines(name, int(n))
        first = int(position) - len(these) + 1
        found = [records.get(at, LogRow(at, None, "gone")) for at in range(first, int(position) + 1)]
        if [record.line for record in found] != these or any(record.damage for record in found):
            wrong.append(f"acknowledged, and not there: {name} {n} at {position}")
    there = {record.line for record in records.values()}
    wrong += [f"refused, and there: {name} {n}" for _, name, n, _ in refused if there & set(lines(name, int(n)))]
    wrong += [f"position {at}: {record.damage}" for at, record in records.items() if record.damage]
    return wrong


if __name__ == "__main__":
    try:
        asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2]), 1))
    except LogError as error:
        os.write(1, f"# {error}\n".encode())
