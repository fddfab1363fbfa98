"""Test series as Prometheus records them, a value each 15 s, and exactly the alerts that they must raise.

The notation is promtool's: `0+1x40` grows by 1 forty times, `5x40` stays, `_` is a scrape that failed.
"""

from __future__ import annotations

from typing import NamedTuple

A, B = "http://a:8188", "http://b:8188"
_SETTLED = "comfy_fsm_tasks_settled_total"
_FOUND = "comfy_fsm_findings_total"


class Case(NamedTuple):
    """`raises`: the alerts that hold at that second, each with its server, or none."""

    name: str
    series: dict[str, str]
    at: float
    raises: dict[str, str]


def settled(**states: str) -> dict[str, str]:
    return {f'{_SETTLED}{{state="{state}"}}': values for state, values in states.items()}


def answers(server: str, **results: str) -> dict[str, str]:
    return {
        f'comfy_fsm_requests_total{{server="{server}", result="{result}"}}': values
        for result, values in results.items()
    }


WELL = (
    settled(completed="0+2x300", failed="0+0.1x300", lost="0x300", expired="0x300")
    | answers(A, answered="0+4x300", failed="0x300", unanswered="0x300")
    | answers(B, answered="0+4x300", failed="0x300", unanswered="0x300")
    | {f'{_FOUND}{{code="{code}"}}': "0x300" for code in ("wrong-server", "deaf-socket", "callback-recursion")}
    | {
        'comfy_fsm_tasks_silent{tier="warn"}': "0x300",
        'comfy_fsm_tasks_silent{tier="check"}': "2x300",
        "comfy_fsm_strange_frames_total": "0+1x300",
        "comfy_fsm_claimed_frames_total": "0+1x300",
        "comfy_fsm_uncertain_submits_total": "0x100 1x200",
        "comfy_fsm_recoveries_total": "0+1x300",
        "comfy_fsm_recoveries_needed_total": "0+1x300",
        f'comfy_fsm_reconnects_total{{server="{A}", reason="abnormal"}}': "0+0.1x300",
        f'comfy_fsm_server_stalled_seconds{{server="{A}"}}': "30x300",
        "comfy_fsm_log_failed": "0x300",
        "comfy_fsm_log_commit_seconds_sum": "0+0.1x300",
        "comfy_fsm_log_commit_seconds_count": "0+10x300",
        "comfy_fsm_log_waiting_bytes": "20000x300",
    }
)

CASES = [
    Case("all is well", WELL, 4200, {}),
    Case("nothing was ever done", dict.fromkeys(WELL, "0x300"), 4200, {}),
    Case("all was well, and counts go on after a restart", {name: "1000x300" for name in WELL
         if name.endswith(("_total", "}")) and "silent" not in name and "stalled" not in name}, 4200, {}),
    Case("two of a hundred are lost within the hour", settled(completed="0+0.5x300", lost="0x150 2x150"), 3300,
         {"ComfyCompletionsUndetected": ""}),
    Case("one of two hundred is lost, and that was half an hour ago", settled(completed="0+2x300", lost="0x150 1x150"),
         4200, {}),
    Case("one of two hundred was lost just now", settled(completed="0+2x300", lost="0x270 1x30"), 4200,
         {"ComfyTasksLost": ""}),
    Case("one was given up just now", settled(completed="0+2x300", expired="0x270 1x30"), 4200,
         {"ComfyTasksExpired": ""}),
    Case("a task is silent beyond the warning tier", {'comfy_fsm_tasks_silent{tier="warn"}': "0x10 1x30"}, 300,
         {"ComfyTasksSilent": ""}),
    Case("a task was silent for half a minute", {'comfy_fsm_tasks_silent{tier="warn"}': "0x10 1x1 0x30"}, 300, {}),
    Case("a server was asked of a task that is not its own", {f'{_FOUND}{{code="wrong-server"}}': "0x10 1x30"}, 300,
         {"ComfyServerInconsistent": ""}),
    Case("frames of strangers that nobody claims",
         {"comfy_fsm_strange_frames_total": "0+2x60", "comfy_fsm_claimed_frames_total": "0+1x60"}, 840,
         {"ComfyFramesUnattributed": ""}),
    Case("frames that came before the answer, and were claimed by it",
         {"comfy_fsm_strange_frames_total": "0+2x60", "comfy_fsm_claimed_frames_total": "0+2x60"}, 840, {}),
    Case("POSTs without an answer", {"comfy_fsm_uncertain_submits_total": "0x10 1 2 3 4x30"}, 450,
         {"ComfySubmitsUncertain": ""}),
    Case("one POST without an answer", {"comfy_fsm_uncertain_submits_total": "0x10 1x30"}, 450, {}),
    Case("half of those that a socket failed are never settled",
         {"comfy_fsm_recoveries_total": "0+1x60", "comfy_fsm_recoveries_needed_total": "0+2x60"}, 840,
         {"ComfyRecoveriesFailing": ""}),
    Case("a deaf socket", {f'{_FOUND}{{code="deaf-socket"}}': "0x10 1x30"}, 300, {"ComfySocketsDeaf": ""}),
    Case("a storm of reconnects at one of two servers",
         {f'comfy_fsm_reconnects_total{{server="{A}", reason="abnormal"}}': "0+1x40",
          f'comfy_fsm_reconnects_total{{server="{A}", reason="other"}}': "0x40",
          f'comfy_fsm_reconnects_total{{server="{B}", reason="abnormal"}}': "0+0.1x40"}, 450,
         {"ComfyReconnectStorm": A}),
    Case("one of two servers answers no more",
         answers(A, answered="0+4x20 80x40", unanswered="0x20 0+1x40", failed="0x60")
         | answers(B, answered="0+4x60", unanswered="0+0.1x60", failed="0x60"), 750, {"ComfyServerUnreachable": A}),
    Case("one of two servers answers with pages of errors alone",
         answers(A, answered="0+4x20 80x40", unanswered="0x60", failed="0x20 0+1x40")
         | answers(B, answered="0+4x60", failed="0x60"), 750, {"ComfyServerUnreachable": A}),
    Case("a server that refuses us is there", answers(A, refused="0+1x60", failed="0+1x60"), 750, {}),
    Case("a server whose worker died", {f'comfy_fsm_server_stalled_seconds{{server="{B}"}}': "0+15x60"}, 750,
         {"ComfyServerWedged": B}),
    Case("the disk is full", {"comfy_fsm_log_failed": "0x10 1x30"}, 300, {"ComfyLogFailed": ""}),
    Case("a slow disk", {"comfy_fsm_log_commit_seconds_sum": "0+5x60", "comfy_fsm_log_commit_seconds_count": "0+10x60"},
         840, {"ComfyLogSlow": ""}),
    Case("the log is behind", {"comfy_fsm_log_waiting_bytes": "0x10 6000000x30"}, 300, {"ComfyLogBehind": ""}),
    Case("a callback that called itself", {f'{_FOUND}{{code="callback-recursion"}}': "0x10 1x30"}, 300,
         {"ComfyCallbackRecursion": ""}),
]  # fmt: skip
