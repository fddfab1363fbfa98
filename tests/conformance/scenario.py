"""What a scenario is: a sentence, the facts that it shows, and the versions for which they hold."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.conformance.protocol import Server

Play = Callable[[Server], Awaitable[None]]


class Scenario(NamedTuple):
    """One function to play against a server, by whose name it goes."""

    play: Play
    facts: tuple[str, ...]
    since: str

    def __str__(self) -> str:
        return self.play.__name__

    @property
    def sentence(self) -> str:
        words = self.play.__name__.replace("_", " ")
        return words[0].upper() + words[1:]

    def holds(self, version: str) -> bool:
        return age(version) >= age(self.since)


SCENARIOS: list[Scenario] = []


def scenario(*facts: str, since: str = "") -> Callable[[Play], Play]:
    """Enters a function in the list; `since` is the first version for which it holds, by default any."""

    def enter(play: Play) -> Play:
        SCENARIOS.append(Scenario(play, facts, since))
        return play

    return enter


def age(version: str) -> tuple[int, ...]:
    """A version to compare by; one without a number, as servers before January 2025 have none, is older than all."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()
