"""The settings: every threshold the fold obeys, with its unit and the reason for its default."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec import Struct


class Policy(Struct, frozen=True, kw_only=True):
    """How long to wait, how often to ask, how much to remember."""

    check_seconds: float = 30.0
    """Without a sign of life for this long, look by hand (R5.1); a node may rightly be silent (P5)."""
    confirm_seconds: float = 5.0
    """Without one for this long, read the record alone, to settle by what is there; then again, less and less often."""
    verify_seconds: float = 30.0
    """A result whose end was stated is handed over after this long without its record, which is read later."""
    warn_seconds: float = 120.0
    """Then say so."""
    expire_seconds: float = 300.0
    """Then give up: the task is `expired`, unless its end was stated. Time in which its server did not answer does not
    count."""
    unreachable_times: float = 3.0
    """For how many times `expire_seconds` a server may answer nothing before its tasks are given up."""
    absences: int = 2
    """Rounds of queue-then-history (P29) that an absence takes at the least: a queue may hide an item (F27)."""
    absence_seconds: float = 3.0
    """How far apart the first and the last of those must lie that a count of the server agrees with. Five times as far
    where it counts nothing; a third where an act or an outage explains the absence, and nothing where a count agrees
    with it, too."""
    post_seconds: float = 30.0
    """After a POST that was cut off without an answer, how long its server may still take it up: a look that was asked
    sooner proves no absence."""
    settle_seconds: float = 2.0
    """How long after the first round of absence an open socket may still deliver what was sent before it."""
    look_seconds: float = 1.0
    """The wait between two looks grows from half of this; see `pause`."""
    look_limit_seconds: float = 30.0
    """The longest wait between two looks."""
    reopen_seconds: float = 0.5
    """Wait before a lost socket is opened again; doubles with each failure."""
    reopen_limit_seconds: float = 30.0
    """The longest such wait."""
    damp_seconds: float = 10.0
    """A connection that lived less than this counts as one more failure: a storm has successes, too (F28)."""
    deadline_seconds: float = 30.0
    """How long a server may be silent before an answer; one that comes may take longer, if it keeps coming."""
    connect_seconds: float = 10.0
    """How long a connection may take to be made, its handshakes included."""
    write_seconds: float = 30.0
    """How long a server may take nothing of what is sent: a body that moves is not cut, however large it is."""
    upload_seconds: float = 0.0
    """How long a POST or an upload may take as a whole; 0 is as long as it moves."""
    prove_seconds: float = 5.0
    """After a POST, how long an open socket may say nothing at all before its prompt is looked for (P3)."""
    open_seconds: float = 15.0
    """How long a submission waits for its socket."""
    http_seconds: float = 5.0
    """The longest wait between two looks at a task of a server that refuses sockets: nothing else tells of it."""
    refusal_seconds: float = 120.0
    """How long a submission that is refused for now (429 or 503, with Retry-After) waits in all to be posted again.
    After a 429 none of it was queued; after a 503 its absence is proved first. 0 is not at all; one that would wait
    longer is told as refused, or as lost."""
    resubmits: int = 0
    """How often an unanswered prompt is posted again, under a new id, after its absence was proved and confirmed (P11,
    F14). With 0, a dispatcher moves no job whose POST was cut off, either: it may be under way for longer than that."""
    waiting_prompts: int = 1_000
    """Prompts of unknown owner remembered at one server; the oldest makes room."""
    waiting_frames: int = 64
    """Frames remembered for one such prompt; the first ones tell most."""
    unposted: int = 100_000
    """Tasks that frames alone tell of: a server may name as many prompts as it likes."""
    questions: int = 10_000
    """Unanswered requests remembered; the oldest makes room."""
    homes: int = 100_000
    """Ids of tasks remembered after the tasks were forgotten; the oldest makes room. A late frame comes far sooner."""
    acts: int = 256
    """Interrupts and deletions remembered at one server, to say whose it was."""
    jobs: int = 100_000
    """Jobs that may wait to be placed: what is enqueued beyond them is refused."""
    signals: int = 64
    """Signals remembered of one task."""
    lines: int = 8
    """Lines cited by one finding; the rest is counted."""
    names: int = 32
    """Unknown types, routes, words and fields that are named one by one in one place; all others are told as one."""
    outputs: int = 50_000
    """Files of one task that are kept, and texts: each frame of a long video may be one. What is cut is a finding."""
    text_characters: int = 8 * 1024 * 1024
    """Characters of all texts of one task that are kept."""
    image_bytes: int = 4 * 1024 * 1024 * 1024
    """Bytes of the images of one task that came over the socket: a client keeps them, on the disk, until it closes."""
    findings: int = 100_000
    """Findings from which on further notes are only counted; errors and warnings are always kept."""

    def pause(self, looks: int) -> float:
        """How long to wait before the next look, after so many that brought nothing: one list for all that is asked."""
        step = _PAUSES[min(looks, len(_PAUSES)) - 1] if looks > 0 else 0.0
        return min(self.look_seconds * step, self.look_limit_seconds)


_PAUSES = (0.5, 0.5, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1024.0)
DEFAULT = Policy()
_COUNTS = ("absences", "resubmits", "unreachable_times")
TOLD = tuple(name for name in Policy.__struct_fields__ if name.endswith("_seconds") or name in _COUNTS)
"""What a log tells of the policy of whoever wrote it. Not how much to remember: a trace has no say in that."""
_LONGEST = 10.0 * 365 * 86_400


def told(policy: Policy) -> dict[str, float]:
    """As the header of a log tells it."""
    return {name: getattr(policy, name) for name in TOLD}


def by_header(policy: Policy, header: Mapping[str, object]) -> Policy:
    """The same with what a header tells, as far as that can be believed."""
    changed: dict[str, float] = {}
    for name in TOLD:
        value = header.get(name)
        if type(value) in (int, float) and math.isfinite(value) and 0 <= value <= _LONGEST:  # type: ignore[arg-type, operator]
            changed[name] = type(getattr(DEFAULT, name))(value)
    return msgspec.structs.replace(policy, **changed)


def differing(policy: Policy) -> dict[str, float]:
    """What is not as by default."""
    return {name: value for name, value in told(policy).items() if value != getattr(DEFAULT, name)}
