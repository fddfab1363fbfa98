"""Tests of lies: none shorter than the grace makes a verdict, and none that honest counts contradict, however long.

A prompt waits at its server all the while, and its client looks for it as a client does, on a clock that only jumps.
Which answers lie, for how long, which are lost and how slow each is, dice say.
"""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm import Deliver, Entry, FetchHistory, LookAtQueue, State, read
from comfy_fsm.core.fold.absence import LONE
from tests.support.examples import law
from tests.support.one_prompt import POLICY, PROMPT, SERVER, WINDOW, Story

OTHERS = [f"e{n}000000-0000-4000-8000-000000000000" for n in range(3)]
SHOWING = ("queue", "jobs", "job")
"""What shows it while it waits; of these, any may lie by leaving it out, or by leaving out all that waits."""


class Lying(Story):
    """What waits there is PROMPT, behind so many of others; answered by the truth, by a lie, or not at all."""

    def __init__(self, dice: random.Random, lies: set[str], lasting: float) -> None:
        super().__init__()
        self.dice, self.lies = dice, lies
        self.others = OTHERS[: dice.choice((0, 0, 1, 3))]
        self.has_jobs, self.running = dice.random() < 0.6, dice.random() < 0.3
        self.socket = dice.choice(("hears", "deaf", "none"))
        self.lost = {kind: dice.choice((0.0, 0.0, 0.3, 0.8)) for kind in (*SHOWING, "count", "history")}
        self.slow = dice.choice((0.0, 0.1, 2.0))
        self.wishes: dict[type[Any], float] = {}
        self.counted = False
        if self.socket != "none":
            self.open()
        self.post()
        if self.socket == "hears":
            self.count(len(self.others) + 1)
        self.begins = self.at + dice.choice((0.0, 1.0, 6.0, 31.0))
        self.ends = self.begins + lasting

    def tell(self, kind: str, data: Any) -> None:
        self.position += 1
        line = {"at": self.at, "kind": kind, "data": data, "server": SERVER, "window": WINDOW}
        self.board.fold(Entry(self.position, read(json.dumps(line).encode())))
        for effect in self.board.drain():
            if isinstance(effect, Deliver):
                self.delivered.append(effect.result.state)
            elif isinstance(effect, LookAtQueue | FetchHistory):
                self.wishes[type(effect)] = min(effect.due, self.wishes.get(type(effect), effect.due))

    def question(self, kind: str, path: str) -> Any:
        """None where no answer came; what is answered is as it was when the server read the question."""
        self.asked += 1
        self.tell("http.request", {"id": f"r{self.asked}", "method": "GET", "path": path})
        answer = self.answer(kind, lying=kind in self.lies and self.begins <= self.at < self.ends)
        first = kind == "count" and not self.counted and self.lost["count"] < 1.0
        lost = not first and self.dice.random() < self.lost[kind]
        self.at = self.wall = self.at + (3.0 if lost else self.dice.uniform(0.0, self.slow))
        if lost:
            self.tell("http.error", {"id": f"r{self.asked}", "error": "ReadTimeout"})
            return None
        self.counted = self.counted or kind == "count"
        self.tell("http.response", {"id": f"r{self.asked}", **answer})
        return answer

    def answer(self, kind: str, *, lying: bool) -> dict[str, Any]:
        ours = [] if lying else [PROMPT]
        if kind == "history":
            return {"status": 200, "body": {}}
        if kind == "count":
            return {"status": 200, "body": {"exec_info": {"queue_remaining": len(self.others) + len(ours)}}}
        if kind == "job":
            job = {"id": PROMPT, "status": "in_progress" if self.running else "pending"}
            return {"status": 200, "body": job} if ours else {"status": 404, "body": {"error": "Job not found"}}
        running = ours if self.running else self.others[:1]
        pending = self.others if self.running else [*self.others[1:], *ours]
        if kind == "queue":
            rows = [[[1, name, {}, {}, []] for name in names] for names in (running, pending)]
            return {"status": 200, "body": {"queue_running": rows[0], "queue_pending": rows[1]}}
        jobs = [{"id": name, "status": "in_progress"} for name in running]
        jobs += [{"id": name, "status": "pending"} for name in pending]
        return {"status": 200, "body": {"jobs": jobs, "pagination": {"has_more": False}}}

    def look(self, **_: Any) -> Lying:
        """As a client looks: the job alone at first; then the list, the count, and the job or its record."""
        (task,) = self.board.tasks
        if self.has_jobs and not task.inquiry.rounds:
            return self.fetch()
        listed = self.question("jobs", "/api/jobs?status=pending,in_progress") if self.has_jobs else None
        listed = listed or self.question("queue", "/queue")
        if listed is None:
            self.wishes[LookAtQueue] = self.at + 1.0
        elif PROMPT not in str(listed["body"]):
            self.question("count", "/prompt")
            self.fetch()
        return self

    def fetch(self) -> Lying:
        if not self.has_jobs or self.question("job", f"/api/jobs/{PROMPT}") is None:
            self.question("history", f"/history/{PROMPT}")
        return self

    def live(self, seconds: float) -> None:
        end = self.at + seconds
        while (now := max(self.at, min(self.board.due, *self.wishes.values(), end))) < end:
            self.at = self.wall = now
            due = [kind for kind, at in self.wishes.items() if at <= now]
            if not due:
                self.tell("tick", {})
            for kind in due:
                del self.wishes[kind]
                self.look() if kind is LookAtQueue else self.fetch()


