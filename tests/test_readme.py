"""Tests of README and docs: commands print what stands there, code runs, tables match the code.

`docs/blocks.py` says which blocks run, and how; `python -m docs.blocks` writes down anew what they print.
"""

import re
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from comfy_fsm import State
from comfy_fsm.core import observations
from docs import blocks
from docs.blocks import PAGES, ROOT, Block, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "docs" / "reference"
FORMATS = (REFERENCE / "formats.md").read_text(encoding="utf-8")
FOLDERS = ("ops", "fixtures", "benchmarks", "tests")
LINKING = [*PAGES, *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("README.md")))]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in blocks.find(page)]
FIRST = [block for block in BLOCKS if block.page == "README.md"]
SETUP = [block.body.strip() for block in BLOCKS if "-m venv" in block.body]

Outcomes = Callable[[str], list[blocks.Outcome | None]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each block of a page."""
    return cache(lambda page: blocks.run_page(ROOT / page, tmp_path_factory.mktemp("page")))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_its_page_says(block: Block, outcomes: Outcomes) -> None:
    came = outcomes(block.page)[[each for each in BLOCKS if each.page == block.page].index(block)]
    if came is None:
        return
    said, killed = came.stdout.decode(), "signal.SIGKILL" in block.body
    assert came.stderr == b""
    assert came.returncode in ((-signal.SIGKILL if killed else 0,) if block.language == "python" else (0, 1, 3)), said
    if block.shown is not None:
        assert blocks.lines(said) == blocks.lines(block.shown)


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
    assert blocks.run_shell(first.body.strip(), tmp_path).returncode == 0


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
