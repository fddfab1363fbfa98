"""A server, as its windows see it: its version, its outages, its queue, and which addresses are one server."""

from __future__ import annotations

import pytest

from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.servers import Server
from tests.support.stories import HOME, ID, ID2, ME, OTHER, Story, begun

NAMED = "http://localhost:8188"


def home(story: Story, url: str = HOME) -> Server:
    return story.board().server(url)


def version(story: Story, text: str) -> Story:
    return story.ask("GET", "/system_stats", None, 200, {"system": {"comfyui_version": text}})


@pytest.mark.parametrize(
    ("text", "names_cancelled", "by_id"),
    [("0.3.56", False, False), ("0.3.57", False, True), ("0.8.9", False, True), ("0.9.0", True, True),
     ("unknown", None, False)],
)  # fmt: skip
def test_its_version_says_what_it_can(text: str, names_cancelled: bool | None, by_id: bool) -> None:
    server = home(version(Story(), text))
    assert (server.names_cancelled, server.interrupts_by_id) == (names_cancelled, by_id)


def test_a_job_that_it_shows_says_more_than_its_version() -> None:
    story = version(Story().listen().post(), "0.8.0")
    story.ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "cancelled"})
    server = home(story)
    assert (server.names_cancelled, server.interrupts_by_id) == (True, True)


def test_a_version_that_cannot_be_read_does_not_replace_one_that_could() -> None:
    assert home(version(version(Story(), "0.9.0"), "unknown")).version == (0, 9, 0)


def test_two_addresses_are_one_server_unless_their_versions_differ() -> None:
    story = version(Story().listen(), "0.9.0")
    assert len(home(version(story.at(NAMED), "0.9.0")).names()) == 2
    other = version(version(Story().listen(), "0.9.0").at(NAMED), "0.8.0")
    assert [server.url for server in home(other).names()] == [HOME]


def test_what_the_queue_lists_as_running_is_remembered_for_as_long_as_it_does() -> None:
    story = Story().listen().post().look((ID, ID2)).look((ID,))
    first, last = home(story).running[ID]
    assert (list(home(story).running), last.at - first.at) == ([ID], 2.0)


def test_a_job_that_runs_no_more_is_not_remembered_as_running() -> None:
    story = Story().listen().post().ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "in_progress"})
    assert list(home(story).running) == [ID]
    story.ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "pending"})
    assert home(story).running == {}


def test_an_answer_of_another_window_that_comes_late_interrupts_nothing() -> None:
    story = Story().listen().post()
    story.tell("http.request", {"id": "late", "method": "GET", "path": "/queue"}, OTHER).look((ID,))
    story.tell("http.response", {"id": "late", "status": 200, "body": {"running": [], "pending": []}}, OTHER)
    assert len(home(story).queues) == 2


@pytest.mark.parametrize(("error", "kind"), [("ConnectError", "outage"), ("ReadTimeout", None)])
def test_an_outage_is_a_connection_that_is_refused_and_no_answer_that_is_slow(error: str, kind: str | None) -> None:
    server = home(begun().look(status=error))
    assert (server.outage.kind if server.outage is not None else None) == kind
    assert server.failures == 1
    assert server.unreachable is not None


def test_an_answer_ends_what_was_unreachable() -> None:
    server = home(begun().look(status="ReadTimeout").look(status=502).look((ID,)))
    assert (server.failures, server.unreachable) == (0, None)


def test_an_outage_explains_nothing_of_what_was_reported_on_since() -> None:
    for story, kind in ((begun().look(status="ConnectError"), "outage"),
                        (begun().look(status="ConnectError").hear("progress", value=1, max=2), None)):  # fmt: skip
        board = story.board()
        (task,) = board.tasks
        cause = board.server(HOME).outage_since(task)
        assert (cause.kind if cause is not None else None) == kind


def test_of_two_outages_the_later_is_the_last_whichever_was_reported_first() -> None:
    story = begun().look(status="ConnectError")
    second = home(story.hang_up()).outage
    assert second is not None
    assert second.kind == "hang-up"


def test_open_tasks_are_listed_under_each_of_their_windows_until_they_settle() -> None:
    story = Story().listen().post(client_id=OTHER)
    assert sorted(name or "" for name in home(story).own) == [ME, OTHER]
    settled = story.vanish()
    (task,) = settled.board().tasks
    assert task.state is State.CANCELLED
    assert home(settled).own == {}


def test_an_older_outage_that_is_reported_later_is_not_the_last() -> None:
    story = begun().look(status="ConnectError")
    story._at -= 9.0
    last = home(story.hang_up()).outage
    assert last is not None
    assert last.kind == "outage"


def test_a_snapshot_that_was_taken_before_the_last_one_changes_nothing_of_what_runs() -> None:
    """Logs of two processes are merged by the time of each line, and their clocks may differ."""
    story = Story().listen().post().look((ID,))
    story._at -= 5.0
    assert list(home(story.look((ID2,))).running) == [ID]
