"""What the README and the pages of docs/ say is so: commands print what stands there, code runs, tables are the code's.

All blocks of a page run in their order, in one folder that has nothing in it but `fixtures`, `examples` and a
`workflow.json`: a later one may read what an earlier one wrote. A block of `text` is the output of the block before it.
Blanks at the ends of lines do not count. Where a block names `127.0.0.1:8188`, a fake ComfyUI is there in its place.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from comfy_fsm import State
from comfy_fsm.core import observations
from comfy_fsm.testing import ThreadedFake

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "docs" / "reference"
FORMATS = (REFERENCE / "formats.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("ops", "fixtures", "benchmarks", "tests")
LINKING = [*PAGES, *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("README.md")))]
SERVER = "127.0.0.1:8188"
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

# What would change the look of a report, or where Python looks for us.
_LEFT_OUT = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PYTHONPATH", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT} | {
    "PYTHONPATH": str(ROOT),
    "PYTHONIOENCODING": "utf-8",
}


class Block(NamedTuple):
    """A fenced block of a page, and the text that must come of it, if the page shows it."""

    page: str
    language: str
    body: str
    shown: str | None

    def __str__(self) -> str:
        return f"{self.page}: {self.language}: {self.body.splitlines()[0][:70]}"


def find_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for (language, body), (after, shown) in zip(found, [*found[1:], ("", "")], strict=False):
        if re.match(r"# \w+\.py\n", body):
            continue  # a file, which the test of its page writes down and runs
        if language in ("sh", "python"):
            yield Block(str(page.relative_to(ROOT)), language, body, shown if after == "text" else None)


BLOCKS = [block for page in PAGES for block in find_blocks(page)]
FIRST = [block for block in BLOCKS if block.page == "README.md"]
SETUP = [block.body.strip() for block in BLOCKS if "-m venv" in block.body]


def run(arguments: list[str], folder: Path, stdin: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    with open(stdin or os.devnull, "rb") as given:
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, stdin=given, capture_output=True, timeout=120
        )


def replay(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The part of a line of shell that replays: the set-up before it is the environment we run in."""
    words = shlex.split(command.rpartition("&&")[2])
    stdin = folder / words.pop() if words[-2:-1] == ["<"] else None
    if stdin is not None:
        words.pop()
    assert words[0] in ("python", ".venv/bin/python")
    return run(words[1:], folder, stdin)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


