"""Silence: when a quiet task is asked about, when the operator is warned, and when the task is given up.

Silence is never evidence, only a reason to ask. A tier counts from the query of the tier before it, so that nothing is
given up unasked, whatever a clock did; time in which its server could not be asked is no silence of a task.
"""

from __future__ import annotations

import math
from itertools import accumulate, islice

from comfy_fsm.core.effects import FetchHistory, Warn
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.settlement import request_queue, request_record, settle
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.ending import Ending
from comfy_fsm.core.registry.registry import Registry, Server
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.task_parts import Silence

__all__ = ["await_end", "expire_overdue", "note_answer", "remind"]

_AT_ONCE = 64
"""Quiet tasks that are handled in one turn; the others are due at once, in the next."""
_CONFIRMED = frozenset({State.PENDING, State.IN_PROGRESS})
_PACE = (1, 1, 1, 1, 1, 2, 2, 3, 6)
"""Waits between two confirmations, in multiples of the first; the last one goes on."""
_STEPS = tuple(accumulate(_PACE))


def remind(registry: Registry) -> None:
    """Handle the quiet tasks whose reminder is due."""
    for _ in range(_AT_ONCE):
        task = registry.next_reminder(registry.now)
        if task is None:
            return
        server = registry.server(task.server)
        if _awaits_record(registry, task):
            registry.overdue[task.number] = task
        elif server.unreachable is not None:
            _wait_for(registry, server, task)
        else:
            _look_into(registry, server, task)


def _awaits_record(registry: Registry, task: Task) -> bool:
    """Return whether its outcome was stated, and its record did not come in the time that it had."""
    end = task.end
    if end.stated_at is None or end.confidence != "stated":
        return False
    return registry.now >= end.stated_at + registry.policy.verify_seconds


def _wait_for(registry: Registry, server: Server, task: Task) -> None:
    """Wait for a server that cannot be asked: that is no silence of the task, but there is an end to it."""
    gone = server.missed_at if server.missed_at is not None else registry.now
    if registry.now >= gone + registry.policy.expire_seconds * registry.policy.unreachable_times:
        registry.overdue[task.number] = task
        return
    request_queue(registry, task)
    registry.remind(task, math.nextafter(registry.now + registry.policy.check_seconds, math.inf))


def _look_into(registry: Registry, server: Server, task: Task) -> None:
    policy, silence, now = registry.policy, task.silence, registry.now
    since = _catch_up(server, task)
    soonest = since + policy.confirm_seconds
    if silence.begin(since) and now < soonest <= since + policy.check_seconds and task.end.stated_at is None:
        registry.remind(task, soonest)  # as most that wait in a queue, since each listing is a sign of life
        return
    if silence.tier and now >= _expiry(policy, silence):
        registry.overdue[task.number] = task
        return
    due, sooner = _due(policy, silence), since + _next(policy, silence)
    if silence.tier < 2 and now >= due:
        _reach(registry, task)
        due = _due(policy, silence)
    elif now >= sooner and (silence.tier == 0 or _is_listing(server)):
        _confirm(registry, task)  # a queue that takes long holds up no record
        sooner = since + _next(policy, silence)
    if silence.tier:  # its query may bring a sign of life, from which silence counts anew
        sooner = now + policy.check_seconds
    verify = math.inf if task.end.stated_at is None else task.end.stated_at + policy.verify_seconds
    later = [when for when in (due, sooner, verify) if now < when < math.inf]
    registry.remind(task, min(later) if later else math.nextafter(now, math.inf))


def _due(policy: Policy, silence: Silence) -> float:
    """Return when its next tier begins; always by this sum, since a difference may be rounded to less."""
    if silence.tier == 0:
        return silence.since + policy.check_seconds
    if silence.tier == 1:
        between = (policy.warn_seconds - policy.check_seconds) / 2
        return max(silence.since + policy.warn_seconds, silence.tier_at + between)
    return _expiry(policy, silence)


def _expiry(policy: Policy, silence: Silence) -> float:
    """Return when its task is given up, if nothing is heard of it."""
    between = (policy.expire_seconds - policy.check_seconds) / 2
    return max(silence.since + policy.expire_seconds, silence.asked_from + between)


