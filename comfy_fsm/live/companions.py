"""What may run beside a client and see what it sees: endpoints, alerts and spans."""

from __future__ import annotations

from comfy_fsm.core.observations import AnyObservation


class Companion:
    """Given to `Client.accompany`; what it raises ends it alone."""

    def hear(self, observation: AnyObservation) -> None:
        """An observation was committed and folded. Must be quick: whoever wrote it waits."""

    async def run(self) -> None:
        """Whatever it does meanwhile, until it is cancelled when the client is closed."""
