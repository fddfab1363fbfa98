"""Reason in one word why a connection failed, whichever library says so."""

from __future__ import annotations

import errno

__all__ = ["REFUSED", "reason"]

REFUSED = "ConnectError"
"""Nobody listens there, and nothing else: that is an outage (P8)."""
_ERRNO = f"[Errno {errno.ECONNREFUSED}]"  # as asyncio tells it of a name with several addresses: in a text alone


def reason(error: BaseException, *, connecting: bool) -> str:
    """Return the name of the error, or of its innermost cause if it came while `connecting`."""
    causes = [error]
    for cause in causes:
        within = (cause.__cause__, *cause.args, *getattr(cause, "exceptions", ()))  # httpcore puts it into the args
        causes += [inner for inner in within if isinstance(inner, BaseException)]
    if not connecting:
        return type(error).__name__
    if any(isinstance(cause, ConnectionRefusedError) or _ERRNO in str(cause) for cause in causes):
        return REFUSED
    return type(causes[-1]).__name__  # no name, no route, no trust: which, says the last
