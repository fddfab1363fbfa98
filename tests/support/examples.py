"""How many examples a costly property draws."""

from __future__ import annotations

from hypothesis import settings

few = settings(max_examples=settings().max_examples // 4)
"""A quarter of what others draw, and of many in a long run: for properties whose examples are whole traces."""
