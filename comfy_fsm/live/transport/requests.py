"""Requests to a ComfyUI, as values, so that they can be logged before they are sent. Nothing is sent here.

Uses plain routes, not those under `/api`, which servers before June 2024 lack; only jobs have no other (P32).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from comfy_fsm.core.wire import refusals, routes
from comfy_fsm.core.wire.bodies import MARK
from comfy_fsm.errors import BadWorkflow, UploadFailed
from comfy_fsm.live.transport.redirects import STATUSES, Hop, shown_location
from comfy_fsm.workflow.shape import checked

__all__ = [
    "Draft",
    "HttpRequest",
    "asset",
    "cancel_job",
    "cancel_jobs",
    "delete",
    "features",
    "histories",
    "history",
    "interrupt",
    "job",
    "jobs",
    "open_jobs",
    "post",
    "queue",
    "remaining",
    "system_stats",
    "upload",
    "uploaded",
    "view",
]

_OPEN_JOBS = "pending,in_progress"


class HttpRequest(NamedTuple):
    """Request, as a value that can be logged before it is sent."""

    method: str
    path: str
    body: object = None
    hop: Hop | None = None
    """Where a redirect of it led: that address is asked, while the path is what the log has."""


def post(
    workflow: Mapping[str, object],
    client_id: str | None = None,
    prompt_id: str | None = None,
    extra_data: Mapping[str, object] | None = None,
    number: float | None = None,
    front: bool = False,
    partial_execution_targets: Sequence[str] | None = None,
) -> HttpRequest:
    """Build the POST of a workflow (P9); raises BadWorkflow if it is not one."""
    body: dict[str, object] = {"prompt": checked(workflow)}
    optional = {
        "client_id": client_id,
        "prompt_id": prompt_id,
        "extra_data": dict(extra_data) if extra_data else None,
        "number": number,
        "front": front or None,
        "partial_execution_targets": list(partial_execution_targets) if partial_execution_targets else None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    try:
        json.dumps(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadWorkflow(f"what is to be posted cannot be written as JSON ({error}); nothing was sent") from None
    return HttpRequest(*routes.build("post"), body)


def history(prompt_id: str) -> HttpRequest:
    return HttpRequest(*routes.build("history", prompt_id))


def histories(max_items: int) -> HttpRequest:
    return HttpRequest(*routes.build("histories", query={"max_items": max_items}))


def queue() -> HttpRequest:
    return HttpRequest(*routes.build("queue"))


class Draft(NamedTuple):
    """Workflow that can be posted more than once, each time under another prompt id."""

    workflow: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    number: float | None = None
    front: bool = False
    targets: Sequence[str] | None = None

    def request(self, client_id: str, prompt_id: str) -> HttpRequest:
        """Build the POST, which bears the prompt id as our mark."""
        extra_data = {**self.extra_data, MARK: prompt_id}
        return post(self.workflow, client_id, prompt_id, extra_data, self.number, self.front, self.targets)


def remaining() -> HttpRequest:
    """Build the query of the number of prompts: every version answers it, and it names no prompt."""
    return HttpRequest(*routes.build("remaining"))


def job(prompt_id: str) -> HttpRequest:
    return HttpRequest(*routes.build("job", prompt_id))


def jobs() -> HttpRequest:
    """Build the check whether the server has jobs: one that waits or runs is enough (P41)."""
    return HttpRequest(*routes.build("jobs", query={"status": _OPEN_JOBS, "limit": 1}))


def open_jobs() -> HttpRequest:
    """Build the query of all jobs that wait or run, without their graphs (P36)."""
    return HttpRequest(*routes.build("jobs", query={"status": _OPEN_JOBS}))


def cancel_job(prompt_id: str) -> HttpRequest:
    return HttpRequest(*routes.build("act-cancel", prompt_id))


def cancel_jobs(prompt_ids: Sequence[str]) -> HttpRequest:
    return HttpRequest(*routes.build("act-batch"), {"job_ids": list(prompt_ids)})


def interrupt(prompt_id: str) -> HttpRequest:
    """Build an interrupt, always with an id: without one it would hit whatever runs, whoever owns it (P31)."""
    return HttpRequest(*routes.build("act-interrupt"), {"prompt_id": prompt_id})


def delete(prompt_ids: Sequence[str]) -> HttpRequest:
    """Build a removal by id, never `clear`, which would remove everybody's pending prompts (P30)."""
    return HttpRequest(*routes.build("act-queue"), {"delete": list(prompt_ids)})


def features() -> HttpRequest:
    return HttpRequest(*routes.build("features"))


def system_stats() -> HttpRequest:
    return HttpRequest(*routes.build("stats"))


def asset(asset_id: str) -> HttpRequest:
    """Build the request for a file by the asset id of its output (P53)."""
    return HttpRequest(*routes.build("asset", asset_id))


def upload() -> HttpRequest:
    """Build the POST of a file, without its content, which is neither a value nor logged."""
    return HttpRequest(*routes.build("upload"))


def view(filename: str, subfolder: str = "", type: str = "output") -> HttpRequest:
    named = {"filename": filename, "subfolder": subfolder, "type": type}
    return HttpRequest(*routes.build("view", query=named))


class _Uploaded(Struct, frozen=True):
    name: str
    subfolder: str = ""


def uploaded(status: int | None, body: bytes, name: str, server: str, beside: str = "") -> str:
    """Return where the server put an upload, as a node wants it: it may have chosen another name.

    `beside` is why no answer came, or where a redirect leads.
    """
    if status == 200 and (place := _place(body)) is not None:
        return f"{place.subfolder}/{place.name}" if place.subfolder else place.name
    if status is None:
        answered = f"no answer: {beside or 'it did not come'}"
    elif status in STATUSES:
        answered, status = f"HTTP {status}, a redirect to {shown_location(beside)}", 302
    else:
        answered = f"HTTP {status}"
    why = ": ".join(filter(None, (answered, refusals.words(body))))
    raise UploadFailed(
        f"{server}: did not take {name!r:.200} ({why!r:.{refusals.MAX_EXCERPT}}), so no workflow can use it there; "
        f"{_UPLOAD_CURES.get(status, _UPLOAD_CURE)}; to send it again is safe",
        server,
    )


def _place(body: bytes) -> _Uploaded | None:
    try:
        return msgspec.json.decode(body, type=_Uploaded)
    except msgspec.DecodeError:
        return None


_UPLOAD_CURE = "check its size and its name, and that this is a ComfyUI"
_UPLOAD_CURES: dict[int | None, str] = {
    None: "check that ComfyUI runs there, and how long an answer may take",
    302: "give that address if ComfyUI is there; if it is a login, give the token or the header that it wants",
    401: "check the credentials",
    403: "check the credentials",
    413: "it is too large for this server, or for a proxy before it (--max-upload-size)",
}
