"""Settings: every threshold that the fold obeys, with its unit and the reason for its default."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

__all__ = ["DEFAULT", "IN_HEADER", "Policy", "backoff", "differing", "from_header", "to_header"]


class Policy(Struct, frozen=True, kw_only=True):
    """Thresholds: how long to wait, how often to ask, how much to remember."""

    check_seconds: float = 30.0
    """Seconds without a sign of life before the server is asked about a task; a node may be silent without fault
    (P5)."""
    confirm_seconds: float = 5.0
    """Seconds without a sign of life before the record alone is fetched, to settle the task if it is there; repeated
    less and less often."""
    verify_seconds: float = 30.0
    """Seconds to wait for the record of a task whose end was stated; then its result is delivered, and the record read
    later."""
    warn_seconds: float = 120.0
    """Seconds of silence before the operator is warned."""
    expire_seconds: float = 300.0
    """Seconds of silence before a task is given up as `expired`, unless its end was stated. Time in which its server
    did not answer does not count."""
    unreachable_times: float = 3.0
    """Multiple of `expire_seconds` for which a server may leave all requests unanswered before its tasks are given
    up."""
    absences: int = 2
    """Least number of queue-then-history rounds (P29) that prove an absence: a queue may hide an item (F27)."""
    absence_seconds: float = 3.0
    """Least number of seconds between the first and the last of the rounds that a count of the server agrees with. Five
    times as many where it counts nothing; a third where an act or an outage explains the absence, and none where a
    count agrees with it, too."""
    post_seconds: float = 30.0
    """Seconds for which a server may still take up a POST that was cut off without an answer: a query sent sooner
    proves no absence."""
    settle_seconds: float = 2.0
    """Seconds after the first round of absence in which an open socket may still deliver what was sent before it."""
    look_seconds: float = 1.0
    """Seconds on which the wait between two queries is based: it grows from half of this; see `pause`."""
    look_limit_seconds: float = 30.0
    """Longest wait between two queries, in seconds."""
    reopen_seconds: float = 0.5
    """Seconds before a lost socket is opened again; doubles with each failure."""
    reopen_limit_seconds: float = 30.0
    """Longest such wait, in seconds."""
    damp_seconds: float = 10.0
    """Seconds that a connection must last not to count as one more failure: some succeed even in a storm (F28)."""
    deadline_seconds: float = 30.0
    """Seconds for which a server may be silent before it answers; an answer may take longer, as long as data keeps
    coming."""
    connect_seconds: float = 10.0
    """Seconds in which a connection must be made, handshakes included."""
    write_seconds: float = 30.0
    """Seconds in which a server may take none of the data sent to it: a body that makes progress is never cut off,
    however large it is."""
    upload_seconds: float = 0.0
    """Seconds that a POST or an upload may take as a whole; 0 means no limit while it makes progress."""
    prove_seconds: float = 5.0
    """Seconds after a POST in which an open socket may stay entirely silent before its prompt is looked for over HTTP
    (P3)."""
    open_seconds: float = 15.0
    """Seconds that a submission waits for its socket."""
    http_seconds: float = 5.0
    """Longest wait in seconds between two queries about a task whose server refuses sockets: nothing else reports on
    it."""
    return_seconds: float = 3.0
    """Longest wait in seconds between two queries to a server that answers none; once it does, every open task there is
    queried at once."""
    refusal_seconds: float = 120.0
    """Seconds in all that a submission waits to be posted again if it is refused for now (429 or 503, with
    Retry-After). After a 429 none of it was queued; after a 503 its absence is proved first. 0 means not at all; a
    submission that would wait longer is reported as refused, or as lost."""
    resubmits: int = 0
    """How often an unanswered prompt is posted again, under a new id, once its absence is proved and confirmed (P11,
    F14). With 0, a dispatcher moves no job whose POST was cut off, either: it may be under way for longer than that."""
    waiting_prompts: int = 1_000
    """Prompts of unknown owner remembered for each server; the oldest is dropped first."""
    waiting_frames: int = 64
    """Frames remembered for each such prompt; the first are kept, since they tell most."""
    unposted: int = 100_000
    """Tasks known from frames alone: bounded, since a server may name as many prompts as it likes."""
    questions: int = 10_000
    """Unanswered requests remembered; the oldest is dropped first."""
    delivered: int = 10_000
    """Delivered tasks that a client remembers, so that one that runs for a year stays small: twice as many are cut to
    this number, the oldest first. The log keeps all, and a replay judges all. 0 means to remember every one."""
    homes: int = 100_000
    """Ids remembered of tasks that were dropped; the oldest goes first. A late frame comes far sooner."""
    acts: int = 256
    """Interrupts and deletions remembered for each server, to say whose they were."""
    jobs: int = 100_000
    """Jobs that may wait for a server; more are refused."""
    signals: int = 64
    """Signals remembered for each task."""
    lines: int = 8
    """Positions cited by each finding; the rest are only counted."""
    names: int = 32
    """Unknown types, routes, words and fields that are named one by one in one place; all others share one finding."""
    outputs: int = 50_000
    """Output files kept for each task, and texts: each frame of a long video may be one. A cut is reported as a
    finding."""
    text_characters: int = 8 * 1024 * 1024
    """Characters kept for each task, of all its texts."""
    image_bytes: int = 4 * 1024 * 1024 * 1024
    """Bytes kept for each task, of images that came over the socket: a client keeps them on disk until it closes."""
    findings: int = 100_000
    """Findings kept before further notes are only counted; errors and warnings are always kept."""

    def pause(self, looks: int) -> float:
        """Return the seconds to wait before the next query, after so many fruitless ones: one schedule for all
        queries."""
        if looks <= 0:
            return 0.0
        return min(self.look_seconds * _PAUSES[min(looks, len(_PAUSES)) - 1], self.look_limit_seconds)


def backoff(first: float, limit: float, failures: int) -> float:
    """Return the seconds to wait after so many failures in a row before this one: each doubles the wait."""
    return min(first * 2.0 ** min(failures, _DOUBLINGS), limit)


_DOUBLINGS = 16
_PAUSES = (0.5, 0.5, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1024.0)
DEFAULT = Policy()
_COUNTS = ("absences", "resubmits", "unreachable_times")
IN_HEADER = tuple(name for name in Policy.__struct_fields__ if name.endswith("_seconds") or name in _COUNTS)
"""Fields of the policy that the header of a log states. The limits on memory are not among them: a trace must not set
them."""
_LONGEST = 10.0 * 365 * 86_400


def to_header(policy: Policy) -> dict[str, float]:
    """Return the policy as the header of a log states it."""
    return {name: getattr(policy, name) for name in IN_HEADER}


def from_header(policy: Policy, header: Mapping[str, object]) -> Policy:
    """Return the policy with the values that a header states, where these are plausible."""
    changed: dict[str, float] = {}
    for name in IN_HEADER:
        value = header.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST:  # no NaN is
            changed[name] = type(getattr(DEFAULT, name))(value)
    return msgspec.structs.replace(policy, **changed)


def differing(policy: Policy) -> dict[str, float]:
    """Return the values that differ from the defaults."""
    return {name: value for name, value in to_header(policy).items() if value != getattr(DEFAULT, name)}
