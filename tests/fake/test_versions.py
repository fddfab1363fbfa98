"""The rows of the version table: each holds since its version, and not before."""

import struct
import uuid
from collections.abc import Awaitable, Callable

import pytest

from comfy_fsm.testing import FakeComfy
from tests.conformance.protocol import Server, Socket
from tests.fake.stage import FAILING, chain, play, sleeping, told_of

Probe = Callable[[FakeComfy, Server, Socket], Awaitable[object]]


async def progress_has_a_prompt(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.run(chain(("FakeProgress", {"steps": 1})), window)
    (frame,) = [frame for frame in window.heard if frame.type == "progress"]
    return "prompt_id" in frame.data and frame.data["node"] == "2"


async def history_has_a_status(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.record(await server.run(chain(), window))).get("status")


async def history_is_limited(comfy: FakeComfy, server: Server, window: Socket) -> object:
    return comfy.execution.history_limit == 10_000


async def an_unknown_class_is_400(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.post("/prompt", {"prompt": {"1": {"class_type": "NoSuchNodeClass", "inputs": {}}}})
    assert answer.status in (400, 500)
    return answer.status == 400


async def routes_are_under_api(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.get("/api/queue")
    assert answer.status in (200, 404)
    return answer.status == 200


async def a_success_is_stated(_: FakeComfy, server: Server, window: Socket) -> object:
    return await told_of(server, window, "execution_success")


async def a_start_has_a_timestamp(_: FakeComfy, server: Server, window: Socket) -> object:
    return "timestamp" in (await told_of(server, window, "execution_start"))[0]


async def a_node_has_its_display_node(_: FakeComfy, server: Server, window: Socket) -> object:
    return "display_node" in (await told_of(server, window, "executing"))[0]


async def a_cached_output_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = chain()
    await server.run(graph, window)
    return await told_of(server, window, "executed", graph)


async def history_has_meta(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.record(await server.run(chain(), window))).get("meta")


async def a_failure_is_written_as_a_success(_: FakeComfy, server: Server, window: Socket) -> object:
    status = (await server.record(await server.run(chain(FAILING), window)))["status"]
    assert "execution_error" in dict(status["messages"])
    return status["status_str"] == "success" and status["completed"]


async def a_foreign_origin_is_refused(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/queue", headers={"Origin": "http://elsewhere.example"})).status == 403


async def the_version_is_told(comfy: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/system_stats")).body["system"].get("comfyui_version") == comfy.profile.version


async def node_errors_are_an_object(_: FakeComfy, server: Server, window: Socket) -> object:
    told = (await server.post("/prompt", {"prompt": {"1": chain()["1"]}})).body["node_errors"]
    assert told in ({}, [])
    return isinstance(told, dict)


async def text_is_sent(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.run(chain(("FakeProgress", {"steps": 1, "text": True})), window)
    texts = [frame.payload for frame in window.heard if frame.type == "binary 3"]
    assert texts in ([], [struct.pack(">I", 1) + b"2step 1 of 1"])
    return texts


async def an_own_id_is_honoured(_: FakeComfy, server: Server, window: Socket) -> object:
    chosen = str(uuid.uuid4())
    return await server.submit(chain(), window, prompt_id=chosen) == chosen


async def the_progress_state_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    return await told_of(server, window, "progress_state")


async def features_are_told(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.get("/features")
    assert answer.status in (200, 404)
    return answer.status == 200


async def a_preview_names_its_prompt(_: FakeComfy, server: Server, window: Socket) -> object:
    await window.say("feature_flags", {"supports_preview_metadata": True})
    await server.run(chain(("FakeProgress", {"steps": 1, "preview": True})), window)
    (kind,) = {frame.type for frame in window.heard if frame.payload}
    assert kind in ("binary 1", "binary 4")
    return kind == "binary 4"


async def progress_names_the_inner_node(_: FakeComfy, server: Server, window: Socket) -> object:
    told = await told_of(server, window, "progress", chain(("FakeExpand", {"count": 1, "steps": 1})))
    assert told[0]["node"] in ("2", "2.0.0.1")
    return told[0]["node"] == "2.0.0.1"


async def keys_are_hidden_in_the_history(_: FakeComfy, server: Server, window: Socket) -> object:
    secret = {"api_key_comfy_org": "none of yours"}
    prompt_id = await server.submit(chain(), window, extra_data=secret)
    return "api_key_comfy_org" not in (await server.record(prompt_id))["prompt"][3]


async def an_interrupt_of_another_id_does_nothing(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.submit(sleeping(0.3), window)
    await window.until("executing", node="2")
    await server.post("/interrupt", {"prompt_id": str(uuid.uuid4())})
    await window.ended(prompt_id)
    return not window.told("execution_interrupted", prompt_id)


async def the_progress_state_is_private(_: FakeComfy, server: Server, window: Socket) -> object:
    async with server.socket() as owner:
        await server.run(chain(), owner)
    await window.quiet()
    return "progress_state" not in {frame.type for frame in window.heard}


async def jobs_are_there(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/api/jobs")).status == 200


async def canonical_ids_are_demanded(_: FakeComfy, server: Server, window: Socket) -> object:
    shouted = {"prompt": chain(), "prompt_id": str(uuid.uuid4()).upper()}
    return (await server.post("/prompt", shouted)).status == 400


ROWS: list[tuple[Probe, str, str]] = [
    (history_is_limited, "2023-10-14", "2024-01"),
    (progress_has_a_prompt, "2023-10-14", "2024-01"),
    (history_has_a_status, "2023-10-14", "2024-01"),
    (an_unknown_class_is_400, "2024-01", "2024-08-17"),
    (routes_are_under_api, "2024-01", "2024-08-17"),
    (a_success_is_stated, "2024-07-20", "2024-07-21"),
    (a_start_has_a_timestamp, "2024-07-20", "2024-07-21"),
    (a_node_has_its_display_node, "2024-08-14", "2024-08-17"),
    (a_cached_output_is_told, "2024-08-14", "2024-08-17"),
    (history_has_meta, "2024-08-14", "2024-08-17"),
    (a_failure_is_written_as_a_success, "2024-08-14", "2024-08-17"),
    (a_foreign_origin_is_refused, "2024-08-17", "0.3.10"),
    (the_version_is_told, "0.3.10", "0.3.44"),
    (node_errors_are_an_object, "0.3.27", "0.3.28"),
    (text_is_sent, "0.3.10", "0.3.44"),
    (an_own_id_is_honoured, "0.3.44", "0.3.50"),
    (the_progress_state_is_told, "0.3.44", "0.3.50"),
    (features_are_told, "0.3.44", "0.3.50"),
    (a_preview_names_its_prompt, "0.3.44", "0.3.50"),
    (progress_names_the_inner_node, "0.3.44", "0.3.50"),
    (keys_are_hidden_in_the_history, "0.3.44", "0.3.50"),
    (an_interrupt_of_another_id_does_nothing, "0.3.50", "0.3.57"),
    (the_progress_state_is_private, "0.3.57", "0.3.64"),
    (jobs_are_there, "0.3.64", "jobs"),
    (canonical_ids_are_demanded, "0.3.64", "jobs"),
]


@pytest.mark.parametrize(("probe", "before", "since"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_a_row_of_the_table_holds_since_its_version_and_not_before(probe: Probe, before: str, since: str) -> None:
    for version, expected in ((before, False), (since, True)):

        async def story(comfy: FakeComfy, server: Server, expected: bool = expected) -> None:
            async with server.socket() as window:
                assert bool(await probe(comfy, server, window)) is expected

        play(story, version)


def test_the_week_of_false_successes_ended() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            assert not await a_failure_is_written_as_a_success(comfy, server, window)

    play(story, "2024-08-22")


@pytest.mark.parametrize("wrong", ["", "newest", "0.3", "2024", "0.3.x"])
def test_a_version_that_is_none_is_refused_with_examples(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"no version of ComfyUI.*write '0\.3\.64'"):
        FakeComfy(wrong)
