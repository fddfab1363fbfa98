"""`comfy-replay import`, as its users run it: the trace that it writes is judged as the capture is."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_fsm.report import json_report
from comfy_fsm.report.player import replay
from tests.support.hars import har_of
from tests.support.processes import BAD_DATA, DONE, ENVIRONMENT, NO_INPUT, NOT_DONE, USAGE

RECORDING = Path(__file__).parents[2] / "fixtures" / "recordings" / "0.3.64" / "socket-drop.jsonl.gz"


def run(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "replay", *arguments], cwd=folder, env=ENVIRONMENT, input=given, capture_output=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
    (tmp_path / "tab.har").write_text(json.dumps(har_of(lines)), encoding="utf-8")
    return tmp_path


def test_the_trace_that_is_written_is_judged_as_the_capture(folder: Path) -> None:
    done = run(folder, "import", "tab.har", "--output", "trace.jsonl")
    assert (done.returncode, done.stdout) == (DONE, b"")
    assert b"does not tell the close codes" in done.stderr
    reports = [json.loads(json_report.encode(replay(folder / name))) for name in ("trace.jsonl", "tab.har")]
    tasks = [[(task["prompt_id"], task["state"], task["outputs"]) for task in report["tasks"]] for report in reports]
    assert tasks[0] == tasks[1]
    assert not list(folder.glob("*.part"))


def test_a_capture_is_read_from_standard_input_and_written_to_standard_output(folder: Path) -> None:
    run(folder, "import", "tab.har", "-o", "trace.jsonl")
    done = run(folder, "import", "-", "-o", "-", given=(folder / "tab.har").read_bytes())
    assert done.returncode == DONE
    # the comments at the head name the file
    assert done.stdout.replace(b"# -:", b"# tab.har:") == (folder / "trace.jsonl").read_bytes()


def test_a_capture_that_breaks_off_is_written_as_far_as_it_goes_and_the_status_says_so(folder: Path) -> None:
    whole = (folder / "tab.har").read_bytes()
    (folder / "tab.har").write_bytes(whole[: len(whole) * 2 // 3])
    done = run(folder, "import", "tab.har", "-o", "trace.jsonl")
    assert done.returncode == NOT_DONE
    assert b"cut off or broken after" in done.stderr
    assert replay(folder / "trace.jsonl").tasks


@pytest.mark.parametrize(("arguments", "status", "word"), [
    (["import", "tab.har"], USAGE, b"output"),
    (["import", "tab.har", "-o", "tab.har"], USAGE, b"over the capture"),
    (["import", "none.har", "-o", "t"], NO_INPUT, b"none.har"),
    (["import", str(RECORDING), "-o", "t"], BAD_DATA, b"needs no import"),
    (["import", "tab.har", "-o", "no/such/folder/t"], NO_INPUT, b"no/such/folder"),
])  # fmt: skip
def test_what_cannot_be_imported_is_said(folder: Path, arguments: list[str], status: int, word: bytes) -> None:
    done = run(folder, *arguments)
    assert done.returncode == status
    assert word in done.stderr.lower() if word == b"output" else word in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_json_says_what_was_written_and_what_was_lost(folder: Path) -> None:
    done = run(folder, "import", "tab.har", "-o", "trace.jsonl", "--format", "json")
    assert (done.returncode, done.stderr) == (DONE, b"")
    told = json.loads(done.stdout)
    written = [line for line in (folder / "trace.jsonl").read_bytes().splitlines() if not line.startswith(b"#")]
    assert {name: told[name] for name in ("import", "from", "lines")} == {
        "import": 1, "from": "har", "lines": len(written),
    }  # fmt: skip
    assert any("close codes" in words for words in told["lost"])
    both = run(folder, "import", "tab.har", "-o", "-", "--format", "json")
    assert (both.returncode, both.stdout) == (USAGE, b"")
