"""What the README and the pages of docs/ say is so: commands print what stands there, code runs, tables are the code's.

All blocks of a page run in their order, in one empty folder that has nothing but `fixtures` in it: a later one may read
what an earlier one wrote. A block of `text` is the output of the block before it. Blanks at the ends of lines do not
count.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from comfy_fsm import CODES, State, errors
from comfy_fsm.core import observations

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
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
        is_file = re.match(r"# \w+\.py\n", body)  # to be written down; the test of that page does so
        if language in ("sh", "python") and not is_file:
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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.CompletedProcess[bytes] | None]:
    """What came of each block, in their order; None for those that this run is itself."""
    folders = {block.page: tmp_path_factory.mktemp("page") for block in BLOCKS}
    for folder in folders.values():
        (folder / "fixtures").symlink_to(ROOT / "fixtures", target_is_directory=True)
    found: list[subprocess.CompletedProcess[bytes] | None] = []
    for block in BLOCKS:
        folder = folders[block.page]
        if block.language == "python":
            found.append(run(["-W", "error", "-c", block.body], folder))
        else:
            found.append(None if "-m pytest" in block.body else replay(block.body.strip(), folder))
    return found


@pytest.mark.parametrize("index", range(len(BLOCKS)), ids=[str(block) for block in BLOCKS])
def test_a_block_does_what_its_page_says(index: int, outcomes: list[subprocess.CompletedProcess[bytes] | None]) -> None:
    block, outcome = BLOCKS[index], outcomes[index]
    if outcome is None:
        return
    said = outcome.stdout.decode()
    assert outcome.stderr == b""
    assert outcome.returncode in ((0,) if block.language == "python" else (0, 1, 3)), said
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


def test_the_example_is_the_code_of_the_first_screen() -> None:
    first = next(block for block in FIRST if block.language == "python")
    assert (ROOT / "examples" / "embed.py").read_text(encoding="utf-8") == first.body
    assert len([line for line in first.body.splitlines() if line]) <= 12


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path) -> None:
    outcome = run(["-W", "error", str(example)], ROOT)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout


LIVE = ["-m", "comfy_fsm"]
HELPS = {  # by the page and the heading under which it is told
    ("README.md", "## The replay"): [["-m", "replay"]],
    ("README.md", "### run and resume"): [[*LIVE, "run"], [*LIVE, "resume"]],
    ("docs/diagnosis.md", "# Diagnosis"): [[*LIVE, "diagnose"]],
    ("docs/recovery.md", "## recover"): [[*LIVE, "recover"]],
    ("docs/recovery.md", "## consistency"): [[*LIVE, "consistency"]],
    ("docs/recovery.md", "## history"): [[*LIVE, "history"]],
    ("docs/watching.md", "## `watch`"): [[*LIVE, "watch"]],
    ("docs/watching.md", "## `serve`"): [[*LIVE, "serve"]],
    ("docs/figures.md", "## The command"): [[*LIVE, "metrics"]],
}
HELPED = [(*where, arguments) for where, commands in HELPS.items() for arguments in commands]
ONLY_A_LOG = ["tail", "export"]  # no option but `--log`, of which the README tells for all
STATUSES = {
    ("README.md", "## The replay"): [["-m", "replay"]],
    ("docs/diagnosis.md", "# Diagnosis"): [[*LIVE, "diagnose"]],
    ("README.md", "## Commands"): [[*LIVE, name] for name in (
        "run", "resume", "tail", "export", "metrics", "recover", "consistency", "history", "watch", "serve",
    )],
}  # fmt: skip
STATED = [(*where, arguments) for where, commands in STATUSES.items() for arguments in commands]


def named(value: object) -> str:
    return " ".join(value[1:]) if isinstance(value, list) else str(value)


@cache
def helped(*arguments: str) -> str:
    outcome = run([*arguments, "--help"], ROOT)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    return outcome.stdout.decode()


def section(page: str, heading: str) -> str:
    found = re.search(rf"^{heading}\n(.*?)(?=^##? |\Z)", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("page", "heading", "arguments"), HELPED, ids=named)
def test_the_options_of_the_help_are_those_of_the_page(page: str, heading: str, arguments: list[str]) -> None:
    rows = "".join(re.findall(r"^\| (`-.*?) \| ", section(page, heading), re.MULTILINE))
    told, shown = (set(re.findall(r"--[a-z-]+", text)) | {"--help"} for text in (rows, helped(*arguments)))
    assert told == shown


def test_every_command_is_in_the_table_and_every_help_is_compared() -> None:
    told = re.findall(r"^│ (\w+) ", helped(*LIVE), re.MULTILINE)
    rows = re.findall(r"^\| \[`(\w+)[^|]*\]\(([^)#]*)", section("README.md", "## Commands"), re.MULTILINE)
    assert sorted(name for name, _ in rows if name != "python") == sorted(told)
    compared = [arguments[2] for *_, arguments in HELPED if arguments[:2] == LIVE]
    assert sorted(compared + ONLY_A_LOG) == sorted(told)
    for name in ONLY_A_LOG:
        assert set(re.findall(r"--[a-z-]+", helped(*LIVE, name))) == {"--log"}


@pytest.mark.parametrize(("page", "heading", "arguments"), STATED, ids=named)
def test_the_exit_statuses_are_those_of_the_help(page: str, heading: str, arguments: list[str]) -> None:
    said = " ".join(helped(*arguments).split()).partition("Exit status: ")[2].rstrip(".")
    told = [re.fullmatch(r"(\d+(?: or \d+)?) (.*)", one.strip(" ·.")) for one in re.split(r" · ", said)]
    assert all(told)
    assert told
    rows = re.findall(r"^\| (\d+(?: or \d+)?) \| (.*?) \|$", section(page, heading), re.MULTILINE)
    assert [(status, text.replace("`", "")) for status, text in rows] == [(one[1], one[2]) for one in told if one]


def test_the_exit_statuses_of_the_replay_are_those_of_the_formats() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", section("README.md", "## The replay"), re.MULTILINE)
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


def test_the_table_of_findings_is_that_of_the_code() -> None:
    rows = [f"| `{row.code}` | {row.severity} | {row.meaning} | {row.advice} |\n" for row in CODES.values()]
    table = "| code | severity | means | what to do |\n|---|---|---|---|\n" + "".join(rows)
    assert README.partition("<!-- findings -->\n")[2].partition("<!-- /findings -->")[0] == table


def test_the_table_of_states_is_that_of_the_code() -> None:
    table = README.partition("| state | the task |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [str(state) for state in State]


def test_every_error_is_in_the_readme() -> None:
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert [name for name in names if f"`{name}`" not in README] == []


def test_the_layout_names_every_module_and_no_other() -> None:
    layout = README.partition("## Layout")[2].partition("```\n")[2].partition("```")[0]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_is_broken_by_a_blank_line(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")]
    assert [lines[at] for at in heads if not re.fullmatch(r"\|[-|: ]+\|", lines[at + 1])] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_words_are_ours(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", text):
        assert not target or (page.parent / target).exists(), target
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    assert not re.findall(r"(?i)\bevents?\b", prose)  # four libraries own that word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_that_are_linked_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
        linked = (page.parent / target if target else page).read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.*)$", linked, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
