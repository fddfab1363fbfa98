"""Tests of exit statuses: each kind of error has one, and what it says names who is at fault."""

import pytest

from comfy_fsm import errors, exits
from comfy_fsm.exits import BAD_DATA, BY_SIGNAL, NO_INPUT, OUR_FAULT, UNREACHABLE, USAGE, Unavailable, Wrong, ended

ENDS = [
    (Wrong("use it so"), USAGE), (errors.BadServerUrl("x"), USAGE), (errors.UnknownTask("x"), USAGE),
    (errors.BadWorkflow("x"), BAD_DATA), (errors.NotALog("x"), BAD_DATA), (errors.NotATrace("x"), BAD_DATA),
    (errors.ServerUnreachable("x", "http://one"), UNREACHABLE), (Unavailable("x"), UNREACHABLE),
    (FileNotFoundError(2, "No such file or directory", "a.jsonl"), NO_INPUT),
    (MemoryError(), OUR_FAULT), (errors.InvariantBroken("x"), OUR_FAULT), (ZeroDivisionError("x"), OUR_FAULT),
]  # fmt: skip


def failing(error: BaseException) -> tuple[int, list[str]]:
    said: list[str] = []

    def command() -> int:
        raise error

    return ended(command, said.append, "trace"), said


@pytest.mark.parametrize(("error", "status"), ENDS, ids=lambda value: type(value).__name__)
def test_each_error_ends_the_command_with_its_status_and_one_line(error: Exception, status: int) -> None:
    found, said = failing(error)
    assert found == status
    assert len(said) == 1
    assert ("please report it, with the trace" in said[0] or "the trace, and please report" in said[0]) is (
        status == OUR_FAULT
    )


def test_a_file_that_cannot_be_opened_is_named() -> None:
    assert failing(FileNotFoundError(2, "No such file or directory", "a.jsonl"))[1] == [
        "a.jsonl: No such file or directory"
    ]


def test_ctrl_c_ends_it_by_that_signal_without_a_word() -> None:
    assert failing(KeyboardInterrupt()) == (BY_SIGNAL + 2, [])


def test_what_ends_well_ends_with_its_own_status() -> None:
    assert [ended(lambda status=status: status, pytest.fail, "trace") for status in range(4)] == [0, 1, 2, 3]


def test_no_two_kinds_of_end_share_a_status() -> None:
    kinds = [value for name in exits.__all__ if isinstance(value := getattr(exits, name), int)]
    assert len(set(kinds)) == len(kinds)
