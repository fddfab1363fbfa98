"""Check: what was looked at, what was found, and the cure where it is not well."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Check", "Level"]

Level = Literal["ok", "warning", "problem"]
"""`problem`: something will not work; `warning`: it works, and something is lost or weaker than it could be."""


class Check(Struct, frozen=True):
    """Result of one check, about one subject."""

    subject: str
    level: Level
    found: str
    cure: str = ""
