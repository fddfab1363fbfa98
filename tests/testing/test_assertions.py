"""Tests of `assert_clean`: what passes, what does not, and that people can read why."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from comfy_fsm.core.findings import CODES
from comfy_fsm.testing import assert_clean
from tests.conftest import FIXTURES, Recording, find_recordings
from tests.support.pytest_runs import pytest_on

RECORDINGS = FIXTURES / "recordings" / "0.3.64"
SETTLED = ("completed", "failed", "cancelled", "rejected")
WRONG = {
    "socket-drop-unresolved": ("1 left in_progress", ["missing ", "next  "], ["in_progress"]),
    "server-killed": ("left lost", ["LOST", "next  "], ["lost"]),
    "wrong-server": ("2 × wrong-server", ["error wrong-server", "Ask only the server"], ["wrong-server"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_clean_fails_with_a_diagnosis_unless_it_is_allowed(name: str) -> None:
    headline, told, allowed = WRONG[name]
    path = RECORDINGS / f"{name}.jsonl.gz"
    with pytest.raises(AssertionError) as failed:
        assert_clean(path)
    first, *rest = str(failed.value).splitlines()
    assert first.startswith(f"{path} is not clean: ")
    assert headline in first
    assert [words for words in told if words not in "\n".join(rest)] == []
    assert_clean(path, allow=allowed)


@pytest.mark.parametrize("found", find_recordings()[::6], ids=str)
def test_a_recording_is_clean_when_all_is_decided_and_no_finding_is_an_error(found: Recording) -> None:
    decided = all(task["state"] in SETTLED for task in found.expected["tasks"].values())
    errors = [code for code in found.expected["findings"] if CODES[code].severity == "error"]
    with nullcontext() if decided and not errors else pytest.raises(AssertionError, match="is not clean"):
        assert_clean(found.trace)


def test_a_trace_that_shows_no_task_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="it shows no task, so nothing is proved"):
        assert_clean(['{"at": 0, "kind": "tick", "data": {}}'])


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        (["wrong-sever"], "did you mean 'wrong-server'"),
        ("wrong-server", r"give a list, \['wrong-server'\]"),
        ([""], "no code"),
    ],
)
def test_what_can_never_be_found_cannot_be_allowed(allow: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        assert_clean(RECORDINGS / "errors.jsonl.gz", allow=allow)


def test_pytest_shows_the_line_of_the_test_and_the_report(tmp_path: Path) -> None:
    trace = RECORDINGS / "wrong-server.jsonl.gz"
    code, said = pytest_on(
        tmp_path,
        test_theirs=f"from comfy_fsm.testing import assert_clean\ndef test_it(): assert_clean({str(trace)!r})\n",
    )
    assert code == 1
    assert ">   def test_it(): assert_clean(" in said
    assert "E   AssertionError: " in said
    assert "2 × wrong-server" in said
    assert "clean.py" not in said.partition("short test summary")[0], "our own lines are of no interest"
