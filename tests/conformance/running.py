"""Scenarios about runs (P13 to P20): which frames are sent about a prompt, and in which order."""

from tests.conformance.addresses import steps_possible
from tests.conformance.protocol import Server
from tests.conformance.scenario import scenario
from tests.conformance.workflows import LINKS, workflow


@scenario("P13", "P21")
async def a_prompt_is_told_from_its_start_over_its_nodes_to_its_end(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("picture", window)
        types = [kind for kind in window.types(prompt_id) if kind not in ("progress_state", "execution_success")]
        assert types == ["execution_start", "execution_cached", "executing", "executing", "executed", "executing"]
        assert [data["node"] for data in window.told("executing", prompt_id)] == ["1", "2", None]


@scenario("P13", since="0.3.45")
async def each_node_begins_with_a_progress_state(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("two pictures", window)
        begun: set[str] = set()
        for frame in window.heard:
            if frame.type == "progress_state":
                begun |= set(frame.data["nodes"])
            elif frame.type == "executing":
                assert frame.data["node"] in begun | {None}
        assert begun == {"1", "2", "3", "4"}
        (last,) = window.told("progress_state", prompt_id)[-1:]
        assert {node["state"] for node in last["nodes"].values()} == {"finished"}


@scenario("P14", since="2024-08-15")
async def a_rerun_lists_what_is_cached_and_shows_its_outputs_again(server: Server) -> None:
    graph = workflow("picture")
    async with server.socket() as window:
        first = await server.run(graph, window)
        again = await server.run(graph, window)
        (cached,) = window.told("execution_cached", again)
        assert set(cached["nodes"]) == {"1", "2"}
        assert [data["node"] for data in window.told("executing", again)] == [None]
        assert [data["output"] for data in window.told("executed", again)] == [
            data["output"] for data in window.told("executed", first)
        ]
        assert (await server.record(again))["outputs"] == (await server.record(first))["outputs"]


@scenario("P14", since="2024-08-15")
async def a_cached_output_with_nothing_to_show_sends_executed_with_null(server: Server) -> None:
    graph = workflow("silent")
    async with server.socket() as window:
        await server.run(graph, window)
        again = await server.run(graph, window)
        assert [(data["node"], data["output"]) for data in window.told("executed", again)] == [("1", None)]


@scenario("P14", since="0.3.44")
async def the_twin_of_a_node_of_the_same_prompt_is_executed_with_null_and_never_executing(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("twins", window)
        begun = {data["node"] for data in window.told("executing", prompt_id)}
        (twin,) = {"1", "2"} - begun
        assert {data["node"]: data["output"] for data in window.told("executed", prompt_id)}[twin] is None
        assert window.told("execution_cached", prompt_id)[0]["nodes"] == []


@scenario("P15", "P25", since="2024-01-31")
async def an_output_with_nothing_to_show_is_never_executed_and_the_prompt_completes(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("silent", window)
        record = await server.record(prompt_id)
        assert window.told("executed", prompt_id) == []
        assert record["outputs"] == {}
        assert record["status"]["completed"] is True


@scenario("P16", since="0.3.45")
async def every_node_so_far_may_be_finished_while_others_have_not_begun(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("slow", window)
        told = [data["nodes"] for data in window.told("progress_state", prompt_id)]
        assert len(told[0]) == 1
        assert len(told[-1]) == LINKS + 2
        finished = [nodes for nodes in told if {node["state"] for node in nodes.values()} == {"finished"}]
        assert len(finished[0]) < LINKS + 2


@scenario("P16", since="0.3.45")
async def after_a_failure_the_last_progress_state_says_running(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("failing", window)
        (last,) = window.told("progress_state", prompt_id)[-1:]
        assert last["nodes"]["3"]["state"] == "running"


@scenario("P18", since="0.3.45")
async def steps_are_told_one_by_one_with_their_prompt_and_node(server: Server) -> None:
    await steps_possible(server)
    graph = workflow("steps")
    async with server.socket() as window:
        prompt_id = await server.run(graph, window)
        told = window.told("progress", prompt_id)
        assert {data["node"] for data in told} == {"4"}
        assert {data["max"] for data in told} == {5}
        assert [data["value"] for data in told] == sorted(data["value"] for data in told)
        assert told[-1]["value"] == 5


@scenario("P20")
async def a_frame_may_hold_NaN(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.run("failing with NaN", window)
        (error,) = window.told("execution_error", prompt_id)
        (sigma,) = error["current_inputs"]["sigma"]
        assert sigma != sigma  # only NaN differs from itself
