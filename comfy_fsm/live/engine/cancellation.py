"""Cancellation of one prompt, by means of its server that cannot hit another prompt."""

from __future__ import annotations

from msgspec import Raw

from comfy_fsm.core.wire import bodies, codec
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.transport import requests

__all__ = ["cancel"]


async def cancel(exchange: Exchange, prompt_id: str, window: str) -> bool:
    """Request it; False if the server says that there was nothing to cancel, or nothing could be sent."""
    if await exchange.cancels_jobs():
        answer = await exchange.send(requests.cancel_job(prompt_id), window)
        told = codec.body(Raw(answer.body), bodies.Cancelled) if answer is not None and answer.status == 200 else None
        return told is not None and told.cancelled
    await exchange.detect_features()  # a task that an earlier process left is of a server that this one has not met
    # First out of the queue, then what runs: what starts in between is hit all the same, and neither minds the other.
    asked = [await exchange.send(requests.delete([prompt_id]), window)]
    if exchange.interrupts_by_id:
        asked.append(await exchange.send(requests.interrupt(prompt_id), window))
    else:  # it would hit whatever runs, whoever owns it (P31)
        await exchange.send(requests.queue(), window)
    return any(answer is not None and answer.status == 200 for answer in asked)
