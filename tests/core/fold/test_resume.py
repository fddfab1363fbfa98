"""Tests of resuming: what `resume` asks for anew, and how an unanswered POST is found by our mark (P10, P11)."""

import pytest

from comfy_fsm import Board, Deliver, LookAtQueue, Policy, State, read

SERVER, WINDOW, CHOSEN, GIVEN = "http://s", "w", "c0000000-0000-4000-8000-000000000000", "given-by-the-server"
MARKED = f'[1,"{GIVEN}",{{}},{{"comfy_fsm":"{CHOSEN}"}},[]]'
RECORD = '{"prompt":%s,"outputs":{},"status":{"status_str":"success","completed":true,"messages":[]}}'


class Story:
    """Lines folded one after another, a second apart."""

    def __init__(self) -> None:
        self.board = Board(Policy(absences=1, absence_seconds=0, post_seconds=0))
        self.position = 0

    def tell(self, kind: str, data: str = "{}", window: str | None = WINDOW) -> list:
        self.position += 1
        envelope = f'"at":{self.position},"kind":"{kind}","server":"{SERVER}","data":{data}'
        line = "{" + envelope + (f',"window":"{window}"' if window else "") + "}"
        self.board.fold_observation(self.position, read(line.encode()))
        return self.board.drain()

    def post(self) -> None:
        body = f'{{"prompt_id":"{CHOSEN}","client_id":"{WINDOW}","prompt":{{}}}}'
        self.tell("http.request", f'{{"id":"r1","method":"POST","path":"/prompt","body":{body}}}')

    def ask(self, number: str, path: str, body: str) -> list:
        self.tell("http.request", f'{{"id":"{number}","method":"GET","path":"{path}"}}')
        return self.tell("http.response", f'{{"id":"{number}","status":200,"body":{body}}}')

    def resume(self) -> list:
        return self.tell("command", '{"name":"resume"}')

    @property
    def state(self) -> State:
        task = self.board.task(CHOSEN, SERVER)
        assert task is not None
        return task.state


def test_a_post_without_an_answer_is_uncertain_after_a_crash_and_looked_for() -> None:
    story = Story()
    story.post()
    assert [type(effect) for effect in story.resume()] == [LookAtQueue]
    assert story.state is State.UNCERTAIN


def test_an_open_socket_is_no_longer_open_after_a_crash() -> None:
    story = Story()
    story.tell("ws.open")
    story.post()
    story.tell("http.response", f'{{"id":"r1","status":200,"body":{{"prompt_id":"{CHOSEN}"}}}}')
    story.resume()
    story.tell("ws.open")
    assert {finding.code for finding in story.board.findings} == {"socket-gap"}


@pytest.mark.parametrize("delivered", [True, False])
def test_a_settled_result_is_delivered_after_a_crash_unless_it_was(delivered: bool) -> None:
    story = Story()
    story.post()
    story.tell("http.response", '{"id":"r1","status":400,"body":{}}')
    if delivered:
        story.tell("delivered", f'{{"prompt_id":"{CHOSEN}","state":"rejected"}}')
    assert [type(effect) for effect in story.resume()] == [Deliver] * (not delivered)


def test_resume_touches_no_other_window() -> None:
    story = Story()
    story.post()
    assert not story.tell("command", '{"name":"resume"}', window="another")
    assert story.state is State.SUBMITTING


@pytest.mark.parametrize(("resumed", "state"), [(True, State.LOST), (False, State.CANCELLED)])
def test_a_pending_task_that_vanished_while_nobody_watched_is_not_called_cancelled(resumed: bool, state: State) -> None:
    story = Story()
    story.post()
    story.tell("http.response", f'{{"id":"r1","status":200,"body":{{"prompt_id":"{CHOSEN}"}}}}')
    if resumed:
        story.resume()
    story.ask("q1", "/queue", '{"queue_running":[],"queue_pending":[]}')
    story.ask("h1", f"/history/{CHOSEN}", "{}")
    for _ in range(3):
        story.tell("tick")
    assert story.state is state


@pytest.mark.parametrize("place", ["pending", "running"])
def test_a_prompt_under_another_id_is_found_in_the_queue_by_our_mark(place: str) -> None:
    story = Story()
    story.post()
    story.tell("http.error", '{"id":"r1","error":"ReadTimeout"}')
    queue = {"pending": f'{{"queue_running":[],"queue_pending":[{MARKED}]}}',
             "running": f'{{"queue_running":[{MARKED}],"queue_pending":[]}}'}[place]  # fmt: skip
    story.ask("q1", "/queue", queue)
    task = story.board.task(CHOSEN, SERVER)
    assert task is story.board.task(GIVEN, SERVER)
    assert task is not None
    assert (task.prompt_id, task.state) == (GIVEN, "in_progress" if place == "running" else "pending")


def test_a_prompt_under_another_id_is_found_in_the_history_by_our_mark() -> None:
    story = Story()
    story.post()
    story.tell("http.error", '{"id":"r1","error":"ReadTimeout"}')
    story.ask("h1", "/history?max_items=200", f'{{"{GIVEN}":{RECORD % MARKED}}}')
    assert story.state is State.COMPLETED


def test_another_clients_mark_finds_nothing() -> None:
    story = Story()
    story.post()
    story.tell("http.error", '{"id":"r1","error":"ReadTimeout"}')
    story.ask("q1", "/queue", '{"queue_running":[],"queue_pending":[[1,"x",{},{"comfy_fsm":"y"},[]]]}')
    assert story.state is State.UNCERTAIN


def test_where_ids_are_not_honoured_a_history_of_all_proves_that_it_was_never_accepted() -> None:
    story = Story()
    story.ask("f1", "/features", "{}")
    story.tell("http.request", '{"id":"f2","method":"GET","path":"/features"}')
    story.tell("http.response", '{"id":"f2","status":404}')
    story.post()
    story.tell("http.error", '{"id":"r1","error":"ReadTimeout"}')
    story.ask("q1", "/queue", '{"running":[],"pending":[]}')
    story.ask("h1", f"/history/{CHOSEN}", "{}")
    assert story.state is State.UNCERTAIN  # it may be there under another id (P10)
    story.ask("q2", "/queue", '{"running":[],"pending":[]}')
    story.ask("h2", "/history?max_items=200", "{}")
    for _ in range(3):  # what its socket may still hold has had its time
        story.tell("tick")
    assert story.state is State.LOST
