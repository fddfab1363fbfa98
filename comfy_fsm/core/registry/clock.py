"""Time as it passed: by the monotonic clock of the recorder where it told one, whatever the clock on the wall did."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from comfy_fsm.core.observations import AnyObservation, Header

STEP = 1.0
"""Seconds by which both may differ from one entry to the next: what is more is a step, or a sleep."""


class Clock(Struct):
    """Both clocks of one process; each begins with a header, and after a restart the monotonic one begins anew."""

    offset: float | None = None
    """What turns monotonic seconds into seconds since the epoch."""
    mono: int = 0
    stepped: float = 0.0
    """By how much the clock on the wall is ahead of time as it passed."""

    def steady(self, o: AnyObservation, mono: int) -> AnyObservation:
        """The observation at the time that passed since the first one; the same as long as both clocks agree."""
        if self.offset is None or mono < self.mono or type(o) is Header:
            self.offset, self.stepped = o.at - mono * 1e-9, 0.0
        self.mono = mono
        passed = self.offset + mono * 1e-9
        ahead = o.at - passed
        if abs(ahead - self.stepped) > STEP:
            self.stepped = ahead
        elif not self.stepped:
            self.offset += ahead  # a clock that is set slowly is followed
            return o
        return msgspec.structs.replace(o, at=passed)
