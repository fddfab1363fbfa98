"""Counterexamples found by long campaigns over the laws, each shrunk to a story, so that finding it needs no luck."""

from __future__ import annotations

from typing import Any

from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.testing.strategies.scripted import GRAPHS, OLDEST, PROMPTS, SERVERS, WINDOWS, Script
from tests.support.folding import fold_all

PROMPT, SERVER, WINDOW, OTHER = PROMPTS[0], SERVERS[0], WINDOWS[0], WINDOWS[1]
POSTED = {"prompt": GRAPHS[0], "client_id": WINDOW}
ACCEPTED = {"prompt_id": PROMPT, "number": 1, "node_errors": {}}
RUNNING = {"queue_running": [[1, PROMPT, {}, {}, []]], "queue_pending": []}
RECORD = {PROMPT: {"prompt": [1, PROMPT, GRAPHS[0], {}, ["3"]], "outputs": {}}}


class Story(Script):
    """Told by hand, on a server of 2023, where a run ends with `executing` null alone (P22)."""

    def __init__(self) -> None:
        super().__init__(OLDEST)
        self.open(WINDOW, SERVER)
        self.open(OTHER, SERVER)

    def say(self, kind: str, window: str = WINDOW, **data: Any) -> None:
        self.frame(kind, {"prompt_id": PROMPT, **data}, window, SERVER)

    def request(self, number: str, method: str, path: str, body: object = None) -> None:
        self.add("http.request", WINDOW, SERVER, {"id": number, "method": method, "path": path, "body": body})

    def response(self, number: str, body: object) -> None:
        self.add("http.response", WINDOW, SERVER, {"id": number, "status": 200, "body": body})

    def posted(self) -> None:
        self.request("post", "POST", "/prompt", POSTED)
        self.response("post", ACCEPTED)

    def ran(self) -> None:
        self.say("execution_start")
        self.say("execution_cached", nodes=[])
        for node in GRAPHS[0]:
            self.say("executing", node=node)
        self.say("executing", node=None)

    def task(self) -> Task:
        (task,) = fold_all(self.seen).tasks
        return task


def test_an_answer_asked_for_before_the_end_and_read_after_it_does_not_make_the_task_run_again() -> None:
    """`executing` null says that it ended (P22); only what was concluded from progress can be taken back (P16)."""
    story = Story()
    story.posted()
    story.request("look", "GET", "/queue")
    story.ran()
    story.response("look", RUNNING)
    assert story.task().state is State.ENDING


def test_a_socket_that_drops_after_the_end_has_heard_the_run_as_a_whole() -> None:
    story = Story()
    story.posted()
    story.ran()
    story.close(WINDOW, SERVER)
    story.open(WINDOW, SERVER)
    story.request("record", "GET", f"/history/{PROMPT}")
    story.response("record", RECORD)
    assert story.task().state is State.COMPLETED


def test_a_frame_to_another_window_before_the_post_is_answered_does_not_start_our_task() -> None:
    """It is adopted by that window, which must not become our task with all that it was told."""
    story = Story()
    story.say("execution_start", window=OTHER)
    story.posted()
    tasks = [task for task in fold_all(story.seen).tasks if task.window == WINDOW]
    assert [(task.state, task.started_at) for task in tasks] == [(State.PENDING, None)]


def test_a_frame_to_another_window_between_the_post_and_its_answer_does_not_start_our_task() -> None:
    story = Story()
    story.request("post", "POST", "/prompt", POSTED)
    story.say("execution_start", window=OTHER)
    story.response("post", ACCEPTED)
    tasks = [task for task in fold_all(story.seen).tasks if task.window == WINDOW]
    assert [(task.state, task.started_at) for task in tasks] == [(State.PENDING, None)]


def test_a_sink_that_was_cached_before_the_post_was_seen_is_done_all_the_same() -> None:
    """A server of 2023 tells no `executed` of a cached sink (P14), and the frames came before the POST (P12)."""
    story = Story()
    story.say("execution_start")
    story.say("execution_cached", nodes=list(GRAPHS[0]))
    story.say("executing", node=None)
    story.posted()
    assert story.task().outcome is State.COMPLETED


def test_an_older_look_of_another_window_that_is_told_late_does_not_refute_an_absence() -> None:
    """Each window's own requests keep their order; between two windows only the times tell which look was older."""
    story = Story()
    story.posted()
    begun = len(story.seen)
    story.ask("GET", "/queue", OTHER, SERVER, None, 200, {"queue_running": [], "queue_pending": [[1, PROMPT]]})
    older = story.seen[begun:]
    for number, method, path, body, answer in (
        ("delete", "POST", "/queue", {"delete": [PROMPT]}, None),
        ("look", "GET", "/queue", None, {"queue_running": [], "queue_pending": []}),
        ("record", "GET", f"/history/{PROMPT}", None, {}),
    ):
        story.request(number, method, path, body)
        story.response(number, answer)
    rest = story.seen[begun + 2 :]
    for place in range(len(rest) + 1):
        (task,) = fold_all([*story.seen[:begun], *rest[:place], *older, *rest[place:]]).tasks
        assert task.state is State.CANCELLED, place


def test_a_task_that_frames_told_of_first_is_its_posters_though_the_client_id_is_of_another() -> None:
    """The frames are adopted for the window that heard them (P12); the answer to the POST then says whose they are."""
    story = Story()
    story.ran()
    body = {"prompt": GRAPHS[0], "client_id": WINDOW}
    story.add("http.request", OTHER, SERVER, {"id": "post", "method": "POST", "path": "/prompt", "body": body})
    story.add("http.response", OTHER, SERVER, {"id": "post", "status": 200, "body": ACCEPTED})
    story.say("executing", node=None)
    task = story.task()
    assert (task.window, task.client_id, task.posts) == (OTHER, WINDOW, 1)
