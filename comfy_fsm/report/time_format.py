"""Wall-clock times, as a report writes them and as a user names them: local ones, or UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["TimeFormat"]

_OF_DAY = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?")
_EARLIEST, _LATEST = 0.0, 253_402_300_000.0
"""The years that a calendar has; a trace may hold any number."""


class TimeFormat:
    """Times in one zone. A trace counts from `first` to `last`, in seconds since the epoch."""

    def __init__(self, first: float | None, last: float | None, *, utc: bool = False) -> None:
        self._zone: tzinfo | None = UTC if utc else None
        self._first = first
        self._last = last
        days = [self._date(at) for at in (first, last) if at is not None and _EARLIEST <= at <= _LATEST]
        self._dated = len(set(days)) > 1

    def time(self, at: float | None, *, fine: bool = False) -> str:
        """Return the time of day, with its date where the trace has several; `fine` adds milliseconds."""
        if at is None:
            return ""
        if not _EARLIEST <= at <= _LATEST:
            return f"{at:g}"
        moment = datetime.fromtimestamp(at, self._zone)
        text = moment.strftime("%m-%d %H:%M:%S" if self._dated else "%H:%M:%S")
        return f"{text}.{moment.microsecond // 1000:03}" if fine else text

    def range(self) -> str:
        """Return the first and the last moment with their date and zone."""
        if self._first is None or self._last is None:
            return ""
        if not (_EARLIEST <= self._first <= _LATEST and _EARLIEST <= self._last <= _LATEST):
            return f"{self._first:g} to {self._last:g}"
        begun = datetime.fromtimestamp(self._first, UTC).astimezone(self._zone)
        ended = datetime.fromtimestamp(self._last, UTC).astimezone(self._zone)
        form = "%Y-%m-%d %H:%M:%S" if self._dated else "%H:%M:%S"
        shift = begun.utcoffset() or timedelta()
        zone = "UTC" if not shift else f"UTC{begun.strftime('%z')[:3]}:{begun.strftime('%z')[3:5]}"
        return f"{begun:%Y-%m-%d %H:%M:%S} to {ended.strftime(form)} {zone}"

    def moment(self, text: str) -> float:
        """Return the moment that a user names: `+8.5` after the first line, `19:18`, or a date and time (ISO 8601).

        Raises ValueError for anything else.
        """
        text = text.strip()
        first = self._first or 0.0
        if text.startswith("+"):
            return first + float(text)
        if found := _OF_DAY.fullmatch(text):
            hour, minute, second = int(found[1]), int(found[2]), float(found[3] or 0)
            start = datetime.fromtimestamp(min(max(first, _EARLIEST), _LATEST), self._zone)
            day = start.replace(hour=0, minute=0, second=0, microsecond=0)
            at = (day + timedelta(hours=hour, minutes=minute, seconds=second)).timestamp()
            later = at + 86_400
            return later if at < first - 1 and later <= (self._last or first) else at
        named = datetime.fromisoformat(text)
        return (named if named.tzinfo else named.replace(tzinfo=self._zone)).timestamp()

    def _date(self, at: float) -> str:
        return datetime.fromtimestamp(at, self._zone).strftime("%Y-%m-%d")
