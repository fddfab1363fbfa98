"""Tests of the tiers of silence: when the board wants to query, warns and expires, with a clock that is only
numbers.
"""

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfy_fsm import Board, FetchHistory, LookAtQueue, Policy, State, Warn, read
from comfy_fsm.core.policy import DEFAULT
from tests.support.one_prompt import OneTask

SERVER, WINDOW, PROMPT = "http://s", "w", "c0000000-0000-4000-8000-000000000000"
CHECK, WARN, EXPIRE, DEADLINE = 30.0, 120.0, 300.0, 30.0
STEP = 1.0  # seconds between two ticks


class Watch(OneTask):
    """A task that runs, and a client that ticks and asks; `answering` servers say each time that it still runs."""

    def __init__(self, at: float = 0.0, policy: Policy = DEFAULT) -> None:
        self.board = Board(policy)
        self.at, self.position = at, 0
        self.looked: list[float] = []
        self.fetched: list[float] = []
        self.warned: list[float] = []
        body = f'{{"prompt_id":"{PROMPT}","client_id":"{WINDOW}"}}'
        self._tell("http.request", f'{{"id":"p","method":"POST","path":"/prompt","body":{body}}}')
        self._tell("http.response", f'{{"id":"p","status":200,"body":{{"prompt_id":"{PROMPT}"}}}}')
        self._tell("ws.open", "{}")

    def _tell(self, kind: str, data: str) -> None:
        self.position += 1
        line = f'{{"at":{self.at},"kind":"{kind}","server":"{SERVER}","window":"{WINDOW}","data":{data}}}'
        self.board.fold_observation(self.position, read(line.encode()))

    def progress(self) -> None:
        data = f'{{"node":"1","value":1,"max":9,"prompt_id":"{PROMPT}"}}'
        self._tell("ws.message", f'{{"type":"progress","data":{data}}}')

    def tick_when_due(self) -> None:
        """Tick at once where a tick is overdue."""
        self.at = max(self.at, self.board.due)
        self._tell("tick", "{}")

    def wait(self, seconds: float, answering: bool) -> None:
        until = self.at + seconds
        while self.at < until:
            self.at = min(self.at + STEP, until)
            self._tell("tick", "{}")
            for effect in self.board.drain():
                if isinstance(effect, LookAtQueue):
                    self.looked.append(self.at)
                    if answering:
                        self._tell("http.request", f'{{"id":"q{self.position}","method":"GET","path":"/queue"}}')
                        body = f'{{"running":["{PROMPT}"],"pending":[]}}'
                        self._tell("http.response", f'{{"id":"q{self.position - 1}","status":200,"body":{body}}}')
                elif isinstance(effect, FetchHistory):
                    self.fetched.append(self.at)
                elif isinstance(effect, Warn):
                    self.warned.append(self.at)


def test_silence_is_looked_into_then_warned_of_then_given_up() -> None:
    watch = Watch()
    watch.wait(CHECK - 1, answering=False)
    assert not watch.looked
    watch.wait(2, answering=False)
    assert len(watch.looked) == 1
    assert "silence" in watch.codes
    watch.wait(WARN - CHECK, answering=False)
    assert watch.warned
    watch.wait(EXPIRE - WARN - 3, answering=False)
    assert watch.state is not State.EXPIRED
    watch.wait(CHECK, answering=False)
    assert watch.state is State.EXPIRED


def test_a_server_that_says_that_it_runs_is_a_sign_of_life_each_time() -> None:
    watch = Watch()
    watch.wait(3_600, answering=True)
    assert watch.state is State.IN_PROGRESS
    assert not watch.warned
    gaps = [later - sooner for sooner, later in zip(watch.looked, watch.looked[1:], strict=False)]
    assert max(gaps) <= CHECK + 2 * STEP


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=8))
def test_after_every_sign_of_life_the_next_look_is_one_check_away(story: list[tuple[int, bool]]) -> None:
    watch = Watch()
    for silence, answering in story:
        watch.progress()
        sign, before = watch.at, len(watch.looked)
        watch.wait(silence, answering)
        looked = watch.looked[before:]
        assert bool(looked) is (silence > CHECK + STEP) or CHECK <= silence <= CHECK + 2 * STEP
        if looked:
            assert CHECK <= looked[0] - sign <= CHECK + 2 * STEP


@given(st.floats(0, 2.0**32), st.floats(10.0, 60.0))
@example(1014.420919485042, 30.0)  # the sum of the two, less the first, is less than the second
def test_a_silent_task_is_due_again_until_it_is_given_up_however_times_are_rounded(at: float, check: float) -> None:
    watch = Watch(at, Policy(check_seconds=check))
    watch.at += check  # nobody ticked until then
    for _ in range(200):
        watch.tick_when_due()
        assert math.isfinite(watch.board.due) or watch.state is State.EXPIRED
    assert watch.state is State.EXPIRED


@pytest.mark.parametrize("rate", [1, 10, 29])
def test_whoever_speaks_is_not_asked(rate: int) -> None:
    watch = Watch()
    for _ in range(600 // rate):
        watch.progress()
        watch.wait(rate, answering=True)
    assert not watch.looked


@given(st.floats(0.0, 29.0))
def test_a_queue_that_is_still_being_read_is_no_silence(before: float) -> None:
    """One of many megabytes comes late, and then says that the prompt runs."""
    watch = Watch()
    watch.wait(EXPIRE - before - 1, answering=False)
    watch._tell("http.request", '{"id":"long","method":"GET","path":"/queue"}')
    watch.wait(DEADLINE - 2, answering=False)
    assert watch.state is not State.EXPIRED
    body = f'{{"running":["{PROMPT}"],"pending":[]}}'
    watch._tell("http.response", f'{{"id":"long","status":200,"body":{body}}}')
    watch.wait(CHECK, answering=False)
    assert watch.state is not State.EXPIRED


def test_a_queue_that_never_comes_holds_up_no_end() -> None:
    watch = Watch()
    watch.wait(EXPIRE - 2, answering=False)
    watch._tell("http.request", '{"id":"long","method":"GET","path":"/queue"}')
    watch.wait(DEADLINE + 5, answering=False)
    assert watch.state is State.EXPIRED


@given(st.floats(1.0, DEADLINE))
def test_nor_do_queues_that_are_asked_for_again_and_again(pause: float) -> None:
    watch = Watch()
    while watch.at < EXPIRE + 2 * DEADLINE:
        watch._tell("http.request", f'{{"id":"q{watch.position}","method":"GET","path":"/queue"}}')
        watch.wait(pause, answering=False)
    assert watch.state is State.EXPIRED


def test_while_a_queue_is_being_read_its_record_is_fetched_again_and_again() -> None:
    watch = Watch()
    watch.wait(CHECK - STEP, answering=False)
    watch._tell("http.request", f'{{"id":"q{watch.position}","method":"GET","path":"/queue"}}')
    watch.wait(EXPIRE, answering=False)
    later = [at for at in watch.fetched if at > CHECK]
    assert later
    assert max(b - a for a, b in itertools.pairwise(later)) <= 2 * CHECK + STEP
