"""Definition of a scenario: a sentence, the facts that it shows, and the versions for which they hold."""

import re
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import NamedTuple

from tests.conformance.protocol import Server

Play = Callable[[Server], Awaitable[None]]


class Scenario(NamedTuple):
    """One function to play against a server, by whose name it goes."""

    play: Play
    facts: tuple[str, ...]
    since: str
    until: str = ""

    def __str__(self) -> str:
        return self.play.__name__

    @property
    def sentence(self) -> str:
        words = self.play.__name__.replace("_", " ")
        return words[0].upper() + words[1:]

    def holds(self, version: str) -> bool:
        return age(version) >= age(self.since) and not (self.until and age(version) >= age(self.until))


def scenario(*facts: str, since: str = "", until: str = "") -> Callable[[Play], Scenario]:
    """Makes a scenario of a function; `since` is the first version for which it holds, `until` the first after."""
    return lambda play: Scenario(play, facts, since, until)


def scenarios_of(room: ModuleType) -> list[Scenario]:
    """All of a module, in their order."""
    return [value for value in vars(room).values() if isinstance(value, Scenario)]


def age(version: str) -> tuple[int, ...]:
    """A version to compare by: dates, then numbers, then `latest`; a server that tells none comes before all."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        return (0, 0, *map(int, version.split("-")))
    if version == "latest":
        return (1000,)
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()
