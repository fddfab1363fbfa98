"""Tests of the scheduler, in numbers alone: distance from the best plan, turns, capacity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.scheduling.scheduler import Scheduler, ServerLoad
from tests.support.makespans import brute_force, dispatched, workload

SEEDS = range(60)


# how good


@pytest.mark.parametrize("seed", SEEDS)
def test_with_known_durations_it_is_within_a_tenth_of_the_best_static_assignment(seed: int) -> None:
    sizes, paces = workload(seed, (4, 9))
    assert dispatched(sizes, paces, known=True) <= 1.1 * brute_force(sizes, paces) + 1e-9


# whose turn


JOBS = st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 1000), st.sampled_from("abc")), min_size=1, max_size=30)


@given(JOBS, st.sampled_from([0.0, 10.0]))
def test_the_order_is_of_priority_and_age_and_nobody_is_overtaken_beyond_the_bound(
    drawn: list[tuple[float, float, str]], length: float
) -> None:
    scheduler = Scheduler([ServerLoad("one", capacity=100)], ageing_seconds=60, round_seconds=length)
    jobs = [Job(str(n), priority, graph, at, n) for n, (priority, at, graph) in enumerate(drawn, 1)]
    for job in jobs:
        scheduler.wait(job)
    order = []
    while (chosen := scheduler.next(1000.0)) is not None:
        order.append(chosen[0])
    assert len(order) == len(jobs)
    levels = [scheduler.level(job) for job in order]
    assert levels == sorted(levels)
    for earlier, later in ((order[a], order[b]) for a in range(len(order)) for b in range(a)):
        # `later` was placed first: it must not have come too much later, however high it is.
        assert later.at - earlier.at <= (later.priority - earlier.priority) * 60 + length + 1e-6


@given(st.lists(st.sampled_from(["next", "end", "fail", "answer", "accept", "drain"]), max_size=60))
def test_a_server_never_holds_more_than_it_may(acts: list[str]) -> None:
    place = ServerLoad("one", capacity=2)
    scheduler = Scheduler([place])
    for number in range(60):
        scheduler.wait(Job(str(number), 0.0, "", 0.0, number))
    for now, act in enumerate(acts):
        if act == "next":
            may, held = place.breaker.room(2) if not place.drained else 0, len(place.jobs)
            assert (scheduler.next(now) is not None) is (held < may)
        elif act == "end" and place.jobs:
            scheduler.end(next(iter(place.jobs)), "one", now)
        elif act == "drain":
            place.drained = not place.drained
        elif act in ("fail", "answer"):
            getattr(place.breaker, act)(now)
        elif act == "accept":
            place.breaker.accept()
        assert len(place.jobs) <= 2


def test_a_job_that_comes_back_has_its_old_turn_and_one_that_is_withdrawn_has_none() -> None:
    scheduler = Scheduler([ServerLoad("one", capacity=9)])
    for number in range(4):
        scheduler.wait(Job(str(number), 0.0, "", 0.0, number))
    job, _ = scheduler.next(0.0) or pytest.fail("nothing was placed")
    scheduler.end(job.prompt_id, "one", 0.0)
    scheduler.wait(job)
    scheduler.withdraw("2")
    order = []
    while (chosen := scheduler.next(0.0)) is not None:
        order.append(chosen[0].prompt_id)
    assert order == ["0", "1", "3"]


def test_it_does_not_wait_for_ever_for_a_faster_server_that_never_ends() -> None:
    scheduler = Scheduler([ServerLoad("fast", capacity=1), ServerLoad("slow", capacity=1)])
    scheduler.durations.learn("g", "fast", 1.0)
    scheduler.durations.learn("g", "slow", 10.0)
    for number in range(2):
        scheduler.wait(Job(str(number), 0.0, "g", 0.0, number))
    assert scheduler.next(0.0) is not None
    assert scheduler.next(0.0) is None  # the fast one will be done with both long before
    waits = next(now for now in range(100) if scheduler.next(float(now)) is not None)
    assert waits <= 15


def test_a_server_that_has_the_models_is_preferred_unless_it_costs_more_than_the_factor() -> None:
    for busy, chosen in ((0.0, "warm"), (3.0, "cold")):
        warm, cold = ServerLoad("warm"), ServerLoad("cold")
        scheduler = Scheduler([cold, warm], affinity=1.25)
        for url in ("warm", "cold"):
            scheduler.durations.learn("g", url, 4.0)
        warm.warm.append("g")
        if busy:
            warm.begin("other", busy, "h", 0.0)
        scheduler.wait(Job("1", 0.0, "g", 0.0, 1))
        assert (scheduler.next(0.0) or pytest.fail("nothing"))[1].url == chosen


@pytest.mark.parametrize(("seconds", "placed"), [(5.0, True), (100.0, False)])
def test_of_many_jobs_one_goes_to_a_slow_server_only_if_all_would_take_longer_at_best(
    seconds: float, placed: bool
) -> None:
    scheduler = Scheduler([ServerLoad("fast", capacity=1), ServerLoad("slow", capacity=1)])
    scheduler.durations.learn("g", "fast", 1.0)
    scheduler.durations.learn("g", "slow", seconds)
    for number in range(20):
        scheduler.wait(Job(str(number), 0.0, "g", 0.0, number))
    first = scheduler.next(0.0)
    assert first is not None
    assert first[1].url == "fast"
    assert (scheduler.next(0.0) is not None) is placed


def test_a_server_that_is_not_among_the_places_ends_nothing() -> None:
    scheduler = Scheduler([ServerLoad("one", capacity=1)])
    scheduler.wait(Job("1", 0.0, "g", 0.0, 1))
    assert scheduler.next(0.0) is not None
    scheduler.end("1", "two", 1.0)
    scheduler.end("2", "one", 1.0)
    assert list(scheduler.loads["one"].jobs) == ["1"]


def test_a_job_that_does_not_wait_is_withdrawn_in_vain() -> None:
    scheduler = Scheduler([ServerLoad("one")])
    scheduler.withdraw("1")
    assert len(scheduler) == 0


def test_a_graph_that_is_warm_already_pushes_no_other_out() -> None:
    place = ServerLoad("one")
    for number, graph in enumerate("abcdd"):
        place.begin(str(number), 1.0, graph, 0.0)
    assert list(place.warm) == ["a", "b", "c", "d"]


def test_a_server_is_idle_once_it_has_no_job_and_none_waits() -> None:
    server = ServerLoad("one", capacity=1)
    scheduler = Scheduler([server])
    assert scheduler.is_idle(server)
    for prompt_id in ("first", "second"):
        scheduler.wait(Job(prompt_id, 0.0, "", 0.0, 1))
    assert not scheduler.is_idle(server)
    while (chosen := scheduler.next(0.0)) is not None:
        assert not scheduler.is_idle(server)
        scheduler.end(chosen[0].prompt_id, server.url, 1.0)
    assert scheduler.is_idle(server)


def test_another_server_could_take_the_jobs_of_one_only_if_it_is_usable() -> None:
    one, two = ServerLoad("one", capacity=1), ServerLoad("two", capacity=1)
    assert not Scheduler([one]).has_other(one)
    assert Scheduler([one, two]).has_other(one)
    two.drained = True
    assert not Scheduler([one, two]).has_other(one)
