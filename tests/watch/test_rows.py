"""Tests of the rows of a view: names are cut, and who waits for something comes first."""

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.metrics.alerts import ALERTS
from comfy_fsm.watch.rows import LONGEST, WINDOWS, alert_row, cut
from tests.support.lines import frame, line, seen

STATUS = {"status": {"exec_info": {"queue_remaining": 0}}}


@given(st.text(max_size=3 * LONGEST))
def test_a_name_is_cut_and_shows_that_it_was(name: str) -> None:
    shown = cut(name)
    assert len(shown) <= LONGEST
    assert (shown == name) or (len(name) > LONGEST and shown.endswith("…"))


def test_no_name_stays_none() -> None:
    assert cut(None) is None


def test_an_alert_says_what_to_do() -> None:
    for name in ALERTS:
        row = alert_row(name, "")
        assert (row.name, row.server, bool(row.summary), bool(row.advice)) == (name, None, True, True)


def test_of_many_windows_those_that_wait_for_something_are_shown() -> None:
    idle = [line("ws.open", {}, window=f"idle-{number}", conn=1) for number in range(2 * WINDOWS)]
    body = {"client_id": "busy", "prompt_id": "p", "prompt": {}}
    post = line("http.request", {"id": "1", "method": "POST", "path": "/prompt", "body": body}, window="busy")
    answer = line("http.response", {"id": "1", "status": 200, "body": {"prompt_id": "p"}}, window="busy")
    busy = [line("ws.open", {}, window="busy", conn=1), post, answer]
    shown = seen(*idle, *busy, frame("status", window="busy", **STATUS)).windows
    assert len(shown) == WINDOWS
    assert (shown[0].window, shown[0].open) == ("busy", 1)
