"""Benchmark of `whatif --sweep`: how long each recording takes: `python -m benchmarks.replay.sweep`."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from replay.faults.sweep import sweep
from replay.lines.reading import read

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures" / "recordings"


def main() -> None:
    tried: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for path in sorted(RECORDINGS.glob("*/*.jsonl.gz")):
        lines = read(str(path)).lines
        began = time.process_time()
        found = list(sweep(lines))
        seconds = time.process_time() - began
        name = f"{path.parent.name}/{path.name.partition('.')[0]}"
        print(f"{name:36}{len(lines):6} lines{len(found):6} faults{seconds:8.2f}")
        tried.update(swept.fault.kind for swept in found)
        tasks.update(swept.fault.kind for swept in found if swept.consequence.tasks)
        errors.update(swept.fault.kind for swept in found if swept.consequence.is_grave and not swept.consequence.tasks)
    for kind, count in tried.items():
        print(f"{kind:8} {count:6} tried, a task changes in {tasks[kind]}, an error alone in {errors[kind]}")


if __name__ == "__main__":
    main()
