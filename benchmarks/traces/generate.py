"""Generator of long traces: copies one recording again and again, each time with new ids and times.

    python -m benchmarks.traces.generate [RECORDING] --output TRACE [--observations N] [--tasks N] [--copies N]

A copy happens after the one before it, to other windows and other prompts, on the same servers. So what a replay finds
in one copy it finds in each, and nothing that comes of the copying. Without a size: at least a million observations and
20,000 tasks.

The work is done on the text and not on decoded lines: a trace keeps what the server sent as it was sent (odd spacing,
NaN, lone surrogates), and so must its copies. Nothing here is random; the same arguments give the same bytes. Copy 0 is
the recording itself, so its expectations hold for that part of the result.
"""

import argparse
import gzip
import json
import math
import re
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# About 54 observations a task, the richest of the fleets: progress_state went to everybody then (P2).
RECORDING = ROOT / "fixtures" / "recordings" / "0.3.50" / "fleet-small.jsonl.gz"
OBSERVATIONS, TASKS = 1_000_000, 20_000

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
HEX = re.compile(r"[0-9a-f]+")
SHORTEST_ID = 8  # an id is found in the text by its letters alone; "1" would be found everywhere


class Slot(NamedTuple):
    """Text that differs from copy to copy: an id, or a number that goes on where the copy before left off."""

    field: str
    text: str


class Count(NamedTuple):
    copies: int
    observations: int
    tasks: int


