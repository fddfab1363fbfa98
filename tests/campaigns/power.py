"""Campaign that cuts the power at a random write of a real writer, from the creation of its log on.

python -m tests.campaigns.power [--count 5000] [--seed 1]

strace tells every write, sync, cut and renaming of the writer. An image is what a disk may hold after a cut: all that
was synced, and of each later write any part, by sectors of 512 bytes; a name that was made is there once its directory
or its file was synced, and perhaps before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from comfy_fsm.errors import LogError
from comfy_fsm.log.log import Log
from tests.campaigns.writing import judged

SECTOR = 512
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
_FD = re.compile(r"^(\d+)<(.*?)>")
_TRACED = "openat,write,pwrite64,lseek,ftruncate,fsync,fdatasync,rename,unlink"


class Step(NamedTuple):
    """What the writer did to a file: `name` is that within its folder, empty for the folder itself."""

    call: str
    name: str
    at: int = 0
    data: bytes = b""


def record(folder: Path, appends: int) -> list[Step]:
    """All that a writer does, in order."""
    trace, path = folder.parent / "trace", folder / "a.log"
    words = ["strace", "-f", "-y", "-xx", "-s", "10000000", "-e", f"trace={_TRACED}", "-e", "signal=none",
             "-o", str(trace), sys.executable, "-m", "tests.campaigns.writing", str(path), str(appends)]  # fmt: skip
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return list(steps(trace, folder))


def joined(trace: Path) -> Iterator[str]:
    """The lines, with the halves of a call put together that another thread cut in two."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif "resumed>" in line and thread in begun:
            yield begun.pop(thread) + line.split("resumed>", 1)[1]
        else:
            yield line


def plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def steps(trace: Path, folder: Path) -> Iterator[Step]:
    seat: dict[str, int] = {}
    for line in joined(trace):
        told = _CALL.match(line)
        if told is None or int(told[3]) < 0:
            continue
        call, words = told[1], told[2].split(", ")
        descriptor = _FD.match(words[0])
        where = Path(plain(descriptor[2])) if descriptor else Path()
        name = "" if where == folder else where.name if where.parent == folder else None
        if call == "openat":
            opened = Path(plain(words[1].strip('"')))
            if opened.parent == folder and "O_CREAT" in told[2]:
                yield Step("create", opened.name)
            seat[told[3]] = 0
        elif call == "rename":
            yield Step(
                "rename", Path(plain(words[0].strip('"'))).name, data=Path(plain(words[1].strip('"'))).name.encode()
            )
        elif call == "unlink":
            yield Step("unlink", Path(plain(words[0].strip('"'))).name)
        elif descriptor and call == "write" and descriptor[1] == "1":
            yield Step("tell", "", data=bytes.fromhex(words[1].strip('"').replace("\\x", "")))
        elif name is None or descriptor is None or name.endswith("-shm"):
            continue
        elif call == "lseek":
            seat[descriptor[1]] = int(told[3])
        elif call == "write":
            data = bytes.fromhex(words[1].strip('"').replace("\\x", ""))
            yield Step("write", name, seat.get(descriptor[1], 0), data)
            seat[descriptor[1]] = seat.get(descriptor[1], 0) + len(data)
        elif call == "pwrite64":
            yield Step("write", name, int(words[3]), bytes.fromhex(words[1].strip('"').replace("\\x", "")))
        elif call == "ftruncate":
            yield Step("cut", name, int(words[1]))
        elif call in ("fsync", "fdatasync"):
            yield Step("sync", name)


def put(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Disk:
    """Files by number, names to numbers; what is durable of both, and what is not yet."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.durable_names: dict[str, int] = {}
        self.pending_names: list[tuple[str, int | None, int | None]] = []
        self.files: list[bytearray] = []
        self.pending: list[list[Step]] = []

    def do(self, step: Step) -> None:
        if step.call == "create":
            if step.name not in self.names:
                self.files.append(bytearray())
                self.pending.append([])
                self._name(step.name, len(self.files) - 1)
        elif step.call == "unlink":
            self._name(step.name, None)
        elif step.call == "rename":
            number = self.names[step.name]
            self._name(step.name, None)
            self._name(step.data.decode(), number)
        elif step.call == "sync" and not step.name:
            self.durable_names = dict(self.names)
            self.pending_names.clear()
        elif step.call == "sync" and step.name in self.names:
            number = self.names[step.name]
            for each in self.pending[number]:
                self._apply(self.files[number], each, None)
            self.pending[number].clear()
            if number not in self.durable_names.values():
                self.durable_names[step.name] = number
        elif step.call in ("write", "cut") and step.name in self.names:
            self.pending[self.names[step.name]].append(step)

    def _name(self, name: str, number: int | None) -> None:
        self.pending_names.append((name, number, None))
        if number is None:
            self.names.pop(name, None)
        else:
            self.names[name] = number

    @staticmethod
    def _apply(content: bytearray, step: Step, dice: random.Random | None) -> None:
        if step.call == "cut":
            if dice is None or dice.random() < 0.5:
                del content[step.at :]
            return
        for at in range(0, len(step.data), SECTOR):
            if dice is None or dice.random() < 0.5:
                put(content, step.at + at, step.data[at : at + SECTOR])

    def image(self, dice: random.Random) -> dict[str, bytes]:
        """One of the states that the disk may be in: the files by name."""
        names = dict(self.durable_names)
        for name, number, _ in self.pending_names[: dice.randint(0, len(self.pending_names))]:  # a journal keeps order
            if number is None:
                names.pop(name, None)
            else:
                names[name] = number
        how = dice.choice(["none", "some", "all"])
        made = {}
        for name, number in names.items():
            content = bytearray(self.files[number])
            for step in self.pending[number]:
                if how != "none":
                    self._apply(content, step, dice if how == "some" else None)
            made[name] = bytes(content)
        return made


class Result(NamedTuple):
    """How many steps the writer took, how many of the images differed, and what is wrong."""

    steps: int
    different: int
    wrong: list[str]


def campaign(count: int, seed: int) -> Result:
    """Judge `count` images, and open each again; one that is the same as the one before is judged once."""
    dice, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner() as runner:
        (folder := Path(scratch, "real")).mkdir()
        taken = record(folder, 12)
        (place := Path(scratch, "image")).mkdir()
        cuts = sorted(dice.randrange(len(taken) + 1) for _ in range(count))
        disk, told, done = Disk(), "", 0
        judged_before: set[int] = set()
        different = 0
        for n, cut in enumerate(cuts):
            if cut > done:
                judged_before.clear()
            for step in taken[done:cut]:
                if step.call == "tell":
                    told += step.data.decode()
                else:
                    disk.do(step)
            done = cut
            image = disk.image(dice)
            if (key := hash(tuple(sorted(image.items())))) in judged_before:
                continue
            judged_before.add(key)
            different += 1
            for left in place.iterdir():
                left.unlink()
            for name, content in image.items():
                (place / name).write_bytes(content)
            wrong += [f"seed {seed}, {n}, step {cut}: {each}" for each in judged(place / "a.log", told)]
            try:
                runner.run(again(place / "a.log"))
            except LogError as error:
                wrong.append(f"seed {seed}, {n}, step {cut}: cannot be opened again: {error}")
    return Result(len(taken), different, wrong)


async def again(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(b"after the cut")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    steps, different, wrong = campaign(chosen.count, chosen.seed)
    print(f"power: {chosen.count} images of {steps} steps, {different} different, {len(wrong)} wrong", *wrong[:10],
          sep="\n")  # fmt: skip
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
