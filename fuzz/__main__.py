"""Coverage-guided fuzzing of whatever reads bytes that others made: `python -m fuzz TARGET [--runs N]`.

Needs the extra `fuzz`. `python -m fuzz all --seconds 20` takes each target in turn, in a process of its own. What was
found is written beside as `crash-…`, and is fed again by `python -m fuzz TARGET FILE`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY, TIMEOUT, LONGEST = 1024, 5, 4096
"""Megabytes and seconds that one input may take, and bytes that it may have."""


def fuzz(name: str, runs: int, seconds: int, kept: Path | None) -> None:
    import atheris

    with atheris.instrument_imports(include=["comfy_fsm", "replay"]):
        from fuzz.targets import TARGETS, seeds

    with tempfile.TemporaryDirectory() as corpus:
        if kept is not None:
            corpus = str(kept / name)
            Path(corpus).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(name)):
            Path(corpus, str(number)).write_bytes(seed)
        limits = [f"-runs={runs}", f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY}", f"-timeout={TIMEOUT}"]
        atheris.Setup([sys.argv[0], *limits, f"-max_len={LONGEST}", "-print_final_stats=1", corpus], TARGETS[name])
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="one of fuzz/targets.py, or all")
    parser.add_argument("file", nargs="?", help="feed this one file instead")
    parser.add_argument("--runs", type=int, default=-1, help="inputs (default: no end)")
    parser.add_argument("--seconds", type=int, default=0, help="seconds (default: no end)")
    parser.add_argument(
        "--corpus", type=Path, help="a folder where inputs that reach new code are kept for the next run"
    )
    chosen = parser.parse_args()
    if chosen.target != "all" and chosen.file is None:
        fuzz(chosen.target, chosen.runs, chosen.seconds, chosen.corpus)
        return 0
    from fuzz.targets import TARGETS  # not before: the fuzzer must see our modules loaded

    if chosen.file is not None:
        TARGETS[chosen.target](Path(chosen.file).read_bytes())
        return 0
    words = [f"--runs={chosen.runs}", f"--seconds={chosen.seconds}"]
    words += [f"--corpus={chosen.corpus}"] if chosen.corpus is not None else []
    ended = {name: subprocess.run([sys.executable, "-m", "fuzz", name, *words], check=False) for name in TARGETS}
    failed = [name for name, each in ended.items() if each.returncode]
    print("fuzz:", f"failed: {', '.join(failed)}" if failed else f"all {len(TARGETS)} targets held")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