class Stencil(NamedTuple):
    """A recording, cut at its slots: `pieces` are by turns text that stays and text that does not."""

    header: str
    pieces: list[str]
    slots: list[Slot]
    steps: dict[str, int]
    once: Count

    def copies_for(self, observations: int = 0, tasks: int = 0) -> int:
        """How many copies hold at least that many of both."""
        if tasks and not self.once.tasks:
            raise ValueError("the recording submits no task, so no number of copies does")
        return max(1, -(-observations // self.once.observations), -(-tasks // max(1, self.once.tasks)))

    def copy(self, number: int) -> str:
        fresh = {slot: self._fill(slot, number) for slot in set(self.slots)}
        self.pieces[1::2] = [fresh[slot] for slot in self.slots]
        return "".join(self.pieces)

    def _fill(self, slot: Slot, number: int) -> str:
        if slot.field == "id":
            return fresh_id(slot.text, number)
        return str(int(slot.text) + number * self.steps[slot.field])


def fresh_id(name: str, number: int) -> str:
    """Another id of the same shape: a UUID stays a canonical UUID (P10), twelve digits stay twelve digits."""
    if number == 0:
        return name
    digits = blake2b(f"{number} {name}".encode()).hexdigest()
    if UUID.fullmatch(name):
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
    return digits[: len(name)] if HEX.fullmatch(name) and len(name) <= len(digits) else f"{name}-{number}"


def read_lines(recording: Path) -> list[str]:
    with gzip.open(recording) if recording.suffix == ".gz" else recording.open("rb") as file:
        text = file.read().decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line.strip() and not line.startswith("#")]


def find_ids(decoded: list[dict]) -> set[str]:
    """The ids of windows, requests and prompts, by the name of their field; UUIDs anywhere, as in paths and keys."""
    found: set[str] = set()

    def look(value: object, key: str = "") -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                look(name)
                look(inner, name)
        elif isinstance(value, list):
            for inner in value:
                look(inner)
        elif isinstance(value, str):
            found.update([value] if key in ("window", "client_id", "sid", "prompt_id") else UUID.findall(value))

    for line in decoded:
        look(line)
        if line["kind"].startswith("http."):
            found.add(line["data"]["id"])
    found.discard("")
    if short := sorted(name for name in found if len(name) < SHORTEST_ID):
        raise ValueError(f"ids too short to be told from other text: {', '.join(short)}")
    return found


def slot_patterns(ids: set[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What to look for before a line's `data`, and within it; the name of the group is the slot's field."""
    one_of = "|".join(sorted(map(re.escape, ids), key=len, reverse=True)) or r"(?!)"
    name = rf"(?P<id>(?<![\w-])(?:{one_of})(?![\w-]))"
    # Of `at` only the whole seconds move, so that its decimals stay as they were written.
    head = r'"at":\s*(?P<at>\d+)|"mono":\s*(?P<mono>\d+)|"seq":\s*(?P<seq>\d+)|"conn":\s*(?P<conn>\d+)'
    # A server's number for a prompt stands in its answer, and before the id in queue and history (P9, P28). Left as it
    # is, it would start again with every copy, as after a restart that never was.
    body = rf'"timestamp":\s*(?P<timestamp>\d{{13}})|"number":\s*(?P<number>\d+)|\[(?P<rank>\d+)(?=,\s*"(?:{one_of})")'
    return re.compile(f"{name}|{head}"), re.compile(f"{name}|{body}")


def cut(lines: list[str], ids: set[str]) -> tuple[list[str], list[Slot]]:
    """The text of the lines as pieces, and the slots between them."""
    text = "".join(line + "\n" for line in lines)
    head, body = slot_patterns(ids)
    pieces, slots, start, line_start = [], [], 0, 0
    for number, line in enumerate(lines, 1):
        line_end = line_start + len(line)
        data = text.find('"data"', line_start, line_end)
        data = line_end if data < 0 else data
        seen = [*head.finditer(text, line_start, data), *body.finditer(text, data, line_end)]
        if not any(match.lastgroup == "at" for match in seen):
            raise ValueError(f"line {number} does not say `at` before `data`")
        for match in seen:
            slots.append(Slot(match.lastgroup, match[match.lastgroup]))
            pieces += [text[start : match.start(match.lastgroup)], slots[-1].text]
            start = match.end(match.lastgroup)
        line_start = line_end + 1
    return [*pieces, text[start:]], slots


def stencil(recording: Path = RECORDING, *, same_windows: bool = False) -> Stencil:
    """Reads a recording and finds what must differ from copy to copy; the windows need not, if one process made all."""
    lines = read_lines(recording)
    decoded = [json.loads(line) for line in lines]
    header = lines.pop(0) + "\n" if decoded[0]["kind"] == "trace" else ""
    decoded = [line for line in decoded if line["kind"] != "trace"]
    if not decoded or len(decoded) != len(lines):
        raise ValueError(f"{recording} has no observations, or a second header")
    windows = {line.get("window") for line in decoded} if same_windows else set()
    pieces, slots = cut(lines, find_ids(decoded) - windows)
    times = [line["at"] for line in decoded]
    seconds = math.ceil(max(times) - min(times)) + 1
    steps = {"at": seconds, "timestamp": seconds * 1_000, "mono": seconds * 1_000_000_000}
    for field in ("seq", "conn"):
        steps[field] = 1 + max((int(slot.text) for slot in slots if slot.field == field), default=0)
    numbers = [int(slot.text) for slot in slots if slot.field in ("number", "rank")]
    steps["number"] = steps["rank"] = 1 + max(numbers, default=0)
    posts = [line for line in decoded if line["kind"] == "http.request" and line["data"]["method"] == "POST"]
    tasks = sum(line["data"]["path"].endswith("/prompt") for line in posts)
    return Stencil(header, pieces, slots, steps, Count(1, len(decoded), tasks))


def chunks(source: Stencil, copies: int) -> Iterator[str]:
    """The text of the long trace, copy by copy, so that nobody has to hold it."""
    yield source.header
    for number in range(copies):
        yield source.copy(number)


def write(source: Stencil, output: IO[bytes], copies: int) -> Count:
    for chunk in chunks(source, copies):
        output.write(chunk.encode("utf-8", "surrogateescape"))
    return Count(copies, *(copies * once for once in source.once[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path, nargs="?", default=RECORDING, help="a .jsonl or .jsonl.gz file")
    parser.add_argument("--output", type=Path, required=True, help="where to write; compressed if it ends in .gz")
    parser.add_argument("--observations", type=int, help="at least so many")
    parser.add_argument("--tasks", type=int, help="at least so many")
    parser.add_argument("--copies", type=int, help="exactly so many, whatever else is said")
    given = parser.parse_args()
    if given.observations is given.tasks is given.copies is None:
        given.observations, given.tasks = OBSERVATIONS, TASKS
    source = stencil(given.recording)
    copies = given.copies or source.copies_for(given.observations or 0, given.tasks or 0)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    packed = given.output.suffix == ".gz"
    with gzip.GzipFile(given.output, "wb", 1, mtime=0) if packed else given.output.open("wb") as file:
        count = write(source, file, copies)
    told = [f"{number:,} {word}" for word, number in count._asdict().items()]
    print(*told, f"{given.output.stat().st_size / 1e6:,.0f} MB", sep=", ", file=sys.stderr)


if __name__ == "__main__":
    main()
