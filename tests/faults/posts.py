"""Scenarios about POSTs, their bodies and their answers: no workflow runs twice."""

from __future__ import annotations

import json
import time

from tests.faults import troubles
from tests.faults.proxy import Answer, Exchange, Go
from tests.faults.rig import Rig, scenario
from tests.faults.troubles import PAGE, dropped, executions, on, says

POST = "POST /prompt"
COMPLETES = "it is accepted, runs, and completes"
NEVER = "it is never accepted"


@scenario("the POST is done, its answer is lost", COMPLETES, "completed")
async def post_unanswered(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.unanswered, times=1))
    await rig.submit()


@scenario("the same, and it may be posted again", COMPLETES, "completed", resubmits=1)
async def post_unanswered_with_resubmits(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.unanswered, times=1))
    await rig.submit()


@scenario("the POST is lost on its way", NEVER, "lost rejected", runs=0)
async def post_lost(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.lost, times=1))
    rig.known()
    await rig.submit()
    await _says_that_it_was_never_accepted(rig)


@scenario("the same, and it may be posted again", "the second POST runs", "completed", resubmits=1,
          final="completed lost")  # fmt: skip
async def post_lost_with_resubmits(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.lost, times=1))
    await rig.submit()


@scenario("the answer to the POST comes after 45 s", COMPLETES, "completed", linger=20, kind="A")
async def post_answered_late(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.slow(45 * rig.scale)))
    await rig.submit()


@scenario("the POST reaches the server after 45 s, and is answered then", COMPLETES, "completed lost",
          final="completed", linger=30, kind="A")  # fmt: skip
async def post_arrives_late(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.held(45 * rig.scale)))
    await rig.submit()


@scenario("the same, and it may be posted again", COMPLETES, "completed", final="completed lost", linger=30, kind="A",
          resubmits=1)  # fmt: skip
async def post_arrives_late_with_resubmits(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.held(45 * rig.scale)))
    await rig.submit()


@scenario("the POST's connection is cut at once, its body reaches the server 8 s later", COMPLETES, "completed",
          linger=10, kind="A", resubmits=1, final="completed lost")  # fmt: skip
async def post_cut_then_arrives(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.cut_then_done(rig.proxy, 8 * rig.scale), times=1))
    await rig.submit()


@scenario("the same 8 s later, and it may not be posted again", COMPLETES, "completed", linger=10, kind="A")
async def post_cut_then_arrives_without_resubmits(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.cut_then_done(rig.proxy, 8 * rig.scale), times=1))
    await rig.submit()


@scenario("the POST's connection is cut, its body reaches the server two minutes later", COMPLETES,
          "completed lost", final="completed", linger=130, kind="A")  # fmt: skip
async def post_runs_after_it_was_called_lost(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.cut_then_done(rig.proxy, 120 * rig.scale), times=1))
    await rig.submit()


@scenario("the POST reaches the server at once, which answers 500 and queued it", COMPLETES, "completed")
async def post_500_queued(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.done_but_says(500), times=1))
    await rig.submit()


@scenario("a gateway answers 504 and a page, and the prompt was queued", COMPLETES, "completed")
async def post_504_queued(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.done_but_says(504, b"<h1>504 Gateway Time-out</h1>"), times=1))
    await rig.submit()


@scenario("503 to the first POST, which went nowhere", "never accepted, or accepted when posted again",
          "completed rejected lost", runs=(0, 1), resubmits=1, final="completed rejected lost")  # fmt: skip
async def post_503_once(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, says(503), times=1))
    await rig.submit()


async def _says_that_it_was_never_accepted(rig: Rig) -> None:
    await rig.until(rig.settled)
    if "never accepted" not in rig.note and "nothing ran" not in rig.note:
        rig.wrong.append("does not say that it was never accepted")


@scenario("503 to every POST", NEVER, "rejected lost", runs=0, resubmits=1)
async def post_503_for_good(rig: Rig) -> None:
    rig.known()
    rig.proxy.rules.append(on(POST, says(503)))
    await rig.submit()
    await _says_that_it_was_never_accepted(rig)


