"""Faults between a client and a ComfyUI, each a rule for the proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.proxy import Answer, Cut, Exchange, FrameRule, Go, Payload, Proxy, Rule, Wire, kind_of

PAGE = b"<!doctype html><title>Please sign in</title><h1>Please sign in</h1>"
ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})
LOOKS = ("GET /queue", "GET /history", "GET /jobs")
QUEUES = ("GET /queue", "GET /jobs")
RECORDS = ("GET /history", "GET /jobs")
"""Servers since 0.6.0 tell both of a queue and of records by their jobs, so that whoever lies must lie there, too."""
WAITING, RUNNING, ENDED = "pending", "in_progress", ("completed", "failed", "cancelled")
_PARTS = {"queue_pending": WAITING, "queue_running": RUNNING}


def on(
    routes: str | Sequence[str], rule: Rule, *, times: int | None = None, when: Callable[[], object] | None = None
) -> Rule:
    """The rule at these routes alone, `*` for all; so many times, or for as long as it is so; its `hits` count."""
    wanted = (routes,) if isinstance(routes, str) else routes
    left = [times]

    async def told(exchange: Exchange, go: Go) -> Answer:
        hit = "*" in wanted or exchange.route in wanted
        if not hit or left[0] == 0 or (when is not None and not when()):
            return await go(exchange)
        if left[0] is not None:
            left[0] -= 1
        exchange.spared = False
        told.hits += 1
        answer = await rule(exchange, go)
        told.hits -= exchange.spared
        return answer

    told.hits = 0
    return told


# of an exchange


async def lost(_exchange: Exchange, _go: Go) -> Answer:
    """It never reaches the server."""
    raise Cut


async def unanswered(exchange: Exchange, go: Go) -> Answer:
    """The server does it, and nobody is told."""
    await go(exchange)
    raise Cut


async def hanging(_exchange: Exchange, _go: Go) -> Answer:
    """It is taken, not handed on, and never answered."""
    await asyncio.Event().wait()
    raise Cut


async def hanging_after(exchange: Exchange, go: Go) -> Answer:
    """The server does it; the answer never comes, and the connection stays open."""
    await go(exchange)
    await asyncio.Event().wait()
    raise Cut


def slow(seconds: float) -> Rule:
    """The answer comes late."""

    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        await asyncio.sleep(seconds)
        return answer

    return rule


def held(seconds: float) -> Rule:
    """It reaches the server late, whether its client still waits or not."""

    async def rule(exchange: Exchange, go: Go) -> Answer:
        await asyncio.sleep(seconds)
        return await go(exchange)

    return rule


def cut_then_done(proxy: Proxy, seconds: float) -> Rule:
    """The connection is cut at once, and what was asked reaches the server later."""

    async def rule(exchange: Exchange, go: Go) -> Answer:
        proxy.later(seconds, exchange, go)
        raise Cut

    return rule


def says(status: int, body: bytes = b"", kind: str = "text/html", **headers: str) -> Rule:
    """An answer that the server never gave; `Retry_After="2"` is a header."""

    async def rule(_exchange: Exchange, _go: Go) -> Answer:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(status, body, {"Content-Type": kind} | told)

    return rule


def done_but_says(status: int, body: bytes = b"", **headers: str) -> Rule:
    """The server does it, and something on the way answers otherwise."""
    answered = says(status, body, **headers)

    async def rule(exchange: Exchange, go: Go) -> Answer:
        await go(exchange)
        return await answered(exchange, go)

    return rule


def edited(change: Callable[[str, Any], Any]) -> Rule:
    """The server's JSON, changed on its way, by its route; a job of which nothing is left was never there."""

    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        before = answer.json if answer.status == 200 else None
        after = change(exchange.route, before) if answer.status == 200 else None
        exchange.spared = after == before
        if exchange.spared:
            return answer
        if after is None:
            return Answer(404, b'{"error": "Job not found"}', {"Content-Type": "application/json; charset=utf-8"})
        return answer._replace(body=json.dumps(after).encode())

    return rule


def each_job(told: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any] | None:
    """A job, or a page of them, with each changed; None takes it away."""
    if "jobs" not in told:
        return change(told)
    jobs = [job for job in map(change, told["jobs"]) if job is not None]
    return told | {"jobs": jobs, "pagination": told["pagination"] | {"total": len(jobs)}}


def hides(*statuses: str) -> Rule:
    """Prompts of such statuses are in no answer to a look: not in the queue, no record, no job."""

    def change(route: str, told: Any) -> Any:
        match route:
            case "GET /queue":
                return {part: [] if _PARTS[part] in statuses else rows for part, rows in told.items()}
            case "GET /history":
                return {} if {*ENDED} & {*statuses} else told
        return each_job(told, lambda job: None if job["status"] in statuses else job)

    return edited(change)


async def halved(exchange: Exchange, go: Go) -> Answer:
    """Half of the answer, and the connection is cut."""
    return (await go(exchange))._replace(part=0.5)


def halved_records(times: int) -> Rule:
    """So it goes with the first answers that tell of an end."""
    left = [times]

    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        told = answer.json if answer.status == 200 else {}
        over = told.get("status") in ENDED if "status" in told else exchange.route == "GET /history" and told
        exchange.spared = not over or not left[0]
        left[0] -= not exchange.spared
        return answer if exchange.spared else answer._replace(part=0.5)

    return rule


EMPTY_QUEUE = hides(WAITING, RUNNING)
NO_PENDING = hides(WAITING)
NO_RECORD = hides(*ENDED)
NOTHING = hides(WAITING, RUNNING, *ENDED)


# of frames


def dropped(kinds: Callable[[str], bool], when: Callable[[], object] | None = None) -> FrameRule:
    async def rule(_wire: Wire, frame: Payload, _arrived: float) -> Sequence[Payload]:
        gone = kinds(kind_of(frame)) and (when is None or bool(when()))
        rule.hits += gone
        return [] if gone else [frame]

    rule.hits = 0
    return rule


def delayed(seconds: float) -> FrameRule:
    async def rule(_wire: Wire, frame: Payload, arrived: float) -> Sequence[Payload]:
        await asyncio.sleep(max(arrived + seconds - asyncio.get_running_loop().time(), 0.0))
        return [frame]

    return rule


def held_until(event: asyncio.Event) -> FrameRule:
    """None passes before, then all at once."""

    async def rule(_wire: Wire, frame: Payload, _arrived: float) -> Sequence[Payload]:
        await event.wait()
        return [frame]

    return rule


async def doubled(_wire: Wire, frame: Payload, _arrived: float) -> Sequence[Payload]:
    return [frame, frame]


def cut_after(kind: str) -> FrameRule:
    """The socket that tells this is cut then, and tells nothing more."""

    async def rule(wire: Wire, frame: Payload, _arrived: float) -> Sequence[Payload]:
        if wire in gone:
            return []
        if kind_of(frame) == kind and not gone:
            rule.hits += 1
            gone.append(wire)
            asyncio.get_running_loop().call_later(0.02, wire.cut)
        return [frame]

    gone: list[Wire] = []
    rule.hits = 0
    return rule


def everything(_kind: str) -> bool:
    return True


def executions(kind: str) -> bool:
    """What tells of prompts; `status` and `feature_flags` pass."""
    return kind not in ("status", "feature_flags")


def ends(kind: str) -> bool:
    """What tells that a prompt ended; `progress_state` and `executed` would let it be concluded."""
    return kind in ENDS or kind in ("executing", "executed", "progress_state")
