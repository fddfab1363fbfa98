"""Law that a task moves to another server on proof alone, against a slow and obvious model, whatever is commanded.

One prompt, bound to ONE. What really has it is drawn; so is who asks whom, in what order, and what is commanded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core.effects import Deliver
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import FINAL, SETTLED, State
from comfy_fsm.core.observations import Entry
from comfy_fsm.core.policy import Policy
from comfy_fsm.testing.profiles import profile_of
from comfy_fsm.testing.strategies.scripted import PROMPTS, SERVERS, WINDOWS, Script
from tests.support.examples import law
from tests.support.folding import facts

ONE, TWO = SERVERS
PROMPT, WINDOW = PROMPTS[0], WINDOWS[0]
NEWEST = profile_of("0.3.64")


class Step(NamedTuple):
    """One act: a look at a server, a command about one, or time that passes."""

    name: str
    server: str = ONE

    def __repr__(self) -> str:
        return f"{self.name} {'one' if self.server == ONE else 'two'}"


# The ways that a recovery takes come often, so that they are completed now and then; all else comes in between.
ROUND = [Step("queue"), Step("history")]
SOUGHT = [Step("seek", TWO), Step("queue", TWO), Step("history", TWO)]
LOST = [*ROUND, *ROUND, Step("tick")]
pieces = st.one_of(
    st.sampled_from(
        [ROUND, LOST, SOUGHT, [*SOUGHT, Step("adopt", TWO)], [Step("recover"), *LOST], [Step("adopt", TWO)],
         [Step("queue", TWO), Step("history", TWO)]]
    ),
    st.builds(Step, st.sampled_from(("queue", "history", "seek", "adopt", "recover", "tick")), st.sampled_from(SERVERS))
    .map(lambda step: [step]),
)  # fmt: skip
stories = st.lists(pieces, min_size=1, max_size=10).map(lambda found: [step for piece in found for step in piece])
truths = st.fixed_dictionaries(
    {server: st.sampled_from(("nothing", "nothing", "running", "record")) for server in SERVERS}
)


class Told:
    """A story as observations, each with what the world had at that moment."""

    def __init__(self, steps: list[Step], truth: dict[str, str]) -> None:
        self.script = Script(NEWEST)
        self.truth = truth
        posted = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": PROMPT}
        accepted = {"prompt_id": PROMPT, "number": 1, "node_errors": {}}
        self.script.ask("POST", "/prompt", WINDOW, ONE, posted, 200, accepted)
        self.script.ask("GET", "/queue", WINDOW, ONE, None, 200, {"running": [PROMPT], "pending": []})
        self.starts = []
        for step in steps:
            self.starts.append(len(self.script.seen))
            getattr(self, f"_{step.name}")(step.server)
        self.starts.append(len(self.script.seen))

    def _queue(self, server: str) -> None:
        listed = [PROMPT] if self.truth[server] == "running" else []
        self.script.ask("GET", "/queue", WINDOW, server, None, 200, {"running": listed, "pending": []})

    def _history(self, server: str) -> None:
        status = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
        record: dict[str, Any] = {"prompt": [1, PROMPT, {}, {}, ["1"]], "outputs": {}, "status": status}
        found = {PROMPT: record} if self.truth[server] == "record" else {}
        self.script.ask("GET", f"/history/{PROMPT}", WINDOW, server, None, 200, found)

    def _tick(self, _: str) -> None:
        self.script.add("tick", None, None, {})

    def _command(self, name: str, to: str | None) -> None:
        data = {"name": name, "prompt_id": PROMPT} | ({"to": to} if to else {})
        self.script.add("command", None, None, data)

    def _seek(self, server: str) -> None:
        self._command("seek", server)

    def _adopt(self, server: str) -> None:
        self._command("adopt", server)

    def _recover(self, _: str) -> None:
        self._command("recover", None)


class Model:
    """What a careful clerk would note: where it is bound, what is proved, whom one may ask."""

    def __init__(self, truth: dict[str, str]) -> None:
        self.truth, self.home, self.final = truth, ONE, False
        self.rounds, self.listed_since = 0, False
        self.lost = False
        self.may_ask: dict[str, bool] = {}
        self.wrong = False

    def take(self, step: Step) -> None:
        getattr(self, f"_{step.name}")(step.server)

    def _queue(self, server: str) -> None:
        running = self.truth[server] == "running"
        if server == self.home:
            self.listed_since = not running
            if running and not self.lost:
                self.rounds = 0
        elif running and server in self.may_ask:
            self.may_ask[server] = True
        elif running:
            self.wrong = True

    def _history(self, server: str) -> None:
        found = self.truth[server] == "record"
        if server == self.home:
            if found:
                self.final = self.final or not self.lost
            elif self.listed_since and not self.final and not self.lost:
                self.rounds, self.listed_since = self.rounds + 1, False
                self.lost = self.rounds >= 2
        elif server not in self.may_ask:
            self.wrong = True
        elif found:
            self.may_ask[server] = True
        elif not self.may_ask[server]:
            del self.may_ask[server]

    def _tick(self, _: str) -> None:
        pass

    def _seek(self, server: str) -> None:
        if server != self.home and not self.final:
            self.may_ask[server] = False

    def _adopt(self, server: str) -> None:
        if self.may_ask.get(server) and self.lost and not self.final:
            self.home, self.listed_since = server, False
            self._open()

    def _recover(self, _: str) -> None:
        if self.lost:
            self._open()

    def _open(self) -> None:
        self.lost, self.rounds, self.may_ask = False, 0, {}


@law
@given(stories, truths)
def test_a_task_is_bound_elsewhere_exactly_when_a_clerk_would_say_that_it_is_proved(
    steps: list[Step], truth: dict[str, str]
) -> None:
    told, model, board = Told(steps, truth), Model(truth), Board(Policy(absence_seconds=0))
    position = 0
    for step, end in zip([None, *steps], told.starts, strict=True):
        for o in told.script.seen[position:end]:
            position += 1
            board.fold(Entry(position, o))
        if step is not None:
            model.take(step)
        (task,) = board.tasks
        assert task.server == model.home, step
        assert (task.state in FINAL) == model.final, step
        assert (task.state is State.LOST) == model.lost, step
    assert ("wrong-server" in {finding.code for finding in board.findings}) == model.wrong


@law
@given(stories, truths)
def test_a_decision_is_delivered_once_and_once_again_only_after_it_was_reopened(
    steps: list[Step], truth: dict[str, str]
) -> None:
    board, delivered, settled = Board(), 0, 0
    before: State | None = None
    for position, o in enumerate(Told(steps, truth).script.seen, 1):
        board.fold(Entry(position, o))
        delivered += sum(isinstance(effect, Deliver) for effect in board.drain())
        (task,) = board.tasks
        settled += task.state in SETTLED and before not in SETTLED
        before = task.state
    assert delivered == settled


@law
@given(stories, truths, st.data())
def test_a_recovery_that_is_cut_off_anywhere_and_folded_on_ends_as_the_whole(
    steps: list[Step], truth: dict[str, str], data: st.DataObject
) -> None:
    seen = Told(steps, truth).script.seen
    cut = data.draw(st.integers(0, len(seen)), label="cut")
    whole, halves = Board(), Board()
    for position, o in enumerate(seen, 1):
        whole.fold(Entry(position, o))
        if position == cut:
            halves = Board()  # refolded from its entries, as after a restart
            for at, earlier in enumerate(seen[: position - 1], 1):
                halves.fold(Entry(at, earlier))
        halves.fold(Entry(position, o))
        halves.fold(Entry(position, o))  # and told twice
    assert facts(halves.tasks) == facts(whole.tasks)


def test_the_stories_come_to_an_adoption_often_enough_to_prove_something() -> None:
    def adopts(steps: list[Step]) -> bool:
        truth = {ONE: "nothing", TWO: "record"}
        board = Board()
        for position, o in enumerate(Told(steps, truth).script.seen, 1):
            board.fold(Entry(position, o))
        return board.tasks[0].server == TWO

    found = 0

    @settings(max_examples=200, database=None, derandomize=True)
    @given(stories)
    def count(steps: list[Step]) -> None:
        nonlocal found
        found += adopts(steps)

    count()
    assert found >= 10
