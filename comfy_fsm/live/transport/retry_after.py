"""Retry-After of an answer, in seconds: a number or an HTTP date (RFC 9110, 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

__all__ = ["LONGEST", "retry_after"]

LONGEST = 600.0
"""Seconds of a Retry-After that we honour: a server that asks for a year gets ten minutes."""


def retry_after(header: str | None, date: str | None) -> float | None:
    """Return the seconds to wait; a date is compared with that of the answer, not with our clock."""
    value = (header or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST)
    try:
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST)
