"""Clients of these tests look at the clock as often as their quick policy wants."""

from tests.support.pulse import pulse

__all__ = ["pulse"]
