"""Tests of what an answer shows: a page, half an answer or another server's shows nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.engine.answers import is_conclusive, is_object, open_jobs, queued, shows_jobs
from comfy_fsm.live.transport.arrivals import Answer


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_queue_lists_what_waits_and_what_runs() -> None:
    item = [1, "a", {}, {}, []]
    assert queued(answer({"queue_running": [item], "queue_pending": [[2, "b", {}, {}, []]]})) == {"a", "b"}
    assert queued(answer({"queue_running": [], "queue_pending": []})) == frozenset()


@pytest.mark.parametrize("shown", [None, answer(b"<html>"), answer({}), answer({"queue_running": []}, 502)])
def test_what_is_no_queue_is_not_an_empty_one(shown: Answer | None) -> None:
    assert queued(shown) is None
    assert open_jobs(shown) is None


@pytest.mark.parametrize(
    ("shown", "conclusive"),
    [(answer({"id": "a", "status": "completed"}), False), (answer({"id": "a", "status": "in_progress"}), True),
     (answer({"id": "a", "status": "resting"}), False), (answer({"error": "Job not found"}, 404), True),
     (answer({"detail": "Not Found"}, 404), False), (answer(b"<html>"), False), (None, False)],
)  # fmt: skip
def test_a_job_decides_where_its_prompt_is_and_not_how_it_ended(shown: Answer | None, conclusive: bool) -> None:
    assert is_conclusive(shown) is conclusive


def test_a_server_has_jobs_also_where_one_odd_prompt_breaks_the_list() -> None:
    assert shows_jobs(answer({"jobs": [], "pagination": {}}))
    assert shows_jobs(answer(b"Internal Server Error", 500))
    assert not shows_jobs(answer({"error": "x"}, 404))


@given(st.binary(max_size=60), st.sampled_from([200, 404, 500]))
def test_nothing_that_a_server_answers_raises(body: bytes, status: int) -> None:
    told = Answer(status, body)
    for read in (queued, open_jobs, is_conclusive, shows_jobs):
        read(told)
    assert is_object(body) in (True, False)
