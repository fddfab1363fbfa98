"""Tests of absence: no lie shorter than the grace makes a verdict, nor does a clock step; late evidence takes it
back.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm import Entry, State
from comfy_fsm.core.fold.absence import AT_ONCE, DISPUTED, LONE
from comfy_fsm.core.observations import Tick
from comfy_fsm.core.policy import Policy
from tests.support import stories
from tests.support.one_prompt import POLICY, PROMPT, RECORD, WINDOW, Story, never_answered, vanished


@pytest.mark.parametrize("command", ["resume", None])
def test_a_process_that_takes_over_takes_no_absence_back_and_explains_none_from_before_it(command: str | None) -> None:
    """What was absent before nobody watched was not forgotten while nobody did."""
    story = Story().open().post().count(1).count(0).look().wait(POLICY.absence_seconds / 2)
    if command is not None:
        story.tell("command", {"name": command})
        story.open()
    story.look().wait(POLICY.absence_seconds / 2).look().wait(POLICY.settle_seconds)
    assert story.state is State.CANCELLED


@pytest.mark.parametrize("late", [False, True])
def test_an_outage_explains_an_absence_whichever_of_two_sources_is_told_first(late: bool) -> None:
    story = Story().open()
    begun, fallen = story.wall, story.wall + 5
    if late:  # all of the socket first, and what was asked after it
        story.count(1).frame("execution_start", prompt_id=PROMPT)
        story.wall = fallen
        story.tell("ws.close", {"code": 1006, "reason": ""})
    story.wall = begun
    story.post()
    if not late:
        story.count(1).frame("execution_start", prompt_id=PROMPT)
        story.wall = fallen
        story.tell("ws.close", {"code": 1006, "reason": ""})
    story.at = story.wall = fallen + 1
    story.look().wait(POLICY.absence_seconds).look().wait(POLICY.settle_seconds)
    (task,) = story.board.tasks
    assert (task.state, task.cause.kind if task.cause else None) == (State.LOST, "hang-up")


def test_an_absence_that_lasts_and_that_a_count_agrees_with_is_believed_and_marked_as_concluded() -> None:
    story = vanished()
    (task,) = story.board.tasks
    assert (task.state, task.confidence, task.concluded) == (State.CANCELLED, "inferred", True)
    assert task.result().concluded


def test_each_tick_that_a_board_asks_for_moves_what_it_asks_for_next() -> None:
    """A client ticks when its board wants it: a time that stands still would be a tick, and a commit, for ever."""
    story = Story().open().post().count(1).look().look(record=True)
    assert story.state is State.COMPLETED
    for _ in range(20):
        due = story.board.due
        if due == float("inf"):
            return
        story.position += 1
        story.board.fold(Entry(story.position, Tick(at=due)))
        assert story.board.due > due
    raise AssertionError("a board whose only task is settled goes on asking for ticks")


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12), st.booleans(),
    st.sampled_from(("hidden", "restarted", "deleted")),
)  # fmt: skip
def test_no_lie_of_queue_and_history_shorter_than_the_grace_makes_a_verdict(
    pauses: list[float], socket: bool, known: str
) -> None:
    """It waits all the while: the count of the server says so, where it is heard."""
    story = Story()
    story = (story.open() if socket else story).post()
    story = story.count(1) if socket else story
    if known == "deleted":
        story.ask("POST", "/queue", None, {"delete": [PROMPT]})
    lied = 0.0
    grace = POLICY.absence_seconds / 3 if known == "restarted" else POLICY.absence_seconds
    if known == "restarted":
        story.ask("GET", "/queue", "ConnectError")
    story.look()
    for pause in pauses:
        if lied + pause >= grace or (known == "deleted" and not socket):
            break
        lied += pause
        story.wait(pause).look()
    assert story.state is State.PENDING
    story.look(listed=True)
    assert (story.state, story.delivered) == (State.PENDING, [])


@given(st.lists(st.floats(0.1, 20.0), min_size=1, max_size=12))
def test_a_queue_that_hides_what_the_server_counts_proves_nothing_however_long(pauses: list[float]) -> None:
    story = Story().open().post().count(1)
    for pause in pauses:
        story.wait(pause).look()
    assert story.state is State.PENDING
    assert not story.delivered


def test_a_look_that_was_asked_while_the_post_was_under_way_or_could_arrive_counts_for_nothing() -> None:
    story = Story().open()
    body = {"prompt": {}, "prompt_id": PROMPT, "client_id": WINDOW}
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": body})
    story.look().wait(20).look().wait(20).look()
    (task,) = story.board.tasks
    assert not task.inquiry.rounds
    story.tell("http.error", {"id": "p", "error": "ReadTimeout"})
    story.look().wait(POLICY.post_seconds - 1).look()
    assert not task.inquiry.rounds


def test_answers_that_contradict_each_other_are_named_and_nothing_is_concluded_there() -> None:
    story = Story().post().look().wait(2).look(listed=True).wait(2)
    for _ in range(20):
        story.look().wait(4)
    assert story.state is State.PENDING
    assert "mixed-servers" in story.codes


LATE = {
    "a statement": lambda story: story.frame("execution_success", prompt_id=PROMPT),
    "a record": lambda story: story.look(record=True),
    "a listing": lambda story: story.look(listed=True),
    "a frame of the run": lambda story: story.frame("executing", node="1", prompt_id=PROMPT),
}


@pytest.mark.parametrize("evidence", LATE)
def test_late_evidence_reopens_a_conclusion_with_one_finding_and_no_second_delivery(evidence: str) -> None:
    story = vanished()
    assert story.delivered == ["cancelled"]
    LATE[evidence](story.wait(10))
    assert story.state in (State.ENDING, State.COMPLETED, State.PENDING, State.IN_PROGRESS)
    assert "late-evidence" in story.codes
    story.wait(1).look(record=True)
    assert (story.state, story.delivered) == (State.COMPLETED, ["cancelled"])
    assert [finding.count for finding in story.board.findings if finding.code == "late-evidence"] == [1]


@pytest.mark.parametrize("evidence", LATE)
def test_late_evidence_reopens_no_proof(evidence: str) -> None:
    story = Story().open().post().count(1).frame("execution_success", prompt_id=PROMPT).look(record=True)
    before = story.state
    LATE[evidence](story.wait(10))
    assert (before, story.state, story.delivered) == (State.COMPLETED, State.COMPLETED, ["completed"])
    assert "late-evidence" not in story.codes


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_no_step_of_the_clock_makes_a_verdict_or_stops_one(steps: list[float]) -> None:
    story = Story(mono=True).open().post().count(1)
    for step in steps:
        story.wall += step
        story.wait(1)
        assert story.state is State.PENDING
    story.count(0).look().wait(2).look().wait(2).look().wait(2)
    assert story.state is State.CANCELLED


def test_a_sleep_of_an_hour_gives_nothing_up_unasked() -> None:
    story = Story().open().post().count(1).wait(3_600)
    assert story.state is State.PENDING
    assert story.wait(200).wait(200).state is State.EXPIRED


def test_an_outage_of_five_minutes_is_no_silence_of_the_task() -> None:
    story = Story().open().post().count(1).wait(20)
    for _ in range(30):
        story.ask("GET", "/queue", "ConnectError").wait(10)
    assert story.state is State.PENDING
    assert story.look(listed=True).wait(20).look(record=True).state is State.COMPLETED


def test_a_stated_end_never_expires_and_its_record_is_read_later() -> None:
    story = Story().open().post().count(1).frame("execution_success", prompt_id=PROMPT)
    for _ in range(8):
        story.ask("GET", f"/history/{PROMPT}", "ReadTimeout").wait(10)
    (task,) = story.board.tasks
    assert (task.state, task.confidence, story.delivered) == (State.COMPLETED, "stated", ["completed"])
    assert "unverified" in story.codes
    story.ask("GET", f"/history/{PROMPT}", RECORD)
    assert (task.confidence, story.delivered) == ("verified", ["completed"])
    assert "unverified" not in story.codes


def counted(story: Story, remaining: int) -> Story:
    return story.ask("GET", "/prompt", {"exec_info": {"queue_remaining": remaining}})


def looked_for(story: Story, seconds: float, *, rows: int = 0) -> Story:
    """Absent, and as the answers count, for so long; the last `status` that was heard says otherwise."""
    for _ in range(int(seconds / 2)):
        counted(story.look(), rows).wait(2)
    return story


def test_a_last_status_frame_that_is_lost_does_not_block_what_fresher_answers_say() -> None:
    story = Story().open().post().count(1).wait(1).look(listed=True).wait(1)
    looked_for(story, DISPUTED * POLICY.absence_seconds - 4)
    assert story.state is State.PENDING
    looked_for(story, 10)
    (task,) = story.board.tasks
    assert (task.state, task.concluded) == (State.CANCELLED, True)


@pytest.mark.parametrize("known", ["never shown", "counted again since", "shown again"])
def test_an_older_count_stands_where_the_answers_may_be_of_another_server(known: str) -> None:
    story = Story().open().post().count(1).wait(1)
    if known != "never shown":
        story.look(listed=True).wait(1)
    for _ in range(12):
        looked_for(story, 20)
        if known == "counted again since":
            story.count(1)
        elif known == "shown again":
            story.look(listed=True)
    assert story.state is State.PENDING


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("shown_by", ["queue", "history"])
def test_a_prompt_that_bears_the_mark_of_a_lost_one_takes_it_up_whatever_its_id(shown_by: str, framed: bool) -> None:
    other = "d0000000-0000-4000-8000-000000000000"
    story = never_answered()
    assert (story.state, story.delivered) == (State.LOST, ["lost"])
    extra = {"client_id": WINDOW, "comfy_fsm": PROMPT}
    item = [1, other, {}, extra, []]
    if framed:
        story.frame("execution_start", prompt_id=other, timestamp=1)
    if shown_by == "queue":
        story.ask("GET", "/queue", {"queue_running": [item], "queue_pending": []})
        assert story.state in (State.PENDING, State.IN_PROGRESS)
    record = {other: RECORD[PROMPT] | {"prompt": item}}
    story.frame("execution_success", prompt_id=other).ask("GET", f"/history/{other}", record).wait(1)
    (task,) = story.board.tasks
    assert (task.state, task.prompt_id, story.delivered) == (State.COMPLETED, other, ["lost"])
    assert "late-evidence" in story.codes
    assert "lost" not in story.codes


def test_a_queue_that_hid_what_was_counted_is_believed_again_when_it_lists_as_many() -> None:
    """It hid rows for a while, which is no sign of a second server: what is deleted there later is concluded."""
    story = Story().open().post().count(1)
    for _ in range(3):
        counted(story.look(), 1).wait(1)
    story.look(listed=True).wait(1).count(0)
    looked_for(story, POLICY.absence_seconds + 4)
    (task,) = story.board.tasks
    assert (task.state, task.concluded) == (State.CANCELLED, True)


def test_a_socket_and_answers_that_count_differently_for_long_are_of_two_servers() -> None:
    """The queue agrees with the socket, by chance; the count that was asked for does not: the prompt may be there."""
    story = Story().open().post().count(2)
    for _ in range(10):
        rows = [[n, f"d{n}000000-0000-4000-8000-000000000000", {}, {}, []] for n in (1, 2)]
        story.ask("GET", "/queue", {"queue_running": rows[:1], "queue_pending": rows[1:]})
        counted(story, 1).ask("GET", f"/history/{PROMPT}", {}).wait(2)
    assert story.state is State.PENDING
    assert "mixed-servers" in story.codes


def test_a_record_that_comes_after_a_lasting_absence_is_of_another_server_and_nothing_is_concluded_there() -> None:
    """Two tasks at a balancer whose queue is always of the other server: what became of the one warns of the other."""
    story = Story().open().post()
    other = "e0000000-0000-4000-8000-000000000000"
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": other, "client_id": WINDOW}
    story.ask("POST", "/prompt", {"prompt_id": other, "number": 2, "node_errors": {}}, body)
    for _ in range(4):
        story.look().ask("GET", f"/history/{other}", {}).wait(2)
    record = {other: RECORD[PROMPT] | {"prompt": [1, other, {}, {}, []]}}
    story.ask("GET", f"/history/{other}", record)
    for _ in range(20):
        counted(story.look(), 0).wait(4)
    assert [str(task.state) for task in story.board.tasks] == ["pending", "completed"]
    assert "mixed-servers" in story.codes


def test_what_a_socket_is_greeted_with_counts_nothing_that_was_posted_since() -> None:
    """A deaf one is greeted, too (P3): its count is older than the POST, however late it comes."""
    story = Story().post().open()
    story.look().wait(POLICY.absence_seconds).look().wait(POLICY.absence_seconds).look().wait(2)
    assert story.state is State.PENDING
    for _ in range(int(LONE)):
        story.look().wait(POLICY.absence_seconds)
    assert story.state is State.CANCELLED


def test_a_record_that_is_asked_for_before_the_post_was_answered_proves_nothing() -> None:
    """A frame shows that it was accepted; what was sent before its POST was over says nothing of it all the same."""
    story = Story().frame("execution_start", prompt_id=PROMPT)
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": PROMPT, "client_id": WINDOW}
    story.tell("http.request", {"id": "post", "method": "POST", "path": "/prompt", "body": body})
    for _ in range(4):
        story.look().wait(20)
    assert story.state is State.IN_PROGRESS


def test_a_post_that_was_cut_off_may_be_taken_up_for_a_while() -> None:
    story = Story().open().post("ReadTimeout")
    queue = {"queue_running": [[1, "another", {}, {}, []]], "queue_pending": []}
    body = {"prompt": {}, "prompt_id": "another", "client_id": WINDOW}
    story.ask("POST", "/prompt", {"prompt_id": "another"}, body)  # so it takes the ids that we choose
    for _ in range(3):
        story.ask("GET", "/queue", queue).ask("GET", f"/history/{PROMPT}", {}).wait(8)
    assert story.board.tasks[0].state is State.UNCERTAIN


def test_a_listing_that_is_older_than_the_absence_does_not_refute_it() -> None:
    """Another window asked before, and its answer is reported late."""
    story = Story().open().post().count(1).count(0).look()
    wall, story.wall = story.wall, story.wall - 0.5
    story.ask("GET", "/queue", {"queue_running": [], "queue_pending": [[1, PROMPT, {}, {}, []]]})
    story.wall = wall
    story.wait(POLICY.absence_seconds).look().wait(POLICY.settle_seconds)
    assert story.state is State.CANCELLED


def test_of_many_that_are_absent_each_turn_judges_the_next_unless_they_settled_meanwhile() -> None:
    story = stories.Story().listen()
    names = [f"{number:08}-2222-4333-8444-555555555555" for number in range(AT_ONCE + 2)]
    for name in names:
        story.post(prompt_id=name)
    story.look()
    for name in names:
        story.ask("GET", f"/history/{name}", None, 200, {})
    entry = stories.record() | {"prompt": [1, names[-1], {}, {}, []]}
    story.wait(0.0).ask("GET", f"/history/{names[-1]}", None, 200, {names[-1]: entry}).wait(0.0)
    for _ in range(2):
        story.look()
        for name in names:
            story.ask("GET", f"/history/{name}", None, 200, {})
        story.wait(9)
    for _ in range(4):
        story.wait(1.0)
    unhurried = Policy(check_seconds=1e5, warn_seconds=2e5, expire_seconds=3e5)
    states = [task.state for task in story.board(unhurried).tasks]
    assert states[-1] is State.COMPLETED
    assert set(states[:-1]) == {State.CANCELLED}


@pytest.mark.parametrize("remaining", [0, 1])
def test_the_least_number_that_was_told_while_a_queue_was_asked_for_agrees_with_it_or_does_not(remaining: int) -> None:
    story = Story().open().post().count(1)
    for _ in range(3):
        story.tell("http.request", {"id": f"slow {story.at}", "method": "GET", "path": "/queue"})
        asked = f"slow {story.at}"
        story.at, story.wall = story.at + 1, story.wall + 1
        story.count(remaining)
        story.at, story.wall = story.at + 1, story.wall + 1
        story.tell("http.response", {"id": asked, "status": 200, "body": {"queue_running": [], "queue_pending": []}})
        story.ask("GET", f"/history/{PROMPT}", {}).wait(POLICY.absence_seconds)
    assert story.state is (State.PENDING if remaining else State.CANCELLED)
