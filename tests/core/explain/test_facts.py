"""Facts: the words that a diagnosis puts into its sentences, however long or odd what a server said was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.explain.diagnosis import Diagnosis, diagnose
from comfy_fsm.core.explain.facts import MAX_NAME
from comfy_fsm.display import cut, duration
from tests.support.stories import ID, ME, Story, begun, record


def told(story: Story) -> Diagnosis:
    return next(each for each in diagnose(story.board()) if each.prompt_id == ID)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.01, "0 s"), (0.05, "0.1 s"), (9.44, "9.4 s"), (9.6, "10 s"), (59.6, "1 min 0 s"),
     (61, "1 min 1 s"), (3_600, "1 h 0 min"), (90_061, "25 h 1 min")],
)  # fmt: skip
def test_a_span_is_told_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.text(max_size=200), st.integers(2, 100))
def test_a_name_is_cut_to_its_bound_and_shows_that_it_was(name: str, longest: int) -> None:
    shown = cut(name, longest)
    assert len(shown) <= longest
    assert (shown == name) is (len(name) <= longest)
    assert shown == name or shown.endswith("…")


def test_an_error_is_told_with_its_node_in_one_line() -> None:
    entry = record("error")
    failure = {"exception_type": "OSError", "exception_message": "disk\nfull", "node_id": "3", "node_type": "Save" * 40}
    assert isinstance(entry["status"], dict)
    entry["status"]["messages"] = [["execution_error", failure]]
    says = told(begun().fetch(entry)).says.text
    assert "OSError: disk full" in says
    assert "node 3 (SaveSave" in says
    assert "Save" * (MAX_NAME // 4) not in says


@pytest.mark.parametrize(("kind", "count"), [("the last request", 1), ("the last 3 requests", 3)])
def test_how_often_a_server_was_asked_in_vain_is_told(kind: str, count: int) -> None:
    story = begun()
    for _ in range(count):
        story.fetch(status="ReadTimeout")
    diagnosis = told(story.wait(60))
    texts = [diagnosis.says.text, *(each.text for each in (*diagnosis.missing, *diagnosis.steps))]
    assert any(kind in text for text in texts)


@pytest.mark.parametrize(("nodes", "left"), [(1, "1, 2"), (7, "and 2 more")])
def test_the_nodes_that_are_left_are_named_up_to_a_few(nodes: int, left: str) -> None:
    graph = {str(n): {"class_type": "SaveImage", "inputs": {}} for n in range(1, nodes + 1)} | {
        "2": {"class_type": "SaveImage", "inputs": {}}}  # fmt: skip
    body = {"prompt": graph, "prompt_id": ID, "client_id": ME}
    story = Story().listen().ask("POST", "/prompt", body, 200, {"prompt_id": ID})
    diagnosis = told(story.hear("execution_start"))
    assert any(left in text for text in [diagnosis.says.text, *(remark.text for remark in diagnosis.missing)])


def test_a_window_without_a_name_is_told_as_such() -> None:
    story = begun().tell("http.request", {"id": "i", "method": "POST", "path": "/interrupt", "body": {}}, window=None)
    story.tell("http.response", {"id": "i", "status": 200, "body": None}, window=None)
    assert "a client without an id" in told(story).says.text


def test_what_two_pieces_of_evidence_say_is_told_where_they_disagree() -> None:
    says = told(begun().hear("execution_success").fetch(record("error", "execution_error"))).says.text
    assert "stated to be completed, while the record says failed" in says


def test_what_is_wrong_with_a_record_is_told_while_it_is_all_that_there_is() -> None:
    diagnosis = told(begun().fetch(record() | {"prompt": [1, "other", {}, {}, []]}))
    texts = [diagnosis.says.text, *(remark.text for remark in diagnosis.missing)]
    assert any("it names another prompt" in text for text in texts)


def test_a_part_of_the_trace_that_cannot_be_read_is_cited() -> None:
    story = begun().tell("ws.undecodable", {"error": "no JSON"}, window=None, server=None)
    diagnosis = told(story)
    assert any(len(story.lines) in remark.positions for remark in diagnosis.missing)
