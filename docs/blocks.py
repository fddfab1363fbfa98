"""Run the code blocks of the pages, and write down anew what they print: `python -m docs.blocks [PAGE...]`.

All blocks of a page run in their order, in one folder that has nothing in it but `fixtures`, `examples` and a
`workflow.json`: a later one may read what an earlier one wrote. A block of `text` is the output of the block before it.
Where a block names `127.0.0.1:8188`, a fake ComfyUI is there in its place. A block that begins with `# name.py` is a
file, which the test of its page writes down and runs. Blocks of `bash` are not run: they need what is not here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from comfy_fsm.testing import ThreadedFake

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SERVER = "127.0.0.1:8188"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What would change the look of a report, or where Python looks for us.
_LEFT_OUT = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PYTHONPATH", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT} | {
    "PYTHONPATH": str(ROOT),
    "PYTHONIOENCODING": "utf-8",
    "TZ": "UTC",
}

Outcome = subprocess.CompletedProcess[bytes]


class Block(NamedTuple):
    """A fenced block of a page, and the text that must come of it, if the page shows it."""

    page: str
    language: str
    body: str
    shown: str | None

    def __str__(self) -> str:
        return f"{self.page}: {self.language}: {self.body.splitlines()[0][:70]}"


def find(page: Path) -> Iterator[Block]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    for (language, body), (after, shown) in zip(found, [*found[1:], ("", "")], strict=False):
        if language in ("sh", "python") and not re.match(r"# \w+\.py\n", body):
            yield Block(str(page.relative_to(ROOT)), language, body, shown if after == "text" else None)


class Python(NamedTuple):
    """A Python, and the environment variables that it runs in."""

    executable: str
    environment: dict[str, str]


HERE = Python(sys.executable, ENVIRONMENT)


def run(arguments: list[str], folder: Path, stdin: Path | None = None, python: Python = HERE) -> Outcome:
    words = [python.executable, *arguments]
    with open(stdin or os.devnull, "rb") as given:
        return subprocess.run(words, cwd=folder, env=python.environment, stdin=given, capture_output=True, timeout=120)


def run_shell(command: str, folder: Path, python: Python = HERE) -> Outcome:
    """Run the last part of a line of shell: the set-up before it is the environment that we run in."""
    words = shlex.split(command.rpartition("&&")[2])
    stdin = folder / words.pop() if words[-2:-1] == ["<"] else None
    if stdin is not None:
        words.pop()
    assert words[0] in ("python", ".venv/bin/python")
    return run(words[1:], folder, stdin, python)


def run_page(page: Path, folder: Path, python: Python = HERE) -> list[Outcome | None]:
    """What came of each block, in their order; None for those that run the tests."""
    for name in ("fixtures", "examples"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    shutil.copy(ROOT / "examples" / "workflow.json", folder)
    with ThreadedFake() if SERVER in page.read_text(encoding="utf-8") else nullcontext() as comfy:
        server = comfy.url.removeprefix("http://") if comfy else SERVER
        return [run_block(block, folder, server, python) for block in find(page)]


def run_block(block: Block, folder: Path, server: str, python: Python) -> Outcome | None:
    body = block.body.replace(SERVER, server)
    if block.language == "python":
        return run(["-W", "error", "-c", body], folder, None, python)
    return None if "-m pytest" in body else run_shell(body.strip(), folder, python)


def lines(text: str) -> list[str]:
    """Lines as they are compared: blanks at their ends do not count."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def rewrite(page: Path) -> None:
    """Put what each block prints in place of what the page shows."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_page(page, Path(folder))
    text = page.read_text(encoding="utf-8")
    for block, outcome in zip(find(page), outcomes, strict=True):
        if outcome is not None and block.shown is not None:
            said = "".join(f"{line}\n" for line in lines(outcome.stdout.decode()))
            before = f"```{block.language}\n{block.body}```\n```text\n"
            text = text.replace(f"{before}{block.shown}```", f"{before}{said}```")
    page.write_text(text, encoding="utf-8")


def main() -> None:
    for page in map(Path.resolve, map(Path, sys.argv[1:])) if sys.argv[1:] else PAGES:
        rewrite(page)


if __name__ == "__main__":
    main()
