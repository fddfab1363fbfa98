"""Fixtures: clients poll as often as their quick policy wants."""

from tests.support.pulse import pulse

__all__ = ["pulse"]
