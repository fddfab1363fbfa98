"""Scenarios about queues and histories that hide, lie, forget, or belong to another server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from comfy_fsm.log import reader
from replay import replay
from tests.faults.proxy import Exchange
from tests.faults.rig import Rig, scenario
from tests.faults.troubles import (
    EMPTY_QUEUE,
    ENDED,
    NO_PENDING,
    NO_RECORD,
    QUEUES,
    RECORDS,
    RUNNING,
    dropped,
    each_job,
    edited,
    ends,
    everything,
    executions,
    on,
)

COMPLETES = "it runs, and completes"
WAITS = "it waits, then runs, and completes"


@scenario("/queue hides what waits for 20 s, while it waits for a prompt of somebody else", WAITS, "completed")
async def queue_hides_what_waits(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on(QUEUES, NO_PENDING, when=lambda: bool(hidden)))
    other = await rig.server.stranger(rig.truth.tag, 600 * rig.scale)
    await rig.submit()
    await rig.sleep(20)
    await rig.met()
    hidden.clear()
    await rig.sleep(5)
    await rig.server.interrupt(other)


@scenario("the same for 60 s, and no frame is heard", WAITS, "completed")
async def queue_hides_what_waits_for_long(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(executions))
    rig.proxy.rules.append(on(QUEUES, NO_PENDING, when=lambda: bool(hidden)))
    other = await rig.server.stranger(rig.truth.tag, 600 * rig.scale)
    await rig.submit()
    await rig.sleep(60)
    await rig.met()
    hidden.clear()
    await rig.sleep(5)
    await rig.server.interrupt(other)


@scenario("/queue hides everything for 10 s in mid-run, the socket is deaf", COMPLETES, "completed")
async def queue_hides_what_runs(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(everything))
    rig.proxy.rules.append(on(QUEUES, EMPTY_QUEUE, when=lambda: bool(hidden)))
    await rig.submit(15)
    await rig.sleep(10)
    await rig.met()
    hidden.clear()


@scenario("the record is hidden for 10 s after the end, which was told", COMPLETES, "completed")
async def record_hidden_after_the_end(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on(RECORDS, NO_RECORD, when=lambda: bool(hidden)))
    await rig.submit()
    await rig.over()
    await rig.sleep(10)
    await rig.met()
    hidden.clear()


@scenario("the record is hidden for 8 s after the end, which was not told", COMPLETES, "completed lost")
async def record_hidden_and_no_end_told(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(RECORDS, NO_RECORD, when=lambda: bool(hidden)))
    await rig.submit()
    await rig.over()
    await rig.sleep(8)
    await rig.met()
    hidden.clear()
    rig.known()


@scenario("/history gives the record of another prompt for 10 s, no frame tells of the end", COMPLETES, "completed")
async def record_of_another(rig: Rig) -> None:
    lying = [True]

    def other(route: str, told: dict[str, Any]) -> Any:
        if route == "GET /history":
            return {f"other-{key}": value for key, value in told.items()}
        return each_job(told, lambda job: job | {"id": f"other-{job['id']}"} if job["status"] in ENDED else job)

    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(RECORDS, edited(other), when=lambda: bool(lying)))
    await rig.submit()
    await rig.over()
    await rig.sleep(10)
    await rig.met()
    lying.clear()
    rig.known()


@scenario("/queue lists it as running for 20 s after its end, its record comes late; no frame tells of the end",
          COMPLETES, "completed")  # fmt: skip
async def queue_lists_what_is_over(rig: Rig) -> None:
    stale: list[Any] = []
    jobs: dict[str, dict[str, Any]] = {}

    def remember(route: str, told: dict[str, Any]) -> Any:
        if route != "GET /queue":
            jobs.update({job["id"]: job for job in told.get("jobs", [told]) if job["status"] == RUNNING})
            told = each_job(told, lambda job: jobs.get(job["id"], job)) or told
            listed = {job["id"] for job in told.get("jobs", ())}
            gone = [job for prompt_id, job in jobs.items() if prompt_id not in listed]
            return told | ({"jobs": [*told["jobs"], *gone]} if "jobs" in told else {})
        if told["queue_running"]:
            stale[:] = told["queue_running"]
        return told | {"queue_running": [*stale]}

    rig.proxy.frame_rules.append(dropped(ends))
    over: list[str] = []
    late = on("GET /history", NO_RECORD, when=lambda: not over)
    late.hits = 1  # who asks for jobs does not ask for it
    rig.proxy.rules += [late, on(QUEUES, edited(remember), when=lambda: len(over) < 2)]
    await rig.submit(8)
    await rig.ran()
    for path in ("/queue", "/api/jobs"):
        async with rig.server.http.get(rig.proxy.url + path) as answer:  # what is to be told later
            await answer.read()
    await rig.over()
    await rig.sleep(5)
    await rig.met()
    over.append("its record is there")
    rig.known()
    await rig.sleep(15)
    over.append("and the queue is right")
    if jobs:
        rig.known()  # a job that is said to run has no other record


@scenario("two prompts, of which the first is listed as running for six minutes; no frame is heard", COMPLETES,
          "completed", runs=2, limit=700)  # fmt: skip
async def listed_as_running_for_long(rig: Rig) -> None:
    """How long is told by `diagnose`, and it grows, however many looks there were."""
    rig.proxy.frame_rules.append(dropped(everything))
    window = rig.client.window()
    first = await rig.submit(380, window=window)
    await rig.ran()
    await rig.submit(2, window=window)
    spans = []
    for seconds in (160, 180):
        await rig.sleep(seconds)
        listed = rig.client.board.server(rig.proxy.url).running.get(first.prompt_id)
        spans.append((listed[1].at - listed[0].at) / rig.scale if listed is not None else 0.0)
    rig.note = f"listed as running for {spans[0]:.0f} s, then for {spans[1]:.0f} s"
    if not spans[0] < spans[1] or spans[1] < 240:
        rig.wrong.append(rig.note)
    if not any("listed as running" in told.says.text for told in rig.client.diagnose()):
        rig.wrong.append("nothing tells what the second one waits for")


# balancers


def in_turn(number: int, _exchange: Exchange | None) -> int:
    """Whoever asks is sent to the next server."""
    return number % 2


def apart(_number: int, exchange: Exchange | None) -> int:
    """POSTs and sockets go to one server, looks to the other."""
    return int(exchange is not None and exchange.method == "GET")


def history_apart(_number: int, exchange: Exchange | None) -> int:
    """Queue and history are of different servers."""
    return int(exchange is not None and exchange.route in RECORDS)


@scenario("a balancer without cookies sends each request to one of two servers in turn", COMPLETES, "completed",
          servers=2, choose=in_turn)  # fmt: skip
async def balancer_in_turn(rig: Rig) -> None:
    await rig.submit(10)


@scenario("the same, and no execution frame is heard", COMPLETES, "completed lost expired",
          final="completed lost expired", servers=2, choose=in_turn)  # fmt: skip
async def balancer_in_turn_without_frames(rig: Rig) -> None:
    rig.proxy.frame_rules.append(unheard := dropped(executions))
    await rig.submit(10)
    unheard.hits = 1  # by chance the socket is of the other server, and brings none


@scenario("a balancer sends POSTs and sockets to one server, looks to another", COMPLETES, "completed",
          servers=2, choose=apart)  # fmt: skip
async def looks_at_another_server(rig: Rig) -> None:
    await rig.submit(10)


@scenario("the same, while it waits for 30 s behind a prompt of somebody else", WAITS, "completed",
          servers=2, choose=apart)  # fmt: skip
async def looks_at_another_server_while_it_waits(rig: Rig) -> None:
    await rig.server.stranger(rig.truth.tag, 30 * rig.scale)
    await rig.submit()


@scenario("a balancer asks the queue of one server and the history of another; no frame tells of the end", COMPLETES,
          "completed lost expired", final="completed lost expired", servers=2, choose=history_apart)  # fmt: skip
async def history_of_another_server(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    await rig.submit(10)


# times


@scenario("a recorder that writes times in milliseconds: the log of a run, replayed so", COMPLETES, "completed")
async def times_in_milliseconds(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    await rig.submit()
    await rig.until(rig.settled)
    await rig.client.close()
    trace = rig.folder / "milliseconds.jsonl"
    with trace.open("wb") as file:
        for line in [json.loads(record.line or b"{}") for record in reader.read(str(rig.log))]:
            file.write(json.dumps(line | {"at": line["at"] * 1000.0}).encode() + b"\n")
    again = replay(trace)
    if [str(task.state) for task in again.tasks] != ["completed"]:
        rig.wrong.append(f"read as {[str(task.state) for task in again.tasks]}")
    if "time-unit" not in {finding.code for finding in again.findings}:
        rig.wrong.append("the unit of the times is not told")


# what somebody else does


@scenario("somebody deletes it while it waits; all frames pass", "it was deleted", "cancelled", runs=0, within=5)
async def deleted_while_it_waits(rig: Rig) -> None:
    await rig.server.stranger(rig.truth.tag, 90 * rig.scale)
    task = await rig.submit()
    await rig.sleep(8)
    await rig.server.delete(task.prompt_id)
    rig.known()


@scenario("somebody interrupts it; no frame tells of the end", "it was cancelled", "cancelled", within=5)
async def interrupted_and_not_told(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(lambda kind: kind not in ("status", "executing") or kind == "executing"))
    task = await rig.submit(60)
    await rig.ran()
    await rig.sleep(2)
    await rig.server.interrupt(task.prompt_id)


@scenario("its record is deleted as soon as it is there; the end was told", COMPLETES, "completed", within=5)
async def evicted(rig: Rig) -> None:
    rig.proxy.rules.append(on(RECORDS, NO_RECORD))
    task = await rig.submit()
    await rig.over()
    await rig.server.evict(task.prompt_id)
    rig.proxy.rules.clear()  # it is gone, whether anybody asked for it before or not


@scenario("its record is deleted as soon as it is there; no frame tells of the end",
          "it completed, and nothing is left", "lost", within=5)  # fmt: skip
async def evicted_and_not_told(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on(RECORDS, NO_RECORD))
    task = await rig.submit()
    await rig.over()
    await rig.server.evict(task.prompt_id)
    rig.proxy.rules.clear()  # it is gone, whether anybody asked for it before or not


@scenario(
    "ten tasks wait in one queue; no frame is heard, and /queue hides all of them for 20 s", WAITS, "completed", runs=10
)
async def ten_tasks_are_hidden(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on(QUEUES, EMPTY_QUEUE, when=lambda: bool(hidden)))
    rig.proxy.frame_rules.append(dropped(executions))
    window = rig.client.window()
    await asyncio.gather(*(rig.submit(2.5, window=window) for _ in range(10)))
    await rig.sleep(20)
    await rig.met()
    hidden.clear()