@scenario("503 with Retry-After 3, once", COMPLETES, "completed", final="completed lost")
async def post_put_off_once(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, says(503, Retry_After=rig.retry_after(3)), times=1))
    began = time.monotonic()
    await rig.submit(0.0)
    await rig.until(rig.settled)
    if (waited := (time.monotonic() - began) / rig.scale) > 15 and rig.scale == 1.0:
        rig.wrong.append(f"it was told after {waited:.1f} s")


@scenario("503 with Retry-After 3, and the prompt was queued", COMPLETES, "completed")
async def post_put_off_and_queued(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.done_but_says(503, Retry_After=rig.retry_after(3)), times=1))
    await rig.submit()


@scenario("503 with Retry-After 2 to every POST", NEVER, "rejected lost", runs=0)
async def post_put_off_for_good(rig: Rig) -> None:
    rig.known()
    rig.proxy.rules.append(on(POST, says(503, Retry_After=rig.retry_after(2))))
    await rig.submit()
    await _says_that_it_was_never_accepted(rig)


@scenario("429 with Retry-After 3, once", COMPLETES, "completed", final="completed rejected lost")
async def post_429_once(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, says(429, Retry_After=rig.retry_after(3)), times=1))
    await rig.submit()


@scenario("429 with Retry-After 2, for good", NEVER, "rejected lost", runs=0)
async def post_429_for_good(rig: Rig) -> None:
    rig.known()
    rig.proxy.rules.append(on(POST, says(429, Retry_After=rig.retry_after(2))))
    await rig.submit()
    await _says_that_it_was_never_accepted(rig)


@scenario("a login page, 200, answers the POST", NEVER, "rejected lost", runs=0)
async def post_login_page(rig: Rig) -> None:
    rig.known()
    rig.proxy.rules.append(on(POST, says(200, PAGE)))
    await rig.submit()


@scenario("401 to the POST", NEVER, "rejected", runs=0)
async def post_401(rig: Rig) -> None:
    rig.known()
    rig.proxy.rules.append(on(POST, says(401)))
    await rig.submit()


@scenario("half of the answer to the POST, then the connection is cut", COMPLETES, "completed")
async def post_answer_cut(rig: Rig) -> None:
    rig.proxy.rules.append(on(POST, troubles.halved, times=1))
    await rig.submit()


@scenario("a workflow of 3 MB goes through a link that takes 60 s for it", COMPLETES, "completed", kind="A", linger=5,
          heavy=True)  # fmt: skip
async def slow_link_for_a_workflow(rig: Rig) -> None:
    size = 3_000_000
    rig.proxy.slow_body = size / (60 * rig.scale)
    graph = rig.server.graph(rig.truth.tag, 0.0)
    graph["note"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "x" * size}}
    await rig.submit(graph=graph)


@scenario("an input of 3 MB is uploaded through a link that takes 60 s for it", COMPLETES, "completed", kind="A",
          heavy=True)  # fmt: skip
async def slow_link_for_an_upload(rig: Rig) -> None:
    size = 3_000_000
    rig.proxy.slow_body = size / (60 * rig.scale)
    try:
        await rig.client.upload(b"\x89PNG" + bytes(size), "big.png")
    except Exception as error:
        rig.wrong.append(f"the upload was given up: {type(error).__name__}: {error}")
    rig.proxy.slow_body = None
    await rig.submit()


async def _own_ids(exchange: Exchange, go: Go) -> Answer:
    """The server chooses the id, whatever its features say."""
    exchange.body = json.dumps({key: value for key, value in exchange.json.items() if key != "prompt_id"}).encode()
    return await go(exchange)


@scenario("a server with /features gives ids of its own, and the answer to the POST is lost", COMPLETES, "completed",
          kind="A")  # fmt: skip
async def own_ids_and_no_answer(rig: Rig) -> None:
    rig.proxy.rules += [on(POST, troubles.unanswered, times=1), on(POST, _own_ids)]
    await rig.submit()


@scenario("the same, and no frame tells of it", COMPLETES, "completed", kind="A")
async def own_ids_no_answer_and_no_frames(rig: Rig) -> None:
    rig.proxy.rules += [on(POST, troubles.unanswered, times=1), on(POST, _own_ids)]
    rig.proxy.frame_rules.append(dropped(executions))
    await rig.submit()
