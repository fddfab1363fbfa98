"""Elapsed time, by the recorder's monotonic clock where it has one: steps of the wall clock do not count."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from comfy_fsm.core.observations import AnyObservation, Header

__all__ = ["STEP", "ElapsedTime"]

STEP = 1.0
"""Seconds by which the two clocks may diverge from one entry to the next; more is a step, or a sleep of the machine."""


@dataclass(slots=True)
class ElapsedTime:
    """Wall and monotonic clock of one process; a header starts both anew, and a restart the monotonic one."""

    offset: float | None = None
    """Seconds to add to the monotonic clock for seconds since the epoch."""
    mono: int = 0
    stepped: float = 0.0
    """Seconds by which the wall clock is ahead of elapsed time."""

    def steady(self, o: AnyObservation, mono: int) -> AnyObservation:
        """Return the observation with `at` as elapsed time; unchanged as long as both clocks agree."""
        if self.offset is None or mono < self.mono or type(o) is Header:
            self.offset, self.stepped = o.at - mono * 1e-9, 0.0
        self.mono = mono
        passed = self.offset + mono * 1e-9
        ahead = o.at - passed
        if abs(ahead - self.stepped) > STEP:
            self.stepped = ahead
        elif not self.stepped:
            self.offset += ahead  # the wall clock is adjusted slowly: follow it
            return o
        return msgspec.structs.replace(o, at=passed)
