"""Scenarios about ends (P21 to P25): how a prompt ends, and what the history says of it."""

from tests.conformance.protocol import Server, Socket
from tests.conformance.scenario import scenario


async def interrupted(server: Server, window: Socket) -> str:
    """The id of a slow prompt that began, was interrupted and has ended."""
    prompt_id = await server.submit("slow", window)
    await window.until("executing", prompt_id=prompt_id)
    await server.post("/interrupt", {"prompt_id": prompt_id})
    await window.ended(prompt_id)
    return prompt_id


def endings(window: Socket, prompt_id: str) -> list[str]:
    return [kind for kind in window.types(prompt_id) if kind.startswith("execution_")][2:]  # without start and cached


@scenario("P21", since="2024-07-21")
async def a_success_is_told_before_the_status_and_executing_null_after_it(server: Server) -> None:
    async with server.socket() as window:
        await server.run("picture", window)
        assert [frame.type for frame in window.heard[-3:]] == ["execution_success", "status", "executing"]
        assert window.heard[-2].data["status"]["exec_info"]["queue_remaining"] == 0


@scenario("P21")
async def at_executing_null_the_history_has_the_prompt(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("picture", window)
        assert await server.entry(prompt_id) is not None


@scenario("P22", since="2024-07-21")
async def executing_null_follows_a_success_and_a_failure_and_an_interrupt_alike(server: Server) -> None:
    async with server.socket() as window:
        success = await server.run("picture", window)
        failure = await server.run("failing", window)
        interrupt = await interrupted(server, window)
        assert endings(window, success) == ["execution_success"]
        assert endings(window, failure) == ["execution_error"]
        assert endings(window, interrupt) == ["execution_interrupted"]
        for prompt_id in (success, failure, interrupt):
            assert window.types(prompt_id)[-1] == "executing"


@scenario("P21", since="2024-01-31")
async def the_record_of_a_success_has_its_outputs_and_its_messages(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("picture", window)
        record = await server.record(prompt_id)
        assert record["prompt"][1] == prompt_id
        assert record["prompt"][4] == ["2"]
        assert record["outputs"]["2"] == window.told("executed", prompt_id)[0]["output"]
        assert record["status"]["status_str"] == "success"
        assert record["status"]["completed"] is True
        assert {data["prompt_id"] for _, data in record["status"]["messages"]} == {prompt_id}


@scenario("P23", since="0.3.0")
async def an_interrupt_is_an_error_to_the_history_but_for_one_message(server: Server) -> None:
    async with server.socket() as window:
        status = (await server.record(await interrupted(server, window)))["status"]
        kinds = [kind for kind, _ in status["messages"]]
        assert status["status_str"] == "error"
        assert status["completed"] is False
        assert "execution_interrupted" in kinds
        assert "execution_error" not in kinds


@scenario("P21", "P24", since="0.3.0")
async def a_failure_at_run_time_names_its_node_in_the_frame_and_in_the_history(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("failing", window)
        (told,) = window.told("execution_error", prompt_id)
        status = (await server.record(prompt_id))["status"]
        assert told["node_id"] == "3"
        assert told["node_type"] == "ImageBlur"
        assert told["exception_message"]
        assert told["exception_type"]
        assert told["traceback"]
        assert status["status_str"] == "error"
        assert dict(status["messages"])["execution_error"] == told


@scenario("P21")
async def the_outputs_of_a_failure_are_those_it_had_before(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("failing", window)
        assert set((await server.record(prompt_id))["outputs"]) == {"2"}


@scenario("P24", since="2024-01-31")
async def a_success_after_a_failure_is_a_success(server: Server) -> None:
    async with server.socket() as window:
        await server.run("failing", window)
        record = await server.record(await server.run("picture", window))
        assert record["status"]["status_str"] == "success"
