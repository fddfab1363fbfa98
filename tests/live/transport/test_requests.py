"""Tests of requests as values: what is built is what a route table reads, and hits nobody else's prompts."""

import json
from typing import Any

import pytest

from comfy_fsm.core.wire.bodies import MARK
from comfy_fsm.errors import BadWorkflow, UploadFailed
from comfy_fsm.live.transport import requests
from comfy_fsm.testing import picture

SERVER = "http://one:8188"


def test_a_post_holds_what_was_given_and_nothing_else() -> None:
    assert requests.post(picture()).body == {"prompt": picture()}
    given: dict[str, Any] = {"client_id": "w", "prompt_id": "p", "number": 0.0, "extra_data": {"a": 1}}
    body = requests.post(picture(), **given, front=True, partial_execution_targets=("2",)).body
    assert body == {"prompt": picture(), **given, "front": True, "partial_execution_targets": ["2"]}


@pytest.mark.parametrize(
    "workflow", [{}, {"nodes": []}, {"1": {}}, {"1": {"class_type": "A", "inputs": {"x": object()}}}]
)
def test_what_could_not_be_posted_is_refused_before_it_is(workflow: dict[str, Any]) -> None:
    with pytest.raises(BadWorkflow, match="nothing was sent"):
        requests.post(workflow)


def test_each_post_of_a_draft_bears_its_own_mark_and_leaves_the_draft_as_it_was() -> None:
    draft = requests.Draft(picture(), {"mine": 1})
    first, second = (draft.request("w", prompt_id).body for prompt_id in ("a", "b"))
    assert [body["extra_data"] for body in (first, second)] == [{"mine": 1, MARK: "a"}, {"mine": 1, MARK: "b"}]
    assert draft.extra_data == {"mine": 1}


def test_no_act_is_without_the_id_of_what_it_hits() -> None:
    """Without one, an interrupt hits whatever runs, and a delete is of all (P30, P31)."""
    acts = [requests.interrupt("p"), requests.delete(["p"]), requests.cancel_jobs(["p"]), requests.cancel_job("p")]
    assert all("p" in json.dumps([act.path, act.body]) for act in acts)
    assert not any("clear" in json.dumps(act.body) for act in acts)


def test_an_id_of_any_letters_stays_within_its_path() -> None:
    for build in (requests.history, requests.job, requests.asset, requests.cancel_job):
        path = build("../queue?a=b#c").path
        assert ".." not in path.split("/")
        assert "?" not in path


@pytest.mark.parametrize(
    ("body", "place"),
    [(b'{"name":"a (1).png","subfolder":"x","type":"input"}', "x/a (1).png"), (b'{"name":"b.png"}', "b.png")],
)
def test_where_an_upload_is_says_the_server(body: bytes, place: str) -> None:
    assert requests.uploaded(200, body, "a.png", SERVER) == place


@pytest.mark.parametrize(
    ("status", "words"),
    [(None, "check that ComfyUI runs there"), (401, "check the credentials"), (413, "max-upload-size"),
     (302, "a redirect to"), (200, "HTTP 200"), (500, "HTTP 500")],
)  # fmt: skip
def test_an_upload_that_was_not_taken_says_why_and_that_it_may_be_sent_again(status: int | None, words: str) -> None:
    with pytest.raises(UploadFailed, match="to send it again is safe") as raised:
        requests.uploaded(status, b"<html>", "a.png", SERVER, "ConnectError" if status is None else "/login")
    assert words in str(raised.value)
    assert raised.value.server == SERVER
