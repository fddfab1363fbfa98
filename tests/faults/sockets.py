"""Scenarios about sockets and frames, at a server that is well and answers over HTTP."""

from __future__ import annotations

import asyncio

from tests.faults import troubles
from tests.faults.rig import Rig, scenario
from tests.faults.troubles import LOOKS, dropped, ends, everything, executions, on

COMPLETES = "it runs, and completes"


@scenario("no frame is sent after the handshake; the socket stays open", COMPLETES, "completed", within=5)
async def deaf_socket(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(everything))
    await rig.submit()


@scenario("frames stop when the prompt has begun to run; the socket stays open", COMPLETES, "completed", within=5)
async def deaf_in_mid_run(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(everything, lambda: rig.truth.ran))
    await rig.submit(8)


@scenario("only `status` and `feature_flags` are heard", COMPLETES, "completed", within=5)
async def only_status_is_heard(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(executions))
    await rig.submit()


@scenario("`feature_flags` is answered, and nothing after it is heard", COMPLETES, "completed", within=5)
async def flags_are_no_proof(rig: Rig) -> None:
    heard: list[str] = []

    def after_the_flags(kind: str) -> bool:
        heard.append(kind)
        return "feature_flags" in heard[:-1]

    rig.proxy.frame_rules.append(dropped(after_the_flags))
    await rig.submit()


@scenario("no frame tells of the end", COMPLETES, "completed", within=5)
async def the_end_is_not_told(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    await rig.submit()


@scenario("a run fails, and no frame tells of it", "it fails", "failed", within=5)
async def a_failure_is_not_told(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    await rig.submit(graph=rig.server.failing(rig.truth.tag))


@scenario("every frame comes 10 s late", COMPLETES, "completed", linger=12)
async def frames_come_late(rig: Rig) -> None:
    rig.proxy.frame_rules.append(troubles.delayed(10 * rig.scale))
    await rig.submit()


@scenario("every frame comes twice", COMPLETES, "completed", within=2)
async def frames_come_twice(rig: Rig) -> None:
    rig.proxy.frame_rules.append(troubles.doubled)
    await rig.submit()


@scenario("the record is hidden until the frames, held back for 40 s, come in one burst", COMPLETES,
          "completed lost cancelled", final="completed", linger=5)  # fmt: skip
async def a_burst_after_the_proof(rig: Rig) -> None:
    come = asyncio.Event()
    rig.proxy.frame_rules.append(troubles.held_until(come))
    rig.proxy.rules.append(on(LOOKS, troubles.NOTHING, when=lambda: not come.is_set()))
    await rig.submit()
    await rig.sleep(40)
    await rig.met()
    rig.known()
    come.set()


@scenario("the socket is cut once", COMPLETES, "completed", within=2)
async def socket_cut(rig: Rig) -> None:
    await rig.submit(8)
    await rig.ran()
    rig.proxy.cut()


@scenario(
    "the socket is cut once, and the server forgets the one that is opened instead", COMPLETES, "completed", within=5
)
async def socket_cut_and_forgotten(rig: Rig) -> None:
    cut: list[bool] = []
    rig.proxy.frame_rules.append(dropped(everything, lambda: cut))
    await rig.submit(30)
    await rig.ran()
    cut.append(True)
    rig.proxy.cut()


@scenario("the socket is cut between the last output and the end", COMPLETES, "completed", within=5)
async def socket_cut_at_the_end(rig: Rig) -> None:
    rig.proxy.frame_rules.append(troubles.cut_after("executed"))
    await rig.submit()


@scenario("the socket is cut as soon as it opens, for 20 s", COMPLETES, "completed")
async def socket_cut_again_and_again(rig: Rig) -> None:
    await rig.submit(20)
    await rig.ran()
    while not rig.truth.ended:
        rig.proxy.cut()
        await rig.sleep(0.2)


@scenario("the connection of the socket is half open: nothing passes, nobody is told", COMPLETES, "completed", within=5)
async def half_open(rig: Rig) -> None:
    await rig.submit(8)
    await rig.ran()
    rig.proxy.freeze()


@scenario("the socket is half open when the client closes; the result is there", COMPLETES, "completed", within=5)
async def closing_a_dead_socket(rig: Rig) -> None:
    task = await rig.submit()
    await rig.ran()
    rig.proxy.freeze()
    await rig.until(rig.settled)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rig.client.close()
    seconds = (loop.time() - began) / rig.scale
    rig.note = f"closed in {seconds:.1f} s"
    if seconds > 2.5 and rig.scale == 1.0:
        rig.wrong.append(f"closing took {seconds:.1f} s")
    assert task.done()


@scenario("another client takes over the socket's id at the server", COMPLETES, "completed", within=5)
async def twin(rig: Rig) -> None:
    task = await rig.submit(8)
    await rig.ran()
    async with rig.server.http.ws_connect(f"{rig.server.url}/ws?clientId={task.window}"):
        await rig.over()
        await rig.until(rig.settled)


@scenario("handshakes are refused with 400 for good; HTTP answers", COMPLETES, "completed", within=5, kind="I")
async def sockets_blocked(rig: Rig) -> None:
    rig.proxy.refuse_socket = 400
    await rig.submit()


@scenario("handshakes are refused with 404 for good; HTTP answers", COMPLETES, "completed", within=5, kind="I")
async def sockets_unknown(rig: Rig) -> None:
    rig.proxy.refuse_socket = 404
    await rig.submit()


@scenario("handshakes are never answered; HTTP answers", COMPLETES, "completed", kind="I")
async def handshake_hangs(rig: Rig) -> None:
    rig.proxy.hang_socket = True
    await rig.submit()


@scenario("handshakes are refused with 503 for 5 s", COMPLETES, "completed", within=5)
async def socket_refused_for_a_while(rig: Rig) -> None:
    rig.proxy.refuse_socket = 503

    async def mend() -> None:
        await rig.sleep(5)
        rig.proxy.refuse_socket = None

    mending = asyncio.create_task(mend())
    await rig.submit()
    await mending