Outcomes = Callable[[str], list["subprocess.CompletedProcess[bytes] | None"]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each block of a page, in their order; None for those that this run is itself."""

    @cache
    def of(page: str) -> list[subprocess.CompletedProcess[bytes] | None]:
        folder = tmp_path_factory.mktemp("page")
        for name in ("fixtures", "examples"):
            (folder / name).symlink_to(ROOT / name, target_is_directory=True)
        shutil.copy(ROOT / "examples" / "workflow.json", folder)
        with ThreadedFake() if SERVER in (ROOT / page).read_text("utf-8") else nullcontext() as comfy:
            server = comfy.url.removeprefix("http://") if comfy else SERVER
            return [outcome(block, folder, server) for block in BLOCKS if block.page == page]

    return of


def outcome(block: Block, folder: Path, server: str) -> subprocess.CompletedProcess[bytes] | None:
    body = block.body.replace(SERVER, server)
    if block.language == "python":
        return run(["-W", "error", "-c", body], folder)
    return None if "-m pytest" in body else replay(body.strip(), folder)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_its_page_says(block: Block, outcomes: Outcomes) -> None:
    came = outcomes(block.page)[[each for each in BLOCKS if each.page == block.page].index(block)]
    if came is None:
        return
    said, killed = came.stdout.decode(), "signal.SIGKILL" in block.body
    assert came.stderr == b""
    assert came.returncode in ((-signal.SIGKILL if killed else 0,) if block.language == "python" else (0, 1, 3)), said
    if block.shown is not None:
        assert lines(said) == lines(block.shown)


def test_each_block_of_shell_is_one_command() -> None:
    for block in BLOCKS:
        assert block.language == "python" or block.body.count("\n") == 1, block


def test_two_commands_do_all_the_setup_and_ci_does_the_same() -> None:
    replaying, testing = (command.split(" && ") for command in SETUP)
    assert replaying[:2] == testing[:2] == ["python3 -m venv .venv", ".venv/bin/pip install -e '.[test]'"]
    assert replaying[2].startswith(".venv/bin/python -m replay fixtures/recordings/")
    assert testing[2:] == [".venv/bin/python -m pytest -n 4"]
    assert re.search(r"^pip install .*-e '\.\[test\]'$", CI, re.MULTILINE)
    assert re.search(r"^python -m pytest -n 4$", CI, re.MULTILINE)


def test_the_setup_replays_what_the_first_screen_shows_and_passes(tmp_path: Path) -> None:
    first = next(block for block in FIRST if block.language == "sh")
    assert SETUP[0].split("-m replay ")[1] == first.body.strip().split("-m replay ")[1].removesuffix(" --no-color")
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures", target_is_directory=True)
    assert replay(first.body.strip(), tmp_path).returncode == 0


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_the_example_is_the_code_of_its_page() -> None:
    first = next(block for block in BLOCKS if block.page == "docs/how-to/embed.md" and block.language == "python")
    assert (ROOT / "examples" / "embed.py").read_text(encoding="utf-8") == first.body
    assert len([line for line in first.body.splitlines() if line]) <= 12


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path) -> None:
    outcome = run(["-W", "error", str(example)], ROOT)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout


def section(page: str, heading: str) -> str:
    found = re.search(rf"^{heading}\n(.*?)(?=^##? |\Z)", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_exit_statuses_of_the_replay_are_those_of_the_formats() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", section("docs/reference/replay.md", "## Exit status"), re.MULTILINE)
    assert re.findall(r"(\d+) ([a-z ]+\b)", FORMATS.partition("## Exit status")[2]) == rows


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["fixtures/recordings/0.3.64/socket-drop.jsonl.gz"], 0),
        (["fixtures/recordings/0.3.64/shared-client-id.jsonl.gz"], 1),
        (["fixtures/recordings/0.3.64/socket-drop-unresolved.jsonl.gz"], 3),
        ([], 64),
        (["--no-such-option"], 64),
        (["LICENSE"], 65),
        (["no-such-file.jsonl"], 66),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else str(value),
)
def test_an_exit_status_is_as_the_table_says(arguments: list[str], status: int) -> None:
    outcome = run(["-m", "replay", *arguments], ROOT)
    assert outcome.returncode == status
    assert (outcome.stdout == b"") is (status >= 64)
    assert outcome.stderr.count(b"\n") == (status >= 64)


def test_the_table_of_states_is_that_of_the_code() -> None:
    table = (REFERENCE / "replay.md").read_text("utf-8").partition("| state | the task |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [str(state) for state in State]


def test_the_layout_names_every_module_and_no_other() -> None:
    layout = (ROOT / "docs" / "explanation" / "layout.md").read_text("utf-8").partition("```\n")[2].partition("```")[0]
    named = sorted(re.findall(r"^ +(\w+\.py) ", layout, re.MULTILINE))
    there = [path.name for package in ("comfy_fsm", "replay") for path in (ROOT / package).rglob("*.py")]
    assert named == sorted(name for name in there if name != "__init__.py")


def test_the_formats_name_every_field_of_the_report_and_every_kind_of_line() -> None:
    traces = [f"fixtures/recordings/0.3.64/{name}.jsonl.gz" for name in ("errors", "wrong-server")]
    fields = set(re.findall(r'"(\w+)":', run(["-m", "replay", *traces, "--format", "json"], ROOT).stdout.decode()))
    assert fields > {"node_id", "filename", "severity", "signal"}
    kinds = {str(kind.__struct_config__.tag) for kind in observations.AnyObservation.__args__}
    names = fields | {kind for kind in kinds if kind.isascii()} | {str(state) for state in State}
    assert [name for name in sorted(names) if f"`{name}`" not in FORMATS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_table_is_broken_by_a_blank_line(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")]
    assert [lines[at] for at in heads if not re.fullmatch(r"\|[-|: ]+\|", lines[at + 1])] == []


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", LINKING, ids=shown)
def test_every_link_leads_to_a_page_and_a_heading_of_it(page: Path) -> None:
    lost = []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8")):
        linked = page.parent / target if target else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            lost.append(f"{target}#{anchor}")
    assert lost == []


@cache
def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_words_are_ours(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.findall(r"(?i)\bevents?\b", prose)  # four libraries own that word


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {
        (index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)\)", index.read_text("utf-8"))
    }
    assert {page for page in (ROOT / "docs").rglob("*.md") if page != index} <= listed
