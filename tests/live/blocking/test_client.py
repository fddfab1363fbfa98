"""Tests of the blocking client: the same outcomes, every wait ends, and no thread stays behind."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from msgspec.structs import replace

from comfy_fsm.errors import (
    BadServerUrl,
    BadWorkflow,
    ClientClosed,
    ClientError,
    NotALog,
    ServerUnreachable,
    TaskCancelled,
    TaskFailed,
)
from comfy_fsm.live.blocking.client import BlockingClient, BlockingTask
from comfy_fsm.testing import ThreadedFake
from replay import replay
from tests.support.stage import QUICK, graph

NOWHERE = "http://127.0.0.1:1"
LONG = 60.0  # seconds of a task that nobody waits for to the end
PATIENCE = 20.0  # seconds after which a wait that should have ended is a hang


def opened(server: ThreadedFake, log: Path | None = None) -> BlockingClient:
    return BlockingClient(server.url, log=log, policy=QUICK)


def failing(seed: int = 0) -> dict[str, Any]:
    nodes = graph(seed) | {"3": {"class_type": "FakeFail", "inputs": {"image": ["1", 0], "message": "no"}}}
    nodes["2"]["inputs"]["images"] = ["3", 0]
    return nodes


def until(condition: Callable[[], object]) -> None:
    latest = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.005)


def running(task: BlockingTask) -> bool:
    return task.state == "in_progress"


def refuses(client: BlockingClient) -> bool:
    try:
        client.call(asyncio.sleep(0))
    except ClientClosed:
        return True
    return False


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Any:
    """After each of these stories, those threads run that ran before; a callback's may be on its last line."""
    before = set(threading.enumerate())
    yield
    until(lambda: set(threading.enumerate()) <= before)


# what becomes of a task


def test_a_run_gives_the_result_and_its_files(fake_comfyui: ThreadedFake, comfy_log: Path, tmp_path: Path) -> None:
    with opened(fake_comfyui, comfy_log) as client:
        assert client.run(graph()).state == "completed"
        task = client.submit(graph(1))
        result = task.result()
        assert (result.state, result.prompt_id, task.state) == ("completed", task.prompt_id, "completed")
        saved = task.save_outputs(tmp_path)
        assert [path.parent for path in saved] == [tmp_path]
        assert saved[0].read_bytes().startswith(b"\x89PNG")
        assert task.save_outputs(tmp_path) != saved
    assert {str(told.state) for told in replay(comfy_log).tasks} == {"completed"}


def test_the_files_are_waited_for(fake_comfyui: ThreadedFake, tmp_path: Path) -> None:
    with opened(fake_comfyui) as client:
        assert len(client.submit(graph(seconds=0.3)).save_outputs(tmp_path)) == 1
        assert client.submit(failing()).save_outputs(tmp_path) == []


