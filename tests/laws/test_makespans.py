"""Makespans: our scheduler against simpler ways to place jobs, on the same workloads."""

from __future__ import annotations

import statistics

from tests.support.makespans import dispatched, least_queue, round_robin, simple, workload

SEEDS = range(60)


def test_while_it_learns_it_is_ahead_of_round_robin_and_of_least_queue_on_the_same_workloads() -> None:
    days = [workload(seed, (40, 200)) for seed in SEEDS]
    ours = [dispatched(sizes, paces, known=False) for sizes, paces in days]
    turns = [simple(sizes, paces, round_robin) for sizes, paces in days]
    fewest = [least_queue(sizes, paces) for sizes, paces in days]
    assert statistics.mean(a / b for a, b in zip(ours, turns, strict=True)) < 0.8
    assert statistics.mean(a / b for a, b in zip(ours, fewest, strict=True)) < 1.0
    assert sum(a <= b for a, b in zip(ours, turns, strict=True)) == len(days)


def test_once_it_has_learned_it_is_ahead_of_least_queue_on_every_workload_or_as_good() -> None:
    for sizes, paces in (workload(seed, (40, 200)) for seed in SEEDS):
        assert dispatched(sizes, paces, known=True) <= least_queue(sizes, paces) * 1.01
