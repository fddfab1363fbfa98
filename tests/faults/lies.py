"""Scenarios: queues and histories that hide, lie, forget, or are those of another server."""

from __future__ import annotations

import asyncio

from tests.faults.proxy import Exchange
from tests.faults.rig import Rig, scenario
from tests.faults.troubles import EMPTY_QUEUE, NO_PENDING, NO_RECORD, dropped, edited, ends, everything, executions, on

COMPLETES = "it runs, and completes"
WAITS = "it waits, then runs, and completes"


@scenario("/queue hides what waits for 20 s, while it waits for a prompt of somebody else", WAITS, "completed")
async def queue_hides_what_waits(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on("GET /queue", NO_PENDING, when=lambda: bool(hidden)))
    await rig.server.stranger(rig.truth.tag, 25 * rig.scale)
    await rig.submit()
    await rig.sleep(20)
    hidden.clear()


@scenario("the same for 60 s, and no frame is heard", WAITS, "completed")
async def queue_hides_what_waits_for_long(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(executions))
    rig.proxy.rules.append(on("GET /queue", NO_PENDING, when=lambda: bool(hidden)))
    await rig.server.stranger(rig.truth.tag, 65 * rig.scale)
    await rig.submit()
    await rig.sleep(60)
    hidden.clear()


@scenario("/queue hides everything for 10 s in mid-run, the socket is deaf", COMPLETES, "completed")
async def queue_hides_what_runs(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(everything))
    rig.proxy.rules.append(on("GET /queue", EMPTY_QUEUE, when=lambda: bool(hidden)))
    await rig.submit(15)
    await rig.sleep(10)
    hidden.clear()


@scenario("the record is hidden for 10 s after the end, which was told", COMPLETES, "completed")
async def record_hidden_after_the_end(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on("GET /history", NO_RECORD, when=lambda: bool(hidden)))
    await rig.submit()
    await rig.over()
    await rig.sleep(10)
    hidden.clear()


@scenario("the record is hidden for 8 s after the end, which was not told", COMPLETES, "completed lost")
async def record_hidden_and_no_end_told(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on("GET /history", NO_RECORD, when=lambda: bool(hidden)))
    await rig.submit()
    await rig.over()
    await rig.sleep(8)
    hidden.clear()
    rig.known()


@scenario("/history gives the record of another prompt for 10 s, no frame tells of the end", COMPLETES, "completed")
async def record_of_another(rig: Rig) -> None:
    lying = [True]
    other = edited(lambda records: {f"other-{key}": value for key, value in records.items()})
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on("GET /history", other, when=lambda: bool(lying)))
    await rig.submit()
    await rig.over()
    await rig.sleep(10)
    lying.clear()
    rig.known()


@scenario("/queue goes on listing it as running for 20 s after its end; no frame tells of the end", COMPLETES,
          "completed")  # fmt: skip
async def queue_lists_what_is_over(rig: Rig) -> None:
    stale: list[object] = []

    def remember(queue: dict[str, list[object]]) -> dict[str, list[object]]:
        if queue["queue_running"]:
            stale[:] = queue["queue_running"]
        return queue | {"queue_running": [*stale]}

    rig.proxy.frame_rules.append(dropped(ends))
    over: list[bool] = []
    rig.proxy.rules.append(on("GET /queue", edited(remember), when=lambda: not over))
    await rig.submit(8)
    await rig.over()
    await rig.sleep(20)
    over.append(True)


# balancers


def in_turn(number: int, _exchange: Exchange | None) -> int:
    """Whoever asks is sent to the next server."""
    return number % 2


def apart(_number: int, exchange: Exchange | None) -> int:
    """POSTs and sockets go to one server, looks to the other."""
    return int(exchange is not None and exchange.method == "GET")


def history_apart(_number: int, exchange: Exchange | None) -> int:
    """Queue and history are of different servers."""
    return int(exchange is not None and exchange.route in ("GET /history", "GET /jobs"))


@scenario("a balancer without cookies sends each request to one of two servers in turn", COMPLETES, "completed",
          servers=2, choose=in_turn)  # fmt: skip
async def balancer_in_turn(rig: Rig) -> None:
    await rig.submit(10)


@scenario("the same, and no execution frame is heard", COMPLETES, "completed lost expired",
          final="completed lost expired", servers=2, choose=in_turn)  # fmt: skip
async def balancer_in_turn_without_frames(rig: Rig) -> None:
    rig.proxy.frame_rules.append(unheard := dropped(executions))
    await rig.submit(10)
    unheard.hits = 1  # type: ignore[attr-defined]  # by chance the socket is of the other server, and brings none


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


# what somebody else does


@scenario("somebody deletes it while it waits; all frames pass", "it was deleted", "cancelled", runs=0, within=5)
async def deleted_while_it_waits(rig: Rig) -> None:
    await rig.server.stranger(rig.truth.tag, 600 * rig.scale)
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
    rig.proxy.rules.append(on("GET /history", NO_RECORD))
    task = await rig.submit()
    await rig.over()
    await rig.server.evict(task.prompt_id)


@scenario("its record is deleted as soon as it is there; no frame tells of the end",
          "it completed, and nothing is left", "lost")  # fmt: skip
async def evicted_and_not_told(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    rig.proxy.rules.append(on("GET /history", NO_RECORD))
    task = await rig.submit()
    await rig.over()
    await rig.server.evict(task.prompt_id)


@scenario(
    "ten tasks wait in one queue; no frame is heard, and /queue hides all of them for 12 s", WAITS, "completed", runs=10
)
async def ten_tasks_are_hidden(rig: Rig) -> None:
    hidden = [True]
    rig.proxy.rules.append(on("GET /queue", EMPTY_QUEUE, when=lambda: bool(hidden)))
    rig.proxy.frame_rules.append(dropped(executions))
    window = rig.client.window()
    await asyncio.gather(*(rig.submit(2.5, window=window) for _ in range(10)))
    await rig.sleep(12)
    hidden.clear()
