"""Scenarios about submissions (P9 to P12): what is accepted, what is refused, and under which id."""

import asyncio
import uuid

from tests.conformance.protocol import Answer, Server
from tests.conformance.scenario import scenario
from tests.conformance.workflows import workflow

MARKER = {"conformance": "a marker of ours"}


@scenario("P9")
async def an_accepted_prompt_is_answered_with_its_id_and_number(server: Server) -> None:
    answer = await server.post("/prompt", {"prompt": workflow("picture")})
    assert answer.status == 200
    assert set(answer.body) == {"prompt_id", "number", "node_errors"}
    assert answer.body["node_errors"] == {}
    await server.record(answer.body["prompt_id"])


@scenario("P9")
async def a_graph_with_one_good_output_is_accepted_and_the_bad_one_dropped(server: Server) -> None:
    async with server.socket() as window:
        body = {"prompt": workflow("half"), "client_id": window.client_id}
        answer = await server.post("/prompt", body)
        prompt_id = answer.body["prompt_id"]
        await window.ended(prompt_id)
        assert answer.status == 200
        assert set(answer.body["node_errors"]) == {"3"}
        assert [data["node"] for data in window.told("executed", prompt_id)] == ["2"]
        assert set((await server.record(prompt_id))["outputs"]) == {"2"}


@scenario("P9", since="0.3.28")
async def a_graph_that_cannot_run_is_refused_with_400_and_the_reason(server: Server) -> None:
    before = await server.get("/history")
    for name, reason, bad in [
        ("without a good output", "prompt_outputs_failed_validation", {"1"}),
        ("without an output", "prompt_no_outputs", set()),
        ("of an unknown class", "invalid_prompt", set()),
    ]:
        answer = await server.post("/prompt", {"prompt": workflow(name)})
        assert answer.status == 400, name
        assert answer.body["error"]["type"] in (reason, "missing_node_type" if reason == "invalid_prompt" else reason)
        assert set(answer.body["node_errors"]) == bad
    assert await server.queue() == ([], [])  # nothing runs
    assert await server.get("/history") == before


@scenario("P9")
async def a_post_without_a_graph_is_refused(server: Server) -> None:
    answer = await server.post("/prompt", {"client_id": "whoever"})
    assert answer.status == 400
    assert set(answer.body) == {"error", "node_errors"}


