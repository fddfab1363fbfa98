"""Benchmark of `min`: how small each recording gets, and in how long: `python -m benchmarks.replay.reduction`."""

from __future__ import annotations

import time
from pathlib import Path

from comfy_fsm.core.findings import Code
from replay.lines.reading import read
from replay.reduction.goal import finding_goal, fold
from replay.reduction.reduction import reduce

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures" / "recordings"


def main() -> None:
    print(f"{'recording':34}{'finding':20}{'lines':>12}{'bytes':>17}{'folds':>7}{'seconds':>9}")
    for path in sorted(RECORDINGS.glob("*/*.jsonl.gz")):
        whole = read(str(path))
        board = fold(line.observation for line in whole.lines)
        for code in dict.fromkeys(finding.code for finding in board.findings):
            goal = finding_goal(board, code, None, loose=False)
            if goal is None or code is Code.DAMAGED:
                continue
            began = time.process_time()
            found = reduce(whole, goal, 3600.0)
            lines, size = f"{len(whole.lines)} → {len(found.lines)}", f"{whole.size} → {len(found.content)}"
            name = f"{path.parent.name}/{path.name.partition('.')[0]}"
            print(f"{name:34}{code:20}{lines:>12}{size:>17}{found.folds:>7}{time.process_time() - began:>9.2f}")


if __name__ == "__main__":
    main()
