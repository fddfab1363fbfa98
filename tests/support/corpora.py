"""Small corpora for tests: folders of short recordings, and what a run over them wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "fixtures" / "recordings" / "0.3.64"


def fill(folder: Path, count: int) -> Path:
    """Copies of short recordings, in two folders, beside a file that is no trace."""
    sources = sorted(RECORDINGS.glob("*.jsonl.gz"), key=lambda path: path.stat().st_size)[:6]
    for number in range(count):
        below = folder / ("even", "odd")[number % 2]
        below.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources[number % len(sources)], below / f"{number:03}.jsonl.gz")
    (folder / "notes.md").write_text("not a trace\n", encoding="utf-8")
    return folder


def written(output: Path) -> dict[str, bytes]:
    """Every file of a run, by its place."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}
