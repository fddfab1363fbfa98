"""How many examples a costly property draws."""

from __future__ import annotations

from hypothesis import settings

law = settings(max_examples=max(200, settings().max_examples))
"""Twice as many as elsewhere, for what must hold of every run: what it still found came after the first hundred."""
few = settings(max_examples=settings().max_examples // 4)
"""A quarter of what others draw, and of many in a long run: for properties whose examples are whole traces."""
