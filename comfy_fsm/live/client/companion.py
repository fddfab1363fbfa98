"""Companions: what runs beside a client and observes its entries, such as endpoints, alerts and spans."""

from __future__ import annotations

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.task import Task

__all__ = ["Companion"]


class Companion:
    """Companion of a client, given to `Client.accompany`; an exception ends the companion alone."""

    def observe(self, observation: AnyObservation) -> None:
        """Take an entry that was committed and folded. Must be quick: whoever wrote it waits."""

    def submitted(self, task: Task) -> None:
        """Take a task that was just posted; called in the context in which the application called `submit`."""

    async def run(self) -> None:
        """Run until the client is closed, which cancels this."""
