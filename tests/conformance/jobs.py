"""Scenarios about jobs (P36 to P43): how they are listed, read, judged and cancelled."""

import uuid
from typing import Any

from tests.conformance.protocol import Server, polled
from tests.conformance.scenario import scenario
from tests.conformance.workflows import workflow


async def job(server: Server, prompt_id: str) -> dict[str, Any]:
    answer = await server.get(f"/api/jobs/{prompt_id}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    assert found["id"] == prompt_id
    return found


async def listed(server: Server, query: str = "") -> list[str]:
    answer = await server.get(f"/api/jobs{query}")
    assert answer.status == 200, answer
    return [each["id"] for each in answer.body["jobs"]]


@scenario("P36", "P37", since="0.6.0")
async def jobs_are_listed_whatever_their_status(server: Server) -> None:
    await server.post("/history", {"clear": True})
    async with server.socket() as window:
        done, failed = await server.run("picture", window), await server.run("failing", window)
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        body = (await server.get("/api/jobs")).body
        assert {each["id"]: each["status"] for each in body["jobs"]} == {
            done: "completed", failed: "failed", running: "in_progress", pending: "pending",
        }  # fmt: skip
        assert body["pagination"] == {"offset": 0, "limit": None, "total": 4, "has_more": False}
        assert set(await listed(server, "?status=pending,in_progress")) == {running, pending}
        assert await listed(server, "?status=failed") == [failed]


@scenario("P36", since="0.6.0")
async def a_page_tells_that_there_is_more(server: Server) -> None:
    await server.post("/history", {"clear": True})
    async with server.socket() as window:
        ids = [await server.run("picture", window) for _ in range(3)]
        one, two = [await server.get(f"/api/jobs?limit=2&offset={offset}") for offset in (0, 2)]
        assert (one.body["pagination"]["has_more"], two.body["pagination"]["has_more"]) == (True, False)
        assert sorted(each["id"] for page in (one, two) for each in page.body["jobs"]) == sorted(ids)


@scenario("P36", since="0.6.0")
async def a_list_that_is_asked_for_wrongly_is_refused(server: Server) -> None:
    for query in ("status=done", "sort_by=name", "sort_order=up", "limit=0", "limit=x", "offset=x"):
        answer = await server.get(f"/api/jobs?{query}")
        assert (answer.status, list(answer.body)) == (400, ["error"])
    assert (await server.get("/jobs")).status == 404


@scenario("P37", "P23", since="0.9.0")
async def an_interrupted_job_is_cancelled(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await _interrupted(server, window)
        assert (await job(server, prompt_id))["status"] == "cancelled"
        assert prompt_id in await listed(server, "?status=cancelled")


@scenario("P37", "P23", since="0.6.0", until="0.9.0")
async def an_interrupted_job_is_failed_without_an_error(server: Server) -> None:
    async with server.socket() as window:
        found = await job(server, await _interrupted(server, window))
        assert found["status"] == "failed"
        assert "execution_error" not in found
        assert "execution_interrupted" in dict(found["execution_status"]["messages"])
        assert (await server.get("/api/jobs?status=cancelled")).status == 400


async def _interrupted(server: Server, window: Any) -> str:
    prompt_id = await server.submit("slow", window)
    await window.until("executing", prompt_id=prompt_id)
    await server.post("/interrupt", {"prompt_id": prompt_id})
    await window.ended(prompt_id)
    return prompt_id


@scenario("P38", since="0.6.0")
async def a_job_by_its_id_has_what_its_record_has(server: Server) -> None:
    async with server.socket() as window:
        for name, status in (("picture", "completed"), ("failing", "failed")):
            prompt_id = await server.run(name, window)
            found, record = await job(server, prompt_id), await server.record(prompt_id)
            assert found["status"] == status
            assert (found["outputs"], found["execution_status"]) == (record["outputs"], record["status"])
            assert found["workflow"]["extra_data"]["client_id"] == window.client_id
            assert ("execution_error" in found) is (status == "failed")


@scenario("P38", since="0.6.0")
async def of_a_prompt_that_is_nowhere_there_is_no_job(server: Server) -> None:
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        await server.post("/queue", {"delete": [pending]})
        for prompt_id in (pending, str(uuid.uuid4())):
            answer = await server.get(f"/api/jobs/{prompt_id}")
            assert (answer.status, answer.body) == (404, {"error": "Job not found"})


@scenario("P39", "P10", since="0.6.0")
async def of_an_id_posted_twice_the_job_is_the_first_run_that_ended(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = str(uuid.uuid4())
        await server.run("picture", window, prompt_id=prompt_id)
        await server.submit("slow", window, prompt_id=prompt_id)

        async def runs() -> bool:
            return prompt_id in (await server.queue()).running

        await polled(runs)
        assert (await job(server, prompt_id))["status"] == "completed"


@scenario("P41", since="0.6.0")
async def one_odd_prompt_breaks_the_list_for_everybody_and_nothing_else(server: Server) -> None:
    async with server.socket() as window:
        good = await server.run("picture", window)
        odd = await server.run("picture", window, extra_data={"extra_pnginfo": {"workflow": None}})
        for path in ("/api/jobs", "/api/jobs?status=completed", f"/api/jobs/{odd}"):
            assert (await server.get(path)).status == 500
        assert (await job(server, good))["status"] == "completed"
        assert await listed(server, "?status=pending,in_progress") == []
        assert (await server.get("/history")).status == 200
        await server.post("/history", {"delete": [odd]})
        assert good in await listed(server)


@scenario("P42", "P43", "P30", since="0.26.0")
async def a_job_is_cancelled_by_its_id_whether_it_waits_or_runs(server: Server) -> None:
    async with server.socket() as window:
        done = await server.run("picture", window)
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        for prompt_id, cancelled in ((pending, True), (running, True), (done, False), (str(uuid.uuid4()), False)):
            answer = await server.post(f"/api/jobs/{prompt_id}/cancel")
            assert answer == (200, {"cancelled": cancelled})
        await window.ended(running)
        assert (await server.get(f"/api/jobs/{pending}")).status == 404
        assert (await job(server, running))["status"] == "cancelled"


@scenario("P42", "P43", since="0.26.0")
async def jobs_are_cancelled_in_a_batch_unless_one_id_is_none(server: Server) -> None:
    async with server.socket() as window:
        running = await server.submit("slow", window)
        pending = await server.submit("picture", window)
        await window.until("executing", prompt_id=running)
        answer = await server.post("/api/jobs/cancel", {"job_ids": [running, pending, "not-an-id"]})
        assert (answer.status, answer.body["invalid_ids"]) == (400, ["not-an-id"])
        assert await server.queue() == ([running], [pending])
        assert await server.post("/api/jobs/cancel", {"job_ids": []}) == (200, {"cancelled": False})
        many = {"job_ids": [running, pending, str(uuid.uuid4())]}
        assert await server.post("/api/jobs/cancel", many) == (200, {"cancelled": True})
        await window.ended(running)
        assert await server.queue() == ([], [])


@scenario("P43", since="0.3.45", until="0.26.0")
async def no_job_can_be_cancelled(server: Server) -> None:
    for path in ("/api/jobs/cancel", f"/api/jobs/{uuid.uuid4()}/cancel"):
        assert (await server.post(path, {"job_ids": []})).status == 405


@scenario("P43", since="0.6.0")
async def no_feature_tells_of_jobs(server: Server) -> None:
    features = (await server.get("/features")).body
    assert not [name for name in features if "job" in name]


@scenario("P51", since="0.28.0")
async def a_cached_run_of_nobody_has_its_outputs_in_the_record(server: Server) -> None:
    assert await _cached_outputs(server)


@scenario("P51", since="0.3.68", until="0.28.0")
async def a_cached_run_of_nobody_has_no_outputs_in_the_record(server: Server) -> None:
    assert not await _cached_outputs(server)


async def _cached_outputs(server: Server) -> object:
    graph = workflow("picture")
    async with server.socket() as window:
        await server.run(graph, window)
    return (await server.record(await server.submit(graph)))["outputs"]
