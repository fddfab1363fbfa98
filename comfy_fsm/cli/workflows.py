"""Complaints about workflow files that are not in plain API format."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from comfy_fsm.workflow.files import Order

__all__ = ["complain_of_oddities"]


def complain_of_oddities(orders: Iterable[Order], say: Callable[[str], None]) -> None:
    """Print one line for each file that was not simply a workflow."""
    for order in orders:
        if order.told:
            say(f"{order.name}: {'; '.join(order.told)}")
