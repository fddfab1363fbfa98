"""Acts of windows: whose interrupt or removal it was, and that what was refused or never sent was nobody's."""

from __future__ import annotations

from typing import get_args

import pytest

from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.ending import Cause
from comfy_fsm.core.registry.window_acts import ACTS
from comfy_fsm.core.wire import routes
from tests.support.stories import ID, ID2, OTHER, Story, begun, record


def test_every_kind_of_request_has_a_route_and_every_act_its_causes() -> None:
    plain, acts = (get_args(each) for each in get_args(routes.Kind))
    assert {route.kind for route in routes.ROUTES} | {routes.OTHER} == {*plain, *acts}
    assert set(ACTS) == set(acts)


def cause(story: Story, policy: Policy | None = None) -> Cause | None:
    (task,) = story.board(policy or Policy()).tasks
    return task.cause


def interrupted(path: str, body: object, status: int | str = 200, answer: object = None) -> Story:
    story = begun().ask("POST", path, body, status, answer, OTHER)
    return story.hear("execution_interrupted").fetch(record("error", "execution_interrupted"))


BATCH, CANCEL = "/api/jobs/cancel", f"/api/jobs/{ID}/cancel"
INTERRUPTS: list[tuple[str, object, str | None]] = [
    ("/interrupt", {"prompt_id": ID}, ""),
    ("/interrupt", {}, "any"),
    ("/interrupt", None, "any"),
    ("/interrupt", {"prompt_id": ID2}, "other"),
    (CANCEL, None, ""),
    (f"/api/jobs/{ID2}/cancel", None, None),
    (BATCH, {"job_ids": [ID2, ID]}, ""),
    (BATCH, {"job_ids": [ID2]}, None),
    (BATCH, "odd", None),
]


@pytest.mark.parametrize(("path", "body", "what"), INTERRUPTS)
def test_an_interrupt_is_of_the_window_that_asked_for_it(path: str, body: object, what: str | None) -> None:
    found = cause(interrupted(path, body))
    assert (found is None) is (what is None)
    if found is not None:
        assert (found.kind, found.window) == ("interrupt", OTHER)
        assert bool(found.what) is bool(what)


@pytest.mark.parametrize("path", ["/interrupt", CANCEL])
@pytest.mark.parametrize("status", [404, 500, "ConnectError"])
def test_an_act_that_was_refused_or_never_sent_is_nobodys(path: str, status: int | str) -> None:
    assert cause(interrupted(path, {"prompt_id": ID}, status)) is None


def test_a_cancel_that_found_nothing_is_nobodys() -> None:
    assert cause(interrupted(CANCEL, None, 200, {"cancelled": False})) is None
    assert cause(interrupted(CANCEL, None, 200, {"cancelled": True})) is not None


@pytest.mark.parametrize(
    ("body", "kind"),
    [({"delete": [ID]}, "delete"), ({"clear": True}, "delete"), ({"delete": [ID2]}, None), ({}, None), ("odd", None)],
)
def test_what_left_the_queue_was_removed_by_the_window_that_removed_it(body: object, kind: str | None) -> None:
    (task,) = Story().listen().post().act("/queue", body, OTHER).vanish().board().tasks
    assert task.state is State.CANCELLED
    assert (task.cause.kind if task.cause is not None else None) == kind


def test_a_history_that_was_cleared_explains_what_is_lost_after_it() -> None:
    found = cause(begun().act("/history", {"clear": True}, OTHER).vanish())
    assert found is not None
    assert (found.kind, found.window) == ("clear-history", OTHER)


def test_an_act_that_is_refused_after_it_was_forgotten_changes_nothing() -> None:
    """Of many acts the last are remembered; the answer to an older one may still come."""
    story = begun()
    story.tell("http.request", {"id": "late", "method": "POST", "path": "/interrupt", "body": {}}, OTHER)
    story.act("/interrupt", {"prompt_id": ID}, OTHER)
    story.tell("http.response", {"id": "late", "status": 500}, OTHER)
    story.hear("execution_interrupted")
    found = cause(story, Policy(acts=1))
    assert found is not None
    assert found.window == OTHER
