"""Scenarios about answers to queries, and the network to the server."""

from __future__ import annotations

import asyncio
import json

from tests.faults import troubles
from tests.faults.proxy import Answer, Exchange, Go
from tests.faults.rig import Rig, scenario
from tests.faults.troubles import (
    ENDED,
    LOOKS,
    PAGE,
    QUEUES,
    RECORDS,
    RUNNING,
    dropped,
    ends,
    everything,
    executions,
    on,
    says,
)

COMPLETES = "it runs, and completes"


@scenario("/history hangs for 60 s; the socket has told of the end", COMPLETES, "completed", within=35)
async def history_hangs(rig: Rig) -> None:
    hung = asyncio.Event()
    rig.proxy.rules.append(on(RECORDS, troubles.hanging, when=lambda: not hung.is_set()))
    await rig.submit()
    await rig.over()
    await rig.sleep(60)
    hung.set()


@scenario("every look hangs for good; the socket has told of the end", COMPLETES, "completed", kind="L")
async def nothing_answers_after_the_end(rig: Rig) -> None:
    rig.proxy.rules.append(on(LOOKS, troubles.hanging))
    await rig.submit()


@scenario("every look is answered 502 for 20 s, no frame tells of the end", COMPLETES, "completed", within=5)
async def looks_answered_502(rig: Rig) -> None:
    mended: list[bool] = []
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(LOOKS, says(502, b"<h1>502</h1>"), when=lambda: not mended))
    await rig.submit()
    await rig.over()
    await rig.sleep(20)
    mended.append(True)
    rig.known()


@scenario("a login page answers every look for 60 s, no frame is heard", COMPLETES, "completed")
async def login_page_for_looks(rig: Rig) -> None:
    mended: list[bool] = []
    rig.proxy.frame_rules.append(dropped(everything))
    rig.proxy.rules.append(on(LOOKS, says(200, PAGE), when=lambda: not mended))
    await rig.submit()
    await rig.sleep(60)
    mended.append(True)
    rig.known()


@scenario("the record is cut half-way three times, no frame tells of the end", COMPLETES, "completed", within=10)
async def history_cut(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(RECORDS, troubles.halved_records(3)))
    await rig.submit()


@scenario("every answer takes 6 s, no frame tells of the end", COMPLETES, "completed", within=20)
async def answers_are_slow(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on("*", troubles.slow(6 * rig.scale)))
    await rig.submit()


@scenario("429 with Retry-After 4 to five looks, no frame tells of the end", COMPLETES, "completed")
async def looks_answered_429(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(LOOKS, says(429, Retry_After=rig.retry_after(4)), times=5))
    await rig.submit()


@scenario("nobody can reach the server for 5 minutes; it ran meanwhile", COMPLETES, "completed", within=35, limit=700)
async def outage_of_five_minutes(rig: Rig) -> None:
    await rig.submit(10)
    await rig.ran()
    await rig.proxy.refuse()
    await rig.sleep(310)
    await rig.proxy.admit()
    rig.known()


@scenario("nobody can reach the server for 40 s, and it still runs then", COMPLETES, "completed", within=5)
async def outage_of_forty_seconds(rig: Rig) -> None:
    await rig.submit(60)
    await rig.ran()
    await rig.proxy.refuse()
    await rig.sleep(40)
    await rig.proxy.admit()


@scenario("the server is restarted while it runs, and forgets all", "it is gone", "lost", clears=True)
async def restart_forgets_what_runs(rig: Rig) -> None:
    await rig.submit(60)
    await rig.ran()
    await rig.proxy.refuse()
    await rig.server.forget()
    rig.known()
    await rig.sleep(3)
    await rig.proxy.admit()


@scenario("the server is restarted while it waits, and forgets all", "it is gone", "lost", runs=0, clears=True)
async def restart_forgets_what_waits(rig: Rig) -> None:
    await rig.server.stranger(rig.truth.tag, 60 * rig.scale)
    await rig.submit()
    await rig.sleep(3)
    await rig.proxy.refuse()
    await rig.server.forget()
    rig.known()
    await rig.sleep(3)
    await rig.proxy.admit()


def _stuffed(megabytes: int) -> troubles.Rule:
    """Rows of others with their pictures in them, before our own; in a job alone, where no others are, its graph."""
    node = json.dumps({"class_type": "Load", "inputs": {"image": "A" * 2**20}})
    row = f'[0, "of-another", {{"1": {node}}}, {{}}, ["1"]]'
    job = f'{{"id": "of-another", "status": "in_progress", "preview_output": {node}}}'
    graph = ", ".join(f'"{number}": {node}' for number in range(megabytes))

    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        told = answer.json if answer.status == 200 else {}
        part, other = ("queue_running", row) if exchange.route == "GET /queue" else ("jobs", job)
        exchange.spared = part not in told and told.get("status") != RUNNING
        if exchange.spared:
            return answer
        rest = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in told.items() if key != part)
        if part not in told:
            return answer._replace(body=f'{{"workflow": {{"prompt": {{{graph}}}}}, {rest}}}'.encode())
        rows = ", ".join([*([other] * megabytes), *(json.dumps(each) for each in told[part])])
        return answer._replace(body=f"{{{json.dumps(part)}: [{rows}], {rest}}}".encode())

    return rule


@scenario("/queue holds 80 MB of others while it runs, for longer than the last tier; no execution frame is heard",
          COMPLETES, "completed", kind="L", heavy=True, deadline_seconds=300.0, warn_seconds=40.0,
          expire_seconds=60.0)  # fmt: skip
async def queue_of_80_mb(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(executions))
    rig.proxy.rules.append(on(QUEUES, _stuffed(80), when=lambda: not rig.truth.ended))
    await rig.submit(80)


def _heavy(megabytes: int) -> troubles.Rule:
    """Our own record, with that much in its graph."""
    node = '{"class_type": "Load", "inputs": {"image": "' + "A" * (megabytes * 2**20) + '"}}'

    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        told = answer.json if answer.status == 200 else {}
        workflows = [record["prompt"] for record in told.values()] if exchange.route == "GET /history" else []
        graphs = [workflow[2] for workflow in workflows]
        graphs += [told["workflow"]["prompt"]] if told.get("status") in ENDED else []
        exchange.spared = not graphs
        for graph in graphs:
            graph["heavy"] = "here"
        return answer._replace(body=json.dumps(told).replace('"here"', node).encode()) if graphs else answer

    return rule


@scenario("its own record has 70 MB; the socket has told of the end", COMPLETES, "completed", kind="L", heavy=True)
async def record_of_70_mb(rig: Rig) -> None:
    rig.proxy.rules.append(on(RECORDS, _heavy(70)))
    await rig.submit()
