"""What can go wrong with a server, as knobs: each may be turned while it runs, and counts are used up.

A route is a method and the first part of a path, `GET /history` for every history, `GET /ws` a handshake; `*` is all.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

Once = Literal[
    "deaf", "empty_history", "foreign_history", "swallow_post", "drop_post", "post_500", "post_500_queued",
    "lose_end", "stale_status", "null_status",
]  # fmt: skip
ByRoute = Literal["html", "too_many", "busy", "cut_answer", "garbage"]


class Faults(Struct, kw_only=True, forbid_unknown_fields=True):
    """All is well by default."""

    # answers, by route: the first are seconds, the others numbers of answers
    delay: dict[str, float] = {}  # asked now, done later (P8)
    late: dict[str, float] = {}  # done now, told later: frames come before the answer (P12)
    html: dict[str, int] = {}  # 502 and a page (P33)
    login_page: bool = False  # 200 and a page, for whatever is asked (P33)
    too_many: dict[str, int] = {}  # 429
    busy: dict[str, int] = {}  # 503
    retry_after: str = "1"  # what a 429 or a 503 says of when to come again
    cut_answer: dict[str, int] = {}  # half of it, and the connection is reset
    garbage: dict[str, int] = {}  # 200, and what calls itself JSON is none
    token: str | None = None  # whoever does not bear it gets 401

    # sockets
    refuse_sockets: tuple[int, int] = (0, 503)  # so many handshakes, with this status; 200 is a page
    deaf: int = 0  # so many connections hear their first status and nothing more, as by P3
    mute: bool = False  # no socket hears anything
    drop_types: set[str] = set()  # frames never sent; a binary one is called `binary 1`
    double: bool = False  # every frame twice
    write_seconds: float = 5.0  # how long a client that does not read may delay the others (P6), then it is cut

    # submitting
    swallow_post: int = 0  # queued, and the connection reset without an answer (P11)
    drop_post: int = 0  # the same, not queued
    post_500_queued: int = 0  # queued, and answered 500 (P11)
    post_500: int = 0  # the same, not queued

    # running
    dead_worker: bool = False  # prompts are accepted, nothing runs, what ran stands still (P34)
    short_memory: bool = False  # what the cache need not keep is evicted, by versions that do so (P49)
    lose_end: int = 0  # so many prompts end without a frame that says so

    # asking
    history_seconds: float = 0.0  # between the stated end and the entry (P21)
    empty_history: int = 0  # so many answers about one prompt are `{}`
    foreign_history: int = 0  # so many are about another prompt
    stale_status: int = 0  # so many failures are written down as successes (P24)
    null_status: int = 0  # so many entries have null for a status (P24)
    hide_pending: bool = False  # the queue shows what runs alone (P28)

    def spend(self, name: Once) -> bool:
        """Whether this goes wrong now; once less from here on."""
        left: int = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        return left > 0

    def spend_refusal(self, route: str) -> int:
        """The status with which an answer of a route is put off now, or 0."""
        return 429 if self.spend_at("too_many", route) else 503 if self.spend_at("busy", route) else 0

    def spend_at(self, name: ByRoute, route: str) -> bool:
        """The same for an answer of a route."""
        counts: dict[str, int] = getattr(self, name)
        for key in (route, "*"):
            if counts.get(key, 0) > 0:
                counts[key] -= 1
                return True
        return False

    def spend_handshake(self) -> int | None:
        """The status by which this handshake is refused, if it is."""
        left, status = self.refuse_sockets
        self.refuse_sockets = (max(left - 1, 0), status)
        return status if left > 0 else None

    def turn(self, knobs: dict[str, object]) -> None:
        """Set those named, as JSON has them; raises msgspec.ValidationError, and then none is set."""
        whole = msgspec.convert(msgspec.to_builtins(self) | knobs, Faults)
        for name in knobs:
            setattr(self, name, getattr(whole, name))


def route_of(method: str, path: str) -> str:
    """The route of a request, with the prefix `/api` or without."""
    return f"{method} /{path.removeprefix('/api').split('/')[1]}"


def seconds_at(waits: dict[str, float], route: str) -> float:
    return waits.get(route, waits.get("*", 0.0))