def told(dice: random.Random, lies: set[str], lasting: float, **given: Any) -> Lying:
    story = Lying(dice, lies, lasting)
    for name, value in given.items():
        setattr(story, name, value)
    story.wishes[LookAtQueue] = story.begins  # somebody looks as soon as the lies begin
    story.live(story.ends - story.at + 60)
    return story


@law
@given(st.integers(0, 2**32))
def test_no_lie_of_all_answers_together_that_is_shorter_than_the_grace_makes_a_verdict(seed: int) -> None:
    dice = random.Random(seed)
    lies = {kind for kind in (*SHOWING, "count") if dice.random() < 0.8}
    story = told(dice, lies, dice.uniform(0.0, POLICY.absence_seconds))
    assert (story.state, story.delivered) in ((State.PENDING, []), (State.IN_PROGRESS, []))


@law
@given(st.integers(0, 2**32))
def test_no_lie_that_an_honest_count_contradicts_makes_a_verdict_however_long_and_however_seldom_it_is_answered(
    seed: int,
) -> None:
    dice = random.Random(seed)
    story = told(dice, {kind for kind in SHOWING if dice.random() < 0.8}, dice.uniform(0.0, 120.0))
    assert (story.state, story.delivered) in ((State.PENDING, []), (State.IN_PROGRESS, []))


@law
@given(st.integers(0, 2**32))
def test_where_nothing_counts_no_lie_makes_a_verdict_that_is_shorter_than_a_lone_absence_must_last(seed: int) -> None:
    dice = random.Random(seed)
    lasting = dice.uniform(0.0, LONE * POLICY.absence_seconds)
    uncounted = dict.fromkeys((*SHOWING, "history"), dice.choice((0.0, 0.4))) | {"count": 1.0}
    story = told(dice, {*SHOWING}, lasting, lost=uncounted)
    assert (story.state, story.delivered) in ((State.PENDING, []), (State.IN_PROGRESS, []))


def test_what_waits_no_more_is_concluded_all_the_same_and_nobody_is_told_that_it_is_safe() -> None:
    """The laws hold of a client that concludes: of one that never did, they would hold, too."""
    ended = [told(random.Random(seed), {*SHOWING, "count"}, 200.0) for seed in range(60)]
    assert sum(story.delivered == ["cancelled"] for story in ended) >= 20
    assert all(task.concluded for story in ended for task in story.board.tasks if story.delivered)
