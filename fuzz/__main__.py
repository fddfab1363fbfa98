"""Coverage-guided fuzzing of everything that reads foreign bytes: `python -m fuzz TARGET [--runs N]`.

Needs the extra `fuzz`. `python -m fuzz all --seconds 20` takes each target in turn, in a process of its own. What was
found is written beside as `crash-…`, and is fed again by `python -m fuzz TARGET FILE`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

MEMORY, TIMEOUT, LONGEST = 1024, 5, 4096
"""Megabytes and seconds that one input may take, and bytes that it may have."""


def loaded() -> ModuleType:
    """The targets, with everything of ours watched for what of it an input reaches."""
    import atheris

    with atheris.instrument_imports(include=["comfy_fsm", "replay"]):
        from fuzz import targets
    return targets


def fuzz(targets: ModuleType, name: str, runs: int, seconds: int, kept: Path | None) -> None:
    """Ends the process."""
    import atheris

    with tempfile.TemporaryDirectory() as corpus:
        if kept is not None:
            corpus = str(kept / name)
            Path(corpus).mkdir(parents=True, exist_ok=True)
        if not os.listdir(corpus):
            for number, seed in enumerate(targets.seeds(name)):
                Path(corpus, str(number)).write_bytes(seed)
        limits = [f"-runs={runs}", f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY}", f"-timeout={TIMEOUT}"]
        words = [sys.argv[0], *limits, f"-max_len={LONGEST}", "-print_final_stats=1", corpus]
        atheris.Setup(words, targets.TARGETS[name])
        atheris.Fuzz()


def forked(work: Callable[[], None]) -> int:
    """The status of a process in which this was done."""
    if (child := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="one of fuzz/targets.py, or all")
    parser.add_argument("file", nargs="?", type=Path, help="feed this one file instead")
    parser.add_argument("--runs", type=int, default=-1, help="inputs (default: no end)")
    parser.add_argument("--seconds", type=int, default=0, help="seconds (default: no end)")
    parser.add_argument("--corpus", type=Path, help="folder of inputs that reach new code, kept for the next run")
    chosen = parser.parse_args()
    if chosen.file is not None:
        from fuzz.targets import TARGETS

        TARGETS[chosen.target](chosen.file.read_bytes())
        return 0
    targets = loaded()
    each = partial(fuzz, targets, runs=chosen.runs, seconds=chosen.seconds, kept=chosen.corpus)
    if chosen.target != "all":
        each(chosen.target)
    failed = [name for name in targets.TARGETS if forked(partial(each, name))]
    print("fuzz:", f"failed: {', '.join(failed)}" if failed else f"all {len(targets.TARGETS)} targets held")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
