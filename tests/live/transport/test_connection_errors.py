"""Tests of reasons of failed connections: an outage is told from all else, however deep it is said."""

import errno
import ssl

import pytest

from comfy_fsm.live.transport.connection_errors import REFUSED, reason


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


NOBODY = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (NOBODY, REFUSED),
        (chained(OSError("all failed"), NOBODY), REFUSED),
        (OSError("all failed", NOBODY), REFUSED),
        (OSError(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] Connect call failed"), REFUSED),
        (ExceptionGroup("happy eyeballs", [TimeoutError(), NOBODY]), REFUSED),
        (chained(OSError("failed"), ssl.SSLCertVerificationError("not trusted")), "SSLCertVerificationError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_who_refuses_a_connection_is_told_from_all_else(error: Exception, name: str) -> None:
    assert reason(error, connecting=True) == name


def test_what_was_refused_while_we_were_connected_is_no_outage() -> None:
    assert reason(chained(RuntimeError("read"), NOBODY), connecting=False) == "RuntimeError"