@scenario("P9", since="0.3.45")
async def only_the_targets_named_are_run(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("two pictures", window, partial_execution_targets=["4"])
        assert [data["node"] for data in window.told("executed", prompt_id)] == ["4"]
        assert (await server.record(prompt_id))["prompt"][4] == ["4"]


@scenario("P9", "P28")
async def a_prompt_in_front_runs_before_those_that_wait(server: Server) -> None:
    async with server.socket() as window:
        await server.submit("slow", window)
        last = await server.submit("picture", window)
        first = await server.submit("picture", window, front=True)
        assert (await server.queue()).pending == [first, last]
        await server.post("/interrupt", {})
        await window.ended(first)
        assert window.types(last) == []
        await window.ended(last)


@scenario("P10", since="0.3.45")
async def the_id_chosen_by_the_client_is_the_id_of_the_prompt(server: Server) -> None:
    chosen = str(uuid.uuid4())
    async with server.socket() as window:
        assert await server.run("picture", window, prompt_id=chosen) == chosen
        assert window.types(chosen)
        assert (await server.record(chosen))["prompt"][1] == chosen


@scenario("P10", since="0.3.45")
async def the_same_id_posted_twice_runs_twice(server: Server) -> None:
    chosen = str(uuid.uuid4())
    async with server.socket() as window:
        await server.submit("picture", window, prompt_id=chosen)
        await server.submit("picture", window, prompt_id=chosen)
        await window.ended(chosen)
        await window.ended(chosen)
        assert window.types(chosen).count("execution_start") == 2
        assert window.types(chosen).count("executed") == 2


@scenario("P10", "P28")
async def a_marker_in_extra_data_shows_in_the_queue_and_in_the_history(server: Server) -> None:
    async with server.socket() as window:
        await server.submit("slow", window)
        prompt_id = await server.submit("picture", window, extra_data=MARKER)
        (waiting,) = (await server.get("/queue")).body["queue_pending"]
        await server.post("/interrupt", {})
        record = await server.record(prompt_id)
        for item in (waiting, record["prompt"]):
            assert item[1] == prompt_id
            assert item[3].items() >= {**MARKER, "client_id": window.client_id}.items()


@scenario("P11", since="0.3.45")
async def an_answer_of_500_may_be_that_of_an_accepted_prompt(server: Server) -> None:
    chosen = str(uuid.uuid4())
    async with server.socket() as window:
        await server.submit("slow", window)
        await window.until("execution_start")  # it left the heap: the two that follow are compared with each other
        answers: list[Answer] = []
        for name in ("picture", "twins"):  # a tie of number and id, so the heap compares the graphs
            answers.append(await server.post("/prompt", {"prompt": workflow(name), "prompt_id": chosen, "number": 7}))
        assert [answer.status for answer in answers] == [200, 500]
        assert (await server.queue()).pending == [chosen, chosen]


@scenario("P12")
async def an_answer_that_is_read_late_comes_to_frames_that_are_all_there(server: Server) -> None:
    async with server.socket() as window:
        body = {"prompt": workflow("picture"), "client_id": window.client_id}
        posted = asyncio.create_task(server.post("/prompt", body))
        ended = await window.until("executing", node=None)
        prompt_id = (await posted).body["prompt_id"]
        assert ended.data["prompt_id"] == prompt_id
        assert window.types(prompt_id)[0] == "execution_start"


@scenario("P10", "P45", since="0.25.0")
async def an_id_that_is_no_canonical_uuid_is_refused_and_null_is_absent(server: Server) -> None:
    for wrong in (str(uuid.uuid4()).upper(), uuid.uuid4().hex, f"{{{uuid.uuid4()}}}", "job-1", "", 7):
        answer = await server.post("/prompt", {"prompt": workflow("picture"), "prompt_id": wrong})
        assert (answer.status, answer.body["error"]["type"]) == (400, "invalid_prompt_id")
        assert answer.body["node_errors"] == {}
    assert str(uuid.UUID(await server.submit("picture", prompt_id=None)))


@scenario("P10", "P45", since="0.3.45", until="0.25.0")
async def an_id_of_null_becomes_the_id_none(server: Server) -> None:
    assert await server.submit("picture", prompt_id=None) == "None"


@scenario("P44", since="0.3.69")
async def the_time_of_acceptance_is_put_into_extra_data(server: Server) -> None:
    record = await server.record(await server.submit("picture", extra_data={"create_time": 1}))
    assert record["prompt"][3]["create_time"] > 1_000_000_000_000  # milliseconds


@scenario("P46", since="0.12.0")
async def a_class_that_is_not_there_is_named(server: Server) -> None:
    answer = await server.post("/prompt", {"prompt": workflow("of an unknown class")})
    assert (answer.status, answer.body["error"]["type"]) == (400, "missing_node_type")


@scenario("P46", since="0.20.0")
async def a_cycle_is_named_in_the_node_errors(server: Server) -> None:
    answer = await server.post("/prompt", {"prompt": workflow("circle")})
    assert (answer.status, answer.body["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    kinds = [error["type"] for node in answer.body["node_errors"].values() for error in node["errors"]]
    assert "dependency_cycle" in kinds


@scenario("P47", since="0.19.0")
async def a_request_from_another_site_is_refused(server: Server) -> None:
    assert (await server.get("/queue", headers={"Sec-Fetch-Site": "cross-site"})).status == 403
    assert (await server.get("/queue", headers={"Sec-Fetch-Site": "same-origin"})).status == 200


@scenario("P28", since="0.25.0")
async def who_submitted_is_passed_on(server: Server) -> None:
    sent = {"prompt": workflow("picture")}
    answer = await server._ask("POST", "/prompt", json=sent, headers={"Comfy-Usage-Source": "conformance"})
    record = await server.record(answer.body["prompt_id"])
    assert record["prompt"][3]["comfy_usage_source"] == "conformance"
