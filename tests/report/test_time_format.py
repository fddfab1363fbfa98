"""Tests of the clock of a report: a moment is named and written as people do it."""

from __future__ import annotations

import pytest

from comfy_fsm.report.time_format import TimeFormat


@pytest.mark.parametrize(
    ("named", "seconds"),
    [
        ("+8.5", 8.5),
        ("23:59:58", -2.0),
        ("00:00:10", 10.0),
        ("00:01", 60.0),
        ("2027-01-01T00:00:05Z", 5.0),
        ("2027-01-01 01:00:05+01:00", 5.0),
    ],
)
def test_a_moment_is_named_as_people_name_it(named: str, seconds: float) -> None:
    start = 1_798_761_600.0  # midnight
    assert TimeFormat(start, start + 86_500, utc=True).moment(named) - start in (seconds, seconds + 86_400)


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1e300, 1e300, -1.0])
def test_a_time_that_no_calendar_has_is_written_as_a_number(at: float) -> None:
    clock = TimeFormat(at, at, utc=True)
    assert float(clock.time(at)) == pytest.approx(at, nan_ok=True)
    assert clock.range()
