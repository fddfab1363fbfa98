"""Tests of the fuzz targets without the fuzzer, on their seeds and neighbours of these."""

import random

import pytest

from fuzz.targets import TARGETS, mutated, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_fed_nothing_but_a_documented_error_comes_of_it(name: str) -> None:
    dice, first = random.Random(7), list(seeds(name))[:60]
    for content in first + [mutated(dice.choice(first), dice) for _ in range(150)]:
        TARGETS[name](content)


def test_a_target_that_raises_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.targets.harmless", str)
    with pytest.raises(AssertionError):
        TARGETS["terminal"](b"\x1b[2J")
