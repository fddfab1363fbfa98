"""Tests of the errors: the tree is the one that is drawn, and each says who is at fault and whether to try again."""

import pickle
import re

import pytest

from comfy_fsm import errors
from comfy_fsm.core.effects import Failure, Result
from comfy_fsm.core.machine import State
from comfy_fsm.errors import ComfyFsmError, TaskError

EVERY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ComfyFsmError)]
OF_TASKS = [each for each in EVERY if issubclass(each, TaskError)]


def result(**settled: object) -> Result:
    told = {
        "server": "http://one:8188",
        "window": "w",
        "prompt_id": "p",
        "state": State.FAILED,
        "outputs": (),
    } | settled
    return Result(**{name: value for name, value in told.items() if name in Result.__struct_fields__})


def test_the_tree_that_is_drawn_is_the_tree_of_classes() -> None:
    drawn, above = {}, list[str]()
    for indent, name in re.findall(r"^    ([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE):
        del above[len(indent) // 4 :]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    assert drawn == {each.__name__: each.__base__.__name__ for each in EVERY if each.__base__ is not None}


def test_each_error_that_is_raised_names_who_is_at_fault() -> None:
    named = re.findall(r"(\w+) .*\(fault: \S", errors.__doc__ or "")
    assert set(named) == {each.__name__ for each in EVERY if not each.__subclasses__()} | {"LogWriteFailed"}


@pytest.mark.parametrize("error", OF_TASKS)
def test_an_error_of_a_task_goes_to_another_process_and_back(error: type[TaskError]) -> None:
    raised = error(result(error=Failure(type="E", message="out of memory")))
    back = pickle.loads(pickle.dumps(raised))
    assert (type(back), str(back), back.result) == (error, str(raised), raised.result)
    assert (back.server, back.prompt_id) == ("http://one:8188", "p")


@pytest.mark.parametrize("error", OF_TASKS)
def test_what_is_only_concluded_is_never_called_safe_to_try_again(error: type[TaskError]) -> None:
    concluded = error(result(confidence="inferred", accepted=True, concluded=True))
    assert not concluded.safe_to_retry


@pytest.mark.parametrize("error", OF_TASKS)
def test_what_a_server_says_is_cut_short(error: type[TaskError]) -> None:
    raised = error(result(error=Failure(type="E", message="x" * 100_000)))
    assert len(str(raised)) < 2 * errors.MAX_TOLD
