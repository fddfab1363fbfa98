"""Tests of the version table: each row holds since its version, and not before."""

import struct
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.execution.pictures import FileKey, digest_of
from comfy_fsm.testing.profiles import Profile, profile_of
from tests.conformance.protocol import Server, Socket
from tests.support.fake_stage import FAILING, Graph, chain, play, sleeping, told_of

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


# since 0.3.64: each in a row of its own in the profiles

KEY = {"api_key_comfy_org": "none of yours"}


async def job_of(server: Server, graph: Graph, window: Socket) -> Any:
    return (await server.get(f"/api/jobs/{await server.run(graph, window)}")).body


async def a_cycle_in_mid_run_is_a_success(_: FakeComfy, server: Server, window: Socket) -> object:
    record = await server.record(await server.run(chain(("FakeCycle", {})), window))
    return record["status"]["status_str"] == "success"


async def keys_are_hidden_in_the_queue(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.submit(sleeping(), window, extra_data=KEY)
    await window.until("executing")
    queue = (await server.get("/queue")).body
    return "api_key_comfy_org" not in queue["queue_running"][0][3]


async def a_subgraph_may_run_again(_: FakeComfy, server: Server, window: Socket) -> object:
    """P17."""
    graph = chain(("FakeExpand", {"count": 2, "steps": 1, "times": 2}))
    prompt_id = await server.run(graph, window)
    inner = [frame["node"] for frame in window.told("executing", prompt_id) if "." in str(frame["node"])]
    assert (await server.record(prompt_id))["status"]["status_str"] == "success"
    assert inner in (["2.0.0.1", "2.0.0.2"], ["2.0.0.1", "2.0.0.2"] * 2)
    return len(inner) == 4


async def what_was_cached_runs_again(comfy: FakeComfy, server: Server, window: Socket) -> object:
    """P49: where memory is short. What was shown is in the record all the same."""
    comfy.faults.short_memory = True
    graph = chain(("ImageInvert", {}), ("ImageInvert", {}))
    await server.run(graph, window)
    saving = {"class_type": "SaveImage", "inputs": {**graph["4"]["inputs"], "filename_prefix": "x"}}
    other = graph | {"4": saving}
    again = await server.run(other, window)
    ran = [frame["node"] for frame in window.told("executing", again) if frame["node"]]
    assert ran in (["1", "2", "3", "4"], ["4"])
    record = await server.record(again)
    assert record["status"]["status_str"] == "success"
    assert [*record["outputs"]] == ["4"]
    return len(ran) == 4


async def its_pages_load_nothing_from_elsewhere(comfy: FakeComfy, server: Server, window: Socket) -> object:
    async with server._http.get(f"{server.url}/queue") as answer:
        assert "Content-Security-Policy" not in answer.headers
    comfy.profile = replace(comfy.profile, api_nodes=False)
    await comfy.restart()
    async with server._http.get(f"{server.url}/queue") as answer:
        return "'self'" in answer.headers.get("Content-Security-Policy", "")


async def the_manager_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    return "manager" in (await server.get("/features")).body.get("extension", {})


async def one_prompt_goes_without_previews(_: FakeComfy, server: Server, window: Socket) -> object:
    """The images that are its outputs come all the same."""
    steps = ("FakeProgress", {"steps": 2, "preview": True})
    pictures = []
    for method in ("default", "none"):
        await server.run(chain(steps, output=("SaveImageWebsocket", {})), window, extra_data={"preview_method": method})
        pictures.append(sum(frame.type == "binary 1" for frame in window.heard) - sum(pictures))
    assert pictures[0] == 3
    assert pictures[1] in (1, 3)
    return pictures[1] == 1


async def texts_of_a_job_are_counted(_: FakeComfy, server: Server, window: Socket) -> object:
    job = await job_of(server, {"1": {"class_type": "FakeText", "inputs": {"text": "words"}}}, window)
    assert job["outputs_count"] in (0, 1)
    return job["outputs_count"] == 1


async def what_was_not_wanted_is_not_in_the_record(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = chain() | {"9": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    await server.run(graph, window)
    prompt_id = await server.run(graph, window, partial_execution_targets=["9"])
    return [*(await server.record(prompt_id))["outputs"]] == ["9"]


async def cached_outputs_of_nobody_are_omitted(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = chain()
    await server.run(graph, window)
    return not (await server.record(await server.submit(graph)))["outputs"]


async def the_time_is_stamped(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.run(chain(), window, extra_data={"create_time": 1})
    return (await server.record(prompt_id))["prompt"][3]["create_time"] > 1


async def jobs_are_there(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/api/jobs")).status == 200


async def a_job_may_be_cancelled(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.submit(sleeping(), window)
    await window.until("executing", node="2")
    await server.post("/interrupt", {"prompt_id": prompt_id})
    await window.ended(prompt_id)
    job = (await server.get(f"/api/jobs/{prompt_id}")).body
    assert (job["status"] == "failed") is ("Invalid" in str((await server.get("/api/jobs?status=cancelled")).body))
    return job["status"] == "cancelled"


async def a_missing_class_is_named(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.post("/prompt", {"prompt": {"1": {"class_type": "NoSuchNodeClass", "inputs": {}}}})
    return answer.body["error"]["type"] == "missing_node_type"


async def a_class_that_is_gone_is_replaced(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.post("/prompt", {"prompt": {"1": {"class_type": "FakeRetired", "inputs": {}}}})
    if answer.status == 400:
        return False
    return (await server.record(answer.body["prompt_id"]))["prompt"][2]["1"]["class_type"] == "FakeNothing"


async def a_text_is_previewed(_: FakeComfy, server: Server, window: Socket) -> object:
    job = await job_of(server, {"1": {"class_type": "FakeText", "inputs": {"text": "words"}}}, window)
    return job.get("preview_output", {}).get("content") == "words"


async def a_medium_is_previewed_before_a_text(_: FakeComfy, server: Server, window: Socket) -> object:
    text = {"9": {"class_type": "FakeNamed", "inputs": {"image": ["1", 0], "filename": "a.txt"}}}
    job = await job_of(server, text | chain(), window)
    return job["preview_output"]["filename"] != "a.txt"


async def previewable_outputs_are_counted(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await job_of(server, chain(), window)).get("previewable_outputs_count") == 1


async def assets_have_a_route(_: FakeComfy, server: Server, window: Socket) -> object:
    assert ("assets" in (await server.get("/features")).body) is ((await server.get("/api/assets")).status != 404)
    return (await server.get("/api/assets")).status in (200, 503)


async def assets_are_scanned(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.run(chain(), window)
    await window.quiet()
    return {frame.type for frame in window.heard} >= {"assets.seed.paused", "assets.seed.started"}


async def an_output_has_an_asset(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.run(chain(), window)
    (item,) = (await server.record(prompt_id))["outputs"]["2"]["images"]
    (told,) = window.told("executed", prompt_id)
    assert told["output"]["images"] == [item]
    if "id" not in item:
        return False
    name = {key: item[key] for key in ("filename", "subfolder", "type")}
    by_name = await server._ask("GET", "/view", params=name)
    return (await server._ask("GET", f"/api/assets/{item['id']}/content")).body == by_name.body


async def an_output_has_a_preview(_: FakeComfy, server: Server, window: Socket) -> object:
    (item,) = (await server.record(await server.run(chain(), window)))["outputs"]["2"]["images"]
    return "preview_id" in item


async def a_file_is_found_by_its_hash(comfy: FakeComfy, server: Server, window: Socket) -> object:
    (item,) = (await server.record(await server.run(chain(), window)))["outputs"]["2"]["images"]
    digest = digest_of(comfy.state.files.contents[FileKey(item["filename"], item["subfolder"], item["type"])])
    return (await server.get("/view", params={"filename": f"blake3:{digest}"})).status == 200


async def another_site_is_refused(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/queue", headers={"Sec-Fetch-Site": "cross-site"})).status == 403


async def an_intermediate_is_shown_at_the_end(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = chain(("FakeIntermediate", {}))
    await server.run(graph, window)
    prompt_id = await server.run(graph, window)
    shown = [frame["node"] for frame in window.told("executed", prompt_id)]
    return shown[-1] == "2" and "2" in (await server.record(prompt_id))["outputs"]


async def a_cycle_is_named(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = {str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(3 - n), 0]}} for n in (1, 2)}
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    answer = await server.post("/prompt", {"prompt": graph})
    assert answer.status == 400
    found = [error["type"] for node in dict(answer.body["node_errors"]).values() for error in node["errors"]]
    return found == ["dependency_cycle"]


async def canonical_ids_are_demanded(_: FakeComfy, server: Server, window: Socket) -> object:
    answers = [
        await server.post("/prompt", {"prompt": chain(), "prompt_id": each})
        for each in (str(uuid.uuid4()).upper(), uuid.uuid4().hex, "job-1", 7, "", None)
    ]
    if answers[0].status == 200:
        assert answers[-1].body["prompt_id"] == "None"
        return False
    assert {answer.body["error"]["type"] for answer in answers[:-1]} == {"invalid_prompt_id"}
    return answers[-1].status == 200 and answers[-1].body["prompt_id"] != "None"


async def the_source_of_usage_is_passed_on(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server._ask("POST", "/prompt", json={"prompt": chain()}, headers={"Comfy-Usage-Source": "us"})
    deployed = "deploy_environment" in (await server.get("/system_stats")).body["system"]
    passed = (await server.record(answer.body["prompt_id"]))["prompt"][3].get("comfy_usage_source") == "us"
    assert passed is deployed
    return passed


async def a_job_can_be_cancelled(_: FakeComfy, server: Server, window: Socket) -> object:
    empty = await server.post("/api/jobs/cancel", {"job_ids": []})
    assert (empty.status, empty.body) in ((200, {"cancelled": False}), (405, empty.body))
    assert (await server.post(f"/api/jobs/{uuid.uuid4()}/cancel")).status == empty.status
    return empty.status == 200


async def a_view_forbids_to_sniff(_: FakeComfy, server: Server, window: Socket) -> object:
    (item,) = (await server.record(await server.run(chain(), window)))["outputs"]["2"]["images"]
    name = {key: item[key] for key in ("filename", "subfolder", "type")}
    async with server._http.get(f"{server.url}/view", params=name) as answer:
        return answer.headers.get("X-Content-Type-Options") == "nosniff"


async def model_types_are_tagged(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/features")).body.get("supports_model_type_tags")


async def an_activity_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    told = await told_of(server, window, "progress_state")
    return any("activity" in node for frame in told for node in frame["nodes"].values())


async def a_waiting_job_has_its_workflow(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.submit(sleeping(), window)
    return "workflow" in (await server.get(f"/api/jobs/{prompt_id}")).body


async def a_known_id_is_refused(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.submit(sleeping(), window, prompt_id=str(uuid.uuid4()))
    again = await server.post("/prompt", {"prompt": chain(), "prompt_id": prompt_id})
    assert (again.status, again.body.get("error")) in ((200, None), (409, "prompt_id already exists"))
    return again.status == 409


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
]

NEWER: dict[str, Probe] = {
    "cycles_succeed": a_cycle_in_mid_run_is_a_success,
    "hides_keys_in_queue": keys_are_hidden_in_the_queue,
    "records_what_was_told": what_was_not_wanted_is_not_in_the_record,
    "omits_cached_outputs": cached_outputs_of_nobody_are_omitted,
    "reruns_subgraphs": a_subgraph_may_run_again,
    "evicts_under_pressure": what_was_cached_runs_again,
    "may_forbid_other_sites": its_pages_load_nothing_from_elsewhere,
    "flags_its_manager": the_manager_is_told,
    "heeds_preview_method": one_prompt_goes_without_previews,
    "counts_texts": texts_of_a_job_are_counted,
    "stamps_create_time": the_time_is_stamped,
    "has_jobs": jobs_are_there,
    "cancelled_jobs": a_job_may_be_cancelled,
    "names_missing_nodes": a_missing_class_is_named,
    "replaces_nodes": a_class_that_is_gone_is_replaced,
    "previews_texts": a_text_is_previewed,
    "has_assets": assets_have_a_route,
    "finds_by_hash": a_file_is_found_by_its_hash,
    "refuses_cross_sites": another_site_is_refused,
    "shows_intermediates": an_intermediate_is_shown_at_the_end,
    "names_cycles": a_cycle_is_named,
    "demands_canonical_ids": canonical_ids_are_demanded,
    "names_assets": an_output_has_an_asset,
    "passes_usage_source": the_source_of_usage_is_passed_on,
    "cancels_jobs": a_job_can_be_cancelled,
    "forbids_sniffing": a_view_forbids_to_sniff,
    "tags_model_types": model_types_are_tagged,
    "previews_media_first": a_medium_is_previewed_before_a_text,
    "counts_previewable": previewable_outputs_are_counted,
    "assets_are_on": assets_are_scanned,
    "reports_activity": an_activity_is_told,
    "shows_waiting_workflows": a_waiting_job_has_its_workflow,
    "names_preview_assets": an_output_has_a_preview,
    "refuses_known_ids": a_known_id_is_refused,
}
"""What came with 0.3.64 and later, by the row of the profile that decides it."""
SINCE = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Profile, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
WITH_ASSETS = frozenset({"finds_by_hash", "names_assets", "names_preview_assets"})
"""What is seen only where assets are on."""


def shown(name: str, version: str, **turned: bool) -> bool:
    """Whether a server of this version, with these rows turned by hand, does what the row is about."""
    more = {"assets_are_on": True} if name in WITH_ASSETS else {}
    found: list[bool] = []

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            found.append(bool(await NEWER[name](comfy, server, window)))

    play(story, replace(profile_of(version), **more | turned))
    return found[0]


def just_before(version: str) -> str:
    if version == "latest":
        return "0.33.0"
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor}.{patch - 1}" if patch else f"{major}.{minor - 1}.99" if minor else f"{major - 1}.99.99"


def test_every_row_of_the_table_has_a_probe() -> None:
    old = {name for name, row in SINCE.items() if row.version.startswith("20") or row.version < "0.3.64"}
    assert {*NEWER} == {*SINCE} - (old - {*NEWER})
    assert len(old - {*NEWER}) == 16, "those older than 0.3.64 stand in ROWS"


@pytest.mark.parametrize("name", [name for name in NEWER if SINCE[name].version != "never"])
def test_the_version_decides_every_row(name: str) -> None:
    since, until = SINCE[name]
    assert not shown(name, just_before(since))
    assert shown(name, since)
    if until != "never":
        assert shown(name, just_before(until))
        assert not shown(name, until)


@pytest.mark.parametrize("name", [name for name, row in SINCE.items() if row.version in ("latest", "never")])
def test_what_was_never_seen_to_run_has_a_switch_of_its_own(name: str) -> None:
    others = {other: False for other in ("assets_are_on",) if name not in WITH_ASSETS | {other}}
    assert shown(name, "0.33.0", **others | {name: True})
    assert not shown(name, "latest", **{name: False})


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
