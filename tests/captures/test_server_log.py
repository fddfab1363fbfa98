"""ComfyUI's own log: what it tells is told, in any wrapping, and nothing that it does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_fsm.captures.detection import form_of
from comfy_fsm.core.machine import State
from comfy_fsm.report.player import Replay, replay

LOG = """\
Total VRAM 24106 MB, total RAM 24106 MB
Starting server

To see the GUI go to: http://127.0.0.1:8188
got prompt
100%|██████████| 20/20 [00:01<00:00, 15.1it/s]
Prompt executed in 1.95 seconds
got prompt
got prompt
got prompt
Failed to validate prompt for output 9:
* SaveImage 9:
  - Required input is missing: images
Output will be ignored
invalid prompt: {'type': 'prompt_outputs_failed_validation', 'message': 'Prompt outputs failed validation'}
!!! Exception during processing !!! Allocation on device
Traceback (most recent call last):
  File "execution.py", line 496, in execute
torch.OutOfMemoryError: Allocation on device

Got an OOM, unloading all loaded models.
Prompt executed in 00:10:05
Processing interrupted
Prompt executed in 0.90 seconds
"""
RESTART = """\
got prompt
Starting server

To see the GUI go to: http://127.0.0.1:8188
got prompt
Prompt executed in 0.10 seconds
"""


def bare(number: int, line: str) -> str:
    return line


def stamped(number: int, line: str) -> str:
    return f"[2026-11-29 17:00:{number:02}.250] {line}"


def by_logger(number: int, line: str) -> str:
    return f"[2026-11-29 17:00:{number:02},250] [INFO] {line}"


def coloured(number: int, line: str) -> str:
    return f"\x1b[32m[INFO]\x1b[0m \x1b[32m{line}\x1b[0m"


def in_a_container(number: int, line: str) -> str:
    return f"comfyui-1  | 2026-11-29T17:00:{number:02}.250000Z {line}"


def by_a_service(number: int, line: str) -> str:
    return f"Nov 29 17:00:{number:02} host python[4711]: {line}"


WRAPPINGS = [bare, stamped, by_logger, coloured, in_a_container, by_a_service]


def judged(text: str, folder: Path) -> Replay:
    path = folder / "comfyui.log"
    path.write_text(text, encoding="utf-8")
    return replay(path)


def wrapped(text: str, wrap: object) -> str:
    return "".join(f"{wrap(number, line)}\n" for number, line in enumerate(text.splitlines()))


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_each_prompt_is_told_with_what_is_known_of_its_end(wrap: object, tmp_path: Path) -> None:
    found = judged(wrapped(LOG, wrap), tmp_path)
    told = {task.prompt_id: (task.state, task.stated, task.confidence) for task in found.tasks}
    assert told == {
        "prompt-1": (State.ENDING, None, None),
        "prompt-2": (State.ENDING, State.FAILED, "stated"),
        "prompt-3": (State.ENDING, State.CANCELLED, "stated"),
        "prompt-4": (State.REJECTED, State.REJECTED, "verified"),
    }
    failed = next(task for task in found.tasks if task.prompt_id == "prompt-2")
    assert (failed.error.type, failed.error.message) == ("torch.OutOfMemoryError", "Allocation on device")
    assert {task.server for task in found.tasks} == {"http://127.0.0.1:8188"}
    assert not [finding for finding in found.findings if finding.severity == "error"]


@pytest.mark.parametrize("wrap", [stamped, by_logger, in_a_container])
def test_times_are_those_of_the_lines(wrap: object, tmp_path: Path) -> None:
    found = judged(wrapped(LOG, wrap), tmp_path)
    first = next(task for task in found.tasks if task.prompt_id == "prompt-1")
    assert first.ended_at == 1_795_971_606.25
    assert not [note for note in found.notes if "no line has a time" in note]


def test_what_waited_at_a_restart_is_undecided_and_told_as_lost(tmp_path: Path) -> None:
    found = judged(LOG + RESTART, tmp_path)
    states = {task.prompt_id: task.state for task in found.tasks}
    assert states["prompt-5"] is State.UNCERTAIN
    assert states["prompt-6"] is State.ENDING
    assert any("its queue was lost, with 1 prompt that waited or ran" in note for note in found.notes)


def test_a_log_without_its_beginning_tells_which_runs_it_cannot_name(tmp_path: Path) -> None:
    found = judged("Prompt executed in 1.00 seconds\ngot prompt\nPrompt executed in 2.00 seconds\n", tmp_path)
    assert [task.state for task in found.tasks] == [State.ENDING]
    assert any("1 run ended that began before the log" in note for note in found.notes)


def test_what_it_cannot_tell_is_told_once(tmp_path: Path) -> None:
    notes = judged(LOG, tmp_path).notes
    assert len([note for note in notes if "names none" in note]) == 1
    assert any("of no success" in note for note in notes)


@pytest.mark.parametrize(
    "head",
    [
        b'{"kind":"tick","at":1}\n# got prompt\n',
        b'{"type":"status","data":{}}\n',
        b"# got prompt\n",
        b"I got prompt answers\n",
    ],
)
def test_what_only_mentions_its_words_is_no_log_of_comfyui(head: bytes) -> None:
    assert form_of(head) != "server-log"


def test_any_bytes_between_the_words_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "comfyui.log"
    noise = b"\xff\xfe\x00" * 1_000 + b"\r\r" + b"\x1b[" * 50
    path.write_bytes(b"got prompt\n" + noise + b"\nPrompt executed in 1.0 seconds\n" + noise)
    assert [task.state for task in replay(path).tasks] == [State.ENDING]