def _reach(registry: Registry, task: Task) -> None:
    """Enter the next tier: report or warn of it, and send its query."""
    if task.silence.tier == 0:
        registry.report(Code.SILENCE, f"no sign of life for {registry.now - task.silence.since:.0f} s", task)
    elif task.prompt_id is not None:
        registry.emit(Warn(due=registry.now, server=task.server, prompt_id=task.prompt_id), task.prompt_id)
    task.silence.ask(registry.now)
    request_queue(registry, task)


def _catch_up(server: Server, task: Task) -> float:
    """Return since when the task is silent; a pause of its server starts no new silence."""
    silence, since = task.silence, server.quiet_since(task)
    before = max(task.last_sign, silence.quiet_from)
    if since != before and silence.since == before:
        window = server.windows.get(task.window)
        if window is None or window.resumed_at <= before:
            silence.shift(since)
    silence.pause(since, server.unreachable_spans.count)
    return since


def _next(policy: Policy, silence: Silence) -> float:
    """Return the seconds from the last sign of life to the next confirmation."""
    confirms = silence.confirms
    steps = _STEPS[confirms] if confirms < len(_STEPS) else _STEPS[-1] + _PACE[-1] * (confirms - len(_STEPS) + 1)
    return policy.confirm_seconds * steps


def _is_listing(server: Server) -> bool:
    """Return whether its queue was asked for, and no answer came yet."""
    return server.listing is not None and not server.listing.answered


def _confirm(registry: Registry, task: Task) -> None:
    """Fetch its record alone: a terminal one settles it, an empty one proves nothing and is no round of absence."""
    if task.prompt_id is None:
        return
    task.silence.confirm()
    if task.state in _CONFIRMED and not task.inquiry.requested and not task.inquiry.rounds:
        task.inquiry.confirm()
        registry.emit(FetchHistory(due=registry.now, server=task.server, prompt_id=task.prompt_id), task.prompt_id)


def await_end(registry: Registry, task: Task, *, by_job: bool) -> None:
    """Ask for the end of a listed task that is over, or of which no socket receives the end (P2)."""
    over = task.over
    if by_job or not over:
        task.inquiry.answered()
    if over:
        if not task.inquiry.requested:
            task.inquiry.miss()
        request_record(registry, task)
    else:
        task.inquiry.miss()
        request_queue(registry, task)


def expire_overdue(registry: Registry) -> None:
    """Give up overdue tasks, on a tick alone: any other entry may be about to report on them. A stated outcome
    stands."""
    overdue = list(islice(registry.overdue.values(), _AT_ONCE))
    for task in overdue:
        del registry.overdue[task.number]
        if task.settled:
            continue
        server = registry.server(task.server)
        if task.stated is not None and (_awaits_record(registry, task) or _is_quiet(registry, task)):
            settle(registry, task, Ending(task.stated, task.confidence or "stated"))
            text = "its record was not available: nothing confirms what was reported"
            registry.report(Code.UNVERIFIED, text, task)
            task.inquiry.owe()
            task.inquiry.answered()
            request_record(registry, task)
        elif (listed_by := _awaited(registry.policy, server, task)) > registry.now:
            if registry.now >= task.silence.since + _next(registry.policy, task.silence):
                _confirm(registry, task)
            registry.remind(task, min(listed_by, registry.now + registry.policy.confirm_seconds))
        elif _is_quiet(registry, task):
            task.end.blame(server.unreachable)
            settle(registry, task, Ending(State.EXPIRED, "inferred"))
        else:
            registry.remind(task, math.nextafter(registry.now, math.inf))


def _awaited(policy: Policy, server: Server, task: Task) -> float:
    """Return until when its list may still come: one of many megabytes takes its time, and that is no silence. Of those
    that were asked for later none is waited for, since one may always be under way."""
    listing, overdue = server.listing, server.quiet_since(task) + policy.expire_seconds
    if listing is None or listing.answered or listing.at > overdue:
        return -math.inf
    return listing.at + policy.deadline_seconds


def _is_quiet(registry: Registry, task: Task) -> bool:
    server = registry.server(task.server)
    return server.unreachable is not None or server.quiet_since(task) + registry.policy.expire_seconds <= registry.now


def note_answer(server: Server, now: float) -> None:
    """Note that the server answers: the time in which it did not is no silence of its tasks."""
    server.note_answered()
    if server.missed_at is not None:
        server.unreachable_spans.add(server.missed_at, now)
    server.missed_at = None
