"""Campaign that lets each file operation of a writer fail, once or from then on: acknowledged is there, refused is
not.

python -m tests.campaigns.refusals [--most 40]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.campaigns.writing import judged

CALLS = {"pwrite64": "EIO", "fdatasync": "EIO", "ftruncate": "EIO", "fsync": "EIO", "write": "ENOSPC"}
FILES = ("", "-wal", ".lock", ".new")


def refused(path: Path, call: str, error: str, file: str, when: str, appends: int) -> str:
    """What a writer tells on whose file the calls fail."""
    words = ["strace", "-f", "-o", "/dev/null", "-P", f"{path}{file}", "-e", f"trace={call}", "-e",
             f"inject={call}:error={error}:when={when}", sys.executable, "-m", "tests.campaigns.writing", str(path),
             str(appends)]  # fmt: skip
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def campaign(most: int, appends: int = 12) -> tuple[int, list[str]]:
    """How many runs, and what is wrong."""
    runs, wrong = 0, []
    for call, error in CALLS.items():
        for file in FILES:
            for nth in range(1, most + 1):
                outcomes = set()
                for when in (f"{nth}", f"{nth}+"):
                    with tempfile.TemporaryDirectory() as scratch:
                        path = Path(scratch, "a.log")
                        told = refused(path, call, error, file, when, appends)
                        runs += 1
                        wrong += [f"{call} on {file or 'the log'}, {when}: {each}" for each in judged(path, told)]
                        outcomes.add(told.count("kept") == appends)
                if outcomes == {True}:  # it is called less often than that, or nobody minds
                    break
    return runs, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=40)
    chosen = parser.parse_args()
    runs, wrong = campaign(chosen.most)
    print(f"refusals: {runs} runs, {len(wrong)} wrong", *wrong[:10], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
