"""Parts of a task: what each keeps of what it is told, and what makes it begin anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.effects import Failure
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.ending import Cause, Ending
from comfy_fsm.core.registry.task_parts import (
    AbsenceRound,
    Inquiry,
    KnownEnd,
    PostAnswer,
    Remains,
    Run,
    Silence,
    SocketImages,
)

MANY = 1_000


def test_a_post_is_over_once_it_was_cut_off_unless_nothing_was_sent() -> None:
    for undelivered, over in ((False, 7.0), (True, None)):
        answer = PostAnswer()
        answer.lose(undelivered=undelivered)
        answer.end(7.0)
        assert answer.over_at == over


def test_an_answer_that_is_no_acceptance_is_kept() -> None:
    answer, failure = PostAnswer(), Failure(message="no")
    answer.doubt(failure, put_off=True)
    answer.refuse(400)
    assert (answer.doubted, answer.put_off, answer.refused) == (failure, True, 400)


def test_a_run_is_broken_by_a_gap_before_its_end_and_by_none_after_it() -> None:
    for ended in (False, True):
        run = Run()
        run.begin(has_timestamp=False)
        if ended:
            run.receive_end(null=True)
        run.miss()
        assert run.unbroken is ended


def test_a_run_begins_anew_with_its_start() -> None:
    run = Run()
    run.receive_end(null=True)
    run.receive_end()
    assert (run.end_received, run.null_received) == (True, True)
    run.begin(has_timestamp=True)
    assert (run.null_received, run.unbroken, run.has_timestamp) == (False, True, True)


def test_a_move_is_kept_until_it_is_forgotten() -> None:
    run = Run()
    run.move(3, 7.0)
    assert (run.moved_position, run.moved_at) == (3, 7.0)
    run.forget_move()
    assert run.moved_at is None


# what remains

names = st.frozensets(st.sampled_from("abcdef"))


@given(names, names, names, names)
def test_it_does_not_matter_whether_the_graph_is_known_before_its_nodes_or_after_them(
    sinks: frozenset[str], reached: frozenset[str], done: frozenset[str], dropped: frozenset[str]
) -> None:
    before, after = Remains(), Remains()
    before.plan(set(sinks))
    for remains in (before, after):
        remains.reach(reached, MANY)
        remains.finish(done, MANY)
    after.join(set(sinks))
    assert before.sinks == after.sinks == sinks - done
    assert after.reached == (sinks - done) & reached
    before.drop(dropped)
    assert before.sinks == sinks - done - dropped
    before.clear()
    assert (before.sinks, before.reached, before.announced) == (None, set(), {})


def test_while_the_graph_is_unknown_only_so_many_nodes_are_remembered_and_none_is_dropped() -> None:
    remains = Remains()
    for node in "abcdef":
        remains.reach(node, 2)
        remains.finish(node, 2)
    remains.drop("ab")
    assert remains.reached == remains.finished_early == set("ab")
    remains.join(None)
    assert remains.sinks is None


# silence


def test_a_silence_begins_anew_with_a_later_sign_of_life_and_not_if_it_is_only_shifted() -> None:
    silence = Silence()
    silence.begin(5.0)
    silence.ask(35.0)
    silence.confirm()
    silence.begin(5.0)
    assert (silence.tier, silence.confirms) == (1, 1)
    silence.shift(6.0)
    silence.begin(6.0)
    assert silence.tier == 1
    silence.begin(7.0)
    assert (silence.tier, silence.confirms) == (0, 0)


def test_the_first_question_of_a_silence_is_remembered_beside_the_last() -> None:
    silence = Silence()
    for at in (30.0, 120.0):
        silence.ask(at)
    assert (silence.tier, silence.asked_from, silence.tier_at) == (2, 30.0, 120.0)
    silence.pause(40.0, 2)
    silence.end()
    assert (silence.tier, silence.paused, silence.quiet_from) == (0, 0, 40.0)


# inquiries


@given(st.integers(0, 40))
def test_of_many_rounds_of_absence_the_first_and_the_last_are_kept(count: int) -> None:
    inquiry = Inquiry()
    for number in range(count):
        inquiry.add_round(AbsenceRound(number, 0.0, 0.0, number, None))
    orders = [each.order for each in inquiry.rounds]
    assert orders == sorted(orders)
    assert len(orders) == min(count, 16)
    assert orders[:1] + orders[-1:] == ([0, count - 1] if count else [])
    inquiry.forget_rounds()
    assert inquiry.rounds == []


def test_queries_in_vain_are_counted_until_there_is_news() -> None:
    inquiry = Inquiry()
    inquiry.request()
    inquiry.fail()
    inquiry.miss()
    assert (inquiry.fruitless, inquiry.requested) == (2, False)
    inquiry.hasten()
    assert inquiry.fruitless == 0
    inquiry.request()
    inquiry.answered()
    assert not inquiry.requested
    inquiry.request()
    inquiry.miss()
    inquiry.start_over()
    assert (inquiry.fruitless, inquiry.requested) == (0, False)


def test_a_record_that_was_asked_for_alone_is_answered_once() -> None:
    inquiry = Inquiry()
    inquiry.confirm()
    assert (inquiry.take_confirming(), inquiry.take_confirming()) == (True, False)


@pytest.mark.parametrize("found", [False, True])
def test_a_server_that_showed_it_stays_a_candidate(found: bool) -> None:
    inquiry = Inquiry()
    inquiry.admit("a")
    if found:
        inquiry.find("a")
    inquiry.dismiss("a")
    assert inquiry.candidates == ({"a": True} if found else {})


# the end


def test_the_first_signal_of_an_end_is_its_source_until_it_is_withdrawn() -> None:
    end = KnownEnd()
    assert end.report("executing", 3.0)
    assert not end.report("history", 4.0)
    assert (end.source, end.at) == ("executing", 3.0)
    end.withdraw()
    assert (end.source, end.at, end.confidence) == (None, None, None)


def test_an_end_is_stated_or_inferred_and_then_settled_and_verified() -> None:
    end, cause = KnownEnd(), Cause("outage", 1, 1.0)
    end.infer(None)
    assert (end.stated, end.confidence) == (None, "inferred")
    end.state(State.COMPLETED, 3.0)
    assert (end.stated, end.confidence, end.stated_at) == (State.COMPLETED, "stated", 3.0)
    end.close(5.0)
    end.close(6.0)
    end.settle(Ending(State.COMPLETED, "stated", None), 9, 7.0)
    end.verify(Ending(State.COMPLETED, "verified", "history"))
    end.blame(cause)
    assert (end.at, end.settled_at, end.settled_position) == (5.0, 7.0, 9)
    assert (end.confidence, end.confirmed_by, end.cause) == ("verified", "history", cause)


def test_a_node_that_is_dropped_sends_no_images() -> None:
    imaging = SocketImages(frozenset("ab"))
    imaging.execute("a")
    imaging.drop({"a"})
    assert (imaging.nodes, imaging.node) == (frozenset("b"), "a")
