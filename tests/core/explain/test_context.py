"""The context of a task: which acts may have hit it, which outage concerns it, and what its server last listed."""

from __future__ import annotations

import pytest

from comfy_fsm.core.explain.context import whose
from comfy_fsm.core.explain.diagnosis import diagnose
from comfy_fsm.core.registry.ending import Cause
from tests.support.stories import ID, ID2, OTHER, Story, begun


def says(story: Story) -> str:
    return next(each.says.text for each in diagnose(story.board()) if each.prompt_id == ID)


@pytest.mark.parametrize(
    ("window", "text"), [("w", "window w"), ("", "a client without an id"), (None, "a client without an id")]
)
def test_who_did_it_is_named_if_it_has_a_name(window: str | None, text: str) -> None:
    assert whose(Cause("interrupt", 1, 0.0, window)) == text
    assert whose(None) == "a client without an id"


THREATS: dict[str, tuple[Story, bool]] = {
    "removed by name": (Story().listen().post().act("/queue", {"delete": [ID]}, OTHER), True),
    "all removed": (Story().listen().post().act("/queue", {"clear": True}, OTHER), True),
    "another removed": (Story().listen().post().act("/queue", {"delete": [ID2]}, OTHER), False),
    "removed before its post": (Story().listen().act("/queue", {"clear": True}, OTHER).post(), False),
    "listed since": (Story().listen().post().act("/queue", {"clear": True}, OTHER).look(pending=(ID,)), False),
    "interrupted while it runs": (begun().act("/interrupt", {}, OTHER), True),
    "interrupted while it waits": (Story().listen().post().act("/interrupt", {}, OTHER), False),
    "interrupted before it ran": (Story().listen().post().act("/interrupt", {}, OTHER).start(), False),
    "removed while it runs": (begun().act("/queue", {"delete": [ID]}, OTHER), False),
}


@pytest.mark.parametrize("name", THREATS)
def test_an_act_threatens_what_it_may_have_hit(name: str) -> None:
    story, threatens = THREATS[name]
    assert (f"window {OTHER}" in says(story)) is threatens


def test_a_prompt_that_runs_and_runs_holds_up_what_waits_behind_it() -> None:
    story = Story().listen().post().look((ID2,), (ID,)).wait(40).look((ID2,), (ID,))
    assert f"behind prompt {ID2}" in says(story)
    moved = Story().listen().post().look((ID2,), (ID,)).wait(40).look(("third",), (ID,))
    assert "behind prompt" not in says(moved)


def test_an_answer_that_was_asked_for_before_the_post_says_nothing_of_it() -> None:
    assert "no longer lists it" not in says(Story().listen().look((ID2,)).post())
    assert "no longer lists it" in says(Story().listen().post().look((ID2,)))