def test_a_timeout_ends_the_wait_and_not_the_task(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client:
        task = client.submit(graph(seconds=0.5))
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                task.result(timeout)
        assert task.result().state == "completed"
        assert task.result(timeout=0) == task.result(), "what is settled is told, however short the patience"
        assert fake_comfyui.runs == {task.prompt_id: 1}


def test_a_graph_that_fails_raises_task_failed_as_often_as_it_is_asked(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client:
        task = client.submit(failing())
        for _ in range(2):
            with pytest.raises(TaskFailed, match="RuntimeError: no") as failure:
                task.result()
            assert failure.value.prompt_id == task.prompt_id
        with pytest.raises(TaskFailed):
            client.run(failing(1))


@pytest.mark.parametrize("begun", [True, False])
def test_a_task_is_cancelled_and_says_so(fake_comfyui: ThreadedFake, begun: bool) -> None:
    with opened(fake_comfyui) as client:
        first = client.submit(graph(seconds=LONG))
        until(lambda: running(first))
        task = first if begun else client.submit(graph(1))
        assert task.cancel()
        with pytest.raises(TaskCancelled):
            task.result()
        assert running(first) is not begun


# whoever cannot be reached, or was given wrongly


def test_a_server_that_is_away_is_told_and_leaves_no_thread(comfy_log: Path) -> None:
    impatient = replace(QUICK, open_seconds=0.3)
    for _ in range(2):  # the second time proves that the log was let go
        with BlockingClient(NOWHERE, log=comfy_log, policy=impatient) as client:
            with pytest.raises(ServerUnreachable, match="nothing was submitted"):
                client.run(graph())
            with pytest.raises(BadWorkflow):
                client.run({})
    assert replay(comfy_log).tasks == []


def test_what_cannot_be_opened_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    other = tmp_path / "picture.png"
    other.write_bytes(b"\x89PNG" * 99)
    for client, error in [
        (BlockingClient("ftp://host"), BadServerUrl),
        (BlockingClient(NOWHERE, log=other), NotALog),
        (BlockingClient(NOWHERE, no_such_setting=1), TypeError),
    ]:
        with pytest.raises(error), client:
            pytest.fail("it was opened")
        with pytest.raises(ClientClosed):
            client.run(graph())


# when it is used


def test_before_it_is_entered_and_after_it_was_left_it_says_so_and_does_not_hang(fake_comfyui: ThreadedFake) -> None:
    client = opened(fake_comfyui)
    with pytest.raises(ClientClosed, match="is not open"):
        client.run(graph())
    with client:
        ended, going_on = client.submit(graph()), client.submit(graph(1, seconds=LONG))
        ended.result()
    for call in (lambda: client.run(graph(2)), going_on.result, going_on.cancel, lambda: going_on.save_outputs(".")):
        with pytest.raises(ClientClosed):
            call()
    assert (ended.state, going_on.prompt_id) == ("completed", going_on.prompt_id)
    assert fake_comfyui.posts.total() == 2


def test_it_is_entered_once(fake_comfyui: ThreadedFake) -> None:
    client = opened(fake_comfyui)
    with client:
        with pytest.raises(ClientError, match="entered once"):
            client.__enter__()
        assert client.run(graph()).state == "completed", "the second entry changed nothing"
    with pytest.raises(ClientError, match="entered once"):
        client.__enter__()
    client.__exit__()


def test_one_that_was_never_entered_holds_nothing() -> None:
    BlockingClient(NOWHERE)
    gc.collect()  # an unclosed loop would complain here, and a complaint is a failure


def test_what_was_raised_inside_goes_out_unchanged(fake_comfyui: ThreadedFake) -> None:
    def story() -> None:
        with opened(fake_comfyui) as client:
            client.submit(graph(seconds=LONG))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        story()


# by several threads


def test_many_threads_may_call_at_once(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda seed: client.run(graph(seed)), range(24)))
        assert {result.state for result in results} == {"completed"}
        assert fake_comfyui.runs == {result.prompt_id: 1 for result in results}
        task = client.submit(graph(99, seconds=0.2))
        assert len(set(pool.map(lambda _: task.result(), range(8)))) == 1


def test_whoever_waits_in_another_thread_is_told_when_it_is_left(fake_comfyui: ThreadedFake) -> None:
    with ThreadPoolExecutor(4) as pool:
        with opened(fake_comfyui) as client:
            task = client.submit(graph(seconds=LONG))
            waiting = [pool.submit(task.result) for _ in range(3)]
            waiting.append(pool.submit(client.call, asyncio.sleep(LONG)))
            with pytest.raises(TimeoutError):
                waiting[0].result(0.1)
        for each in waiting:
            with pytest.raises(ClientClosed):
                each.result(PATIENCE)


def test_calls_that_race_with_the_end_are_answered_or_refused(fake_comfyui: ThreadedFake) -> None:
    def call_on(client: BlockingClient) -> None:
        while not refuses(client):
            pass

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            with opened(fake_comfyui) as client:
                calling = [pool.submit(call_on, client) for _ in range(4)]
            for each in calling:
                each.result(PATIENCE)


# from its own callbacks


def test_a_function_as_callback_may_wait_since_it_has_a_thread_of_its_own(fake_comfyui: ThreadedFake) -> None:
    told: list[object] = []
    with opened(fake_comfyui) as client:
        first = client.submit(graph(), on_complete=lambda _: told.append(client.run(graph(1)).state))
        first.result()
        until(lambda: told)
    assert told == ["completed"]


def test_a_coroutine_as_callback_is_told_that_it_would_wait_for_itself(fake_comfyui: ThreadedFake) -> None:
    told: list[Exception] = []
    with opened(fake_comfyui) as client:
        slow = client.submit(graph(seconds=LONG))

        async def on_complete(_: object) -> None:
            for call in (slow.result, slow.cancel, lambda: client.run(graph(2))):
                try:
                    call()
                except Exception as error:
                    told.append(error)

        quick = client.submit(failing(1), front=True, on_complete=on_complete)
        slow.cancel()
        with pytest.raises(TaskFailed):
            quick.result(PATIENCE)
        until(lambda: len(told) == 3)
        assert client.run(graph(3)).state == "completed", "and its loop goes on"
    assert {type(error) for error in told} == {ClientError}
    assert "would wait here for itself" in str(told[0])


# Ctrl-C


def main_thread_waits() -> bool:
    """For the answer to a call of a client."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    functions = [each.f_code for each, _ in traceback.walk_stack(frame)]
    return functions[0].co_name == "wait" and BlockingClient.call.__code__ in functions


def interrupt(when: Callable[[], object]) -> threading.Thread:
    """Ctrl-C in the main thread, once this holds."""

    def work() -> None:
        until(when)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_ctrl_c_ends_the_wait_and_the_client_goes_on_until_it_is_left(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client:
        task = client.submit(graph(seconds=LONG))
        until(lambda: running(task))
        interrupting = interrupt(main_thread_waits)
        with pytest.raises(KeyboardInterrupt):
            task.result()
        interrupting.join()
        assert running(task)
        assert task.cancel()
        with pytest.raises(TaskCancelled):
            task.result()
        assert client.run(graph(1)).state == "completed"


def test_ctrl_c_while_it_is_left_hurries_nothing_and_the_thread_ends(
    fake_comfyui: ThreadedFake, comfy_log: Path
) -> None:
    held = threading.Event()
    client = opened(fake_comfyui, comfy_log)
    client.__enter__()
    client.submit(graph(), on_complete=lambda _: held.wait(PATIENCE)).result()  # leaving waits for this callback
    interrupting = interrupt(lambda: refuses(client))
    with pytest.raises(KeyboardInterrupt):
        client.__exit__()
    interrupting.join()
    held.set()
    client.__exit__()
    with opened(fake_comfyui, comfy_log) as again:
        assert again.run(graph(1)).state == "completed", "the log was let go"


class Interrupts:
    """Ctrl-C at the n-th line that runs where a client is entered and left, and again some lines later."""

    def __init__(self, first: int, again: int) -> None:
        self.left = [first, again] if again else [first]
        self._codes = {BlockingClient.__enter__.__code__, BlockingClient.__exit__.__code__}

    def __call__(self, frame: FrameType, event: str, _: object) -> "Interrupts | None":
        if frame.f_code not in self._codes:
            return None
        if event == "line" and self.left and frame.f_lineno != frame.f_code.co_firstlineno + 1:
            self.left[0] -= 1
            if not self.left[0]:
                del self.left[0]
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("again", [0, 1, 3, 6])
def test_ctrl_c_at_any_line_of_its_opening_leaves_no_thread_and_no_locked_log(
    fake_comfyui: ThreadedFake, tmp_path: Path, again: int
) -> None:
    for n in range(1, 100):
        client = opened(fake_comfyui, tmp_path / f"{n}.log")
        interrupts = Interrupts(n, again)
        sys.settrace(interrupts)
        try:
            client.__enter__()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if len(interrupts.left) > bool(again):
            client.__exit__()
            assert n > 5
            break  # so many lines there are not
        until(lambda: "comfy-fsm" not in {thread.name for thread in threading.enumerate()})
        with opened(fake_comfyui, tmp_path / f"{n}.log"):
            pass


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_while_its_thread_is_started_leaves_no_thread(
    fake_comfyui: ThreadedFake, comfy_log: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if begun or thread.name != "comfy-fsm":
            start(thread)
        if thread.name == "comfy-fsm":
            raise KeyboardInterrupt

    client = opened(fake_comfyui, comfy_log)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.__enter__()
    assert "comfy-fsm" not in {thread.name for thread in threading.enumerate()}
    with opened(fake_comfyui, comfy_log):
        pass


def test_it_may_be_closed_by_several_threads_at_once(fake_comfyui: ThreadedFake) -> None:
    client = opened(fake_comfyui)
    client.__enter__()
    with ThreadPoolExecutor(8) as pool:
        assert [closing.result() for closing in [pool.submit(client.close) for _ in range(8)]] == [None] * 8


PROGRAM = """
import signal, sys, threading
from comfy_fsm.live.blocking.client import BlockingClient
url, log, at = sys.argv[1:]
nodes = {"1": {"class_type": "FakeSleep", "inputs": {"seconds": 60}},
         "2": {"class_type": "FakeText", "inputs": {"text": "x", "source": ["1", 0]}}}
try:
    with BlockingClient(url, log=log) as client:
        if at == "result":
            task = client.submit(nodes)
            print("waiting", flush=True)
            task.result()
        else:
            print("waiting", flush=True)
            client.run(nodes)
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize("at", ["result", "run"])
def test_a_program_ends_in_order_on_ctrl_c(fake_comfyui: ThreadedFake, comfy_log: Path, at: str) -> None:
    words = [sys.executable, "-W", "error", "-c", PROGRAM, fake_comfyui.url, str(comfy_log), at]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "waiting\n"
        until(lambda: fake_comfyui.posts)
        program.send_signal(signal.SIGINT)
        said, complaints = program.communicate(timeout=PATIENCE)
    assert (said, complaints, program.returncode) == ("interrupted ['MainThread']\n", "", 0)
    assert len(replay(comfy_log).tasks) == 1
