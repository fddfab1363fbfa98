"""Tests of Retry-After: whatever a server writes there, the wait is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.transport.retry_after import LONGEST, retry_after

ANSWERED = "Sun, 29 Nov 2026 01:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 7 ", 7.0), ("99999999", LONGEST), ("-1", None), ("soon", None), ("²", None), ("", None),
     (None, None),     ("Sun, 29 Nov 2026 01:00:07 GMT", 7.0), ("Sun, 29 Nov 2026 00:59:00 GMT", 0.0),
     ("Mon, 29 Nov 2027 01:00:00 GMT", LONGEST), ("Sun, 99 Nov 2026 01:00:07 GMT", None)],
)  # fmt: skip
def test_a_number_and_a_date_are_read_and_bounded(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, ANSWERED) == seconds


@given(st.text() | st.integers().map(str), st.none() | st.text() | st.just(ANSWERED))
def test_whatever_is_written_there_the_wait_is_bounded_or_none(header: str, date: str | None) -> None:
    seconds = retry_after(header, date)
    assert seconds is None or 0.0 <= seconds <= LONGEST
