"""Answers of a server, read for what they show: whether it has jobs, where a prompt is, which prompts wait or run."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from comfy_fsm.core.wire import bodies, codec, queues
from comfy_fsm.live.transport.arrivals import Answer

__all__ = ["is_conclusive", "is_object", "open_jobs", "queued", "shows_jobs"]


def queued(answer: Answer | None) -> frozenset[str] | None:
    """Return the ids that a queue lists; None if this is not a queue."""
    parts = queues.queue(Raw(answer.body)) if answer is not None and answer.status == 200 else None
    return frozenset(parts[0] + parts[1]) if parts is not None else None


def open_jobs(answer: Answer | None) -> frozenset[str] | None:
    """Return the ids of all prompts that wait or run; None if one odd prompt breaks the list for all (P41)."""
    page = codec.body(Raw(answer.body), bodies.JobList) if answer is not None and answer.status == 200 else None
    if page is None:
        return None
    jobs = (codec.body(item, bodies.JobRecord) for item in page.jobs)
    return frozenset(job.id for job in jobs if job is not None and job.id is not None)


def is_conclusive(answer: Answer | None) -> bool:
    """Return whether a job shows where its prompt is; one that ended without an outcome leaves it to the record."""
    if answer is None or answer.status != 200:
        return answer is not None and answer.status == 404 and bodies.is_missing_job(Raw(answer.body))
    job = codec.body(Raw(answer.body), bodies.JobRecord)
    return job is not None and job.status in bodies.LISTED


def shows_jobs(answer: Answer) -> bool:
    """Return whether the server has jobs. A 500 counts, too: one odd prompt breaks the list for all (P41)."""
    return answer.status == 500 or (answer.status == 200 and codec.body(Raw(answer.body), bodies.JobList) is not None)


def is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False
