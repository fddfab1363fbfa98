"""Jobs API of a server, in the form of its version: one job, a page of jobs, and cancellation (P36 to P43)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfy_fsm.testing.execution.shared_state import Item
from comfy_fsm.testing.execution.worker import Answer, Entry, Execution, is_canonical

__all__ = ["Job", "JobsApi"]

_OPEN = ("pending", "in_progress")
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_MEDIA = frozenset({"images", "video", "audio", "3d"})
_TEXTS = (".txt", ".md", ".json")

Job = dict[str, object]


class JobsApi:
    """Jobs API of one server."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._profile = execution.profile
        self._state = execution.state

    # answers

    def page(self, query: Mapping[str, str]) -> Answer:
        """Return all jobs, filtered, sorted and cut; there is no snapshot between two pages (P36)."""
        try:
            wanted, key, newest_first, limit, offset = self._query(query)
        except ValueError as error:
            return 400, {"error": str(error)}
        found = [job for job in self._listed(wanted) if query.get("workflow_id") in (None, job.get("workflow_id"))]
        found.sort(key=key, reverse=newest_first)
        shown = found[offset:] if limit is None else found[offset : offset + limit]
        told = {"offset": offset, "limit": limit, "total": len(found), "has_more": offset + len(shown) < len(found)}
        return 200, {"jobs": shown, "pagination": told}

    def one(self, prompt_id: str) -> Answer:
        """Return one job, looked up in the history first (P39); after queue and history were read, 404 proves an
        absence (P38).
        """
        entry = self._state.history.get(prompt_id)
        if entry is not None:
            return 200, self._ended(prompt_id, entry, whole=True)
        for status, items in (("in_progress", self._state.running), ("pending", self._execution.waiting)):
            for item in items:
                if item.prompt_id == prompt_id:
                    return 200, self._waiting(item, status, whole=self._profile.shows_waiting_workflows)
        return 404, {"error": "Job not found"}

    def cancel(self, prompt_id: str) -> Answer:
        """Remove a waiting prompt, interrupt a running one; nothing happens to one that ended or is unknown (P42)."""
        return 200, {"cancelled": self._cancel(prompt_id)}

    def cancel_many(self, body: object) -> Answer:
        """Cancel each of these; none if one of them is no canonical id."""
        ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list):
            return 400, {"error": "job_ids must be a list"}
        wrong = [each if isinstance(each, str) else repr(each) for each in ids if not is_canonical(each)]
        if wrong:
            return 400, {"error": "job_ids contains invalid id(s)", "invalid_ids": wrong}
        done = [self._cancel(each) for each in ids]
        return 200, {"cancelled": any(done)}

    def _cancel(self, prompt_id: str) -> bool:
        if any(item.prompt_id == prompt_id for item in self._state.running):
            self._execution.interrupt(prompt_id)
            return True
        if any(item.prompt_id == prompt_id for item in self._state.queue):
            self._execution.remove([prompt_id])
            return True
        return False

    # which

    @property
    def _statuses(self) -> tuple[str, ...]:
        return (*_OPEN, "completed", "failed", *(("cancelled",) if self._profile.cancelled_jobs else ()))

    def _query(self, query: Mapping[str, str]) -> tuple[set[str] | None, Callable[[Job], float], bool, int | None, int]:
        """Parse the query of a list; raises ValueError with the words of the 400."""
        wanted = {text.strip().lower() for text in query.get("status", "").split(",") if text.strip()}
        if wrong := [status for status in wanted if status not in self._statuses]:
            valid = ", ".join(self._statuses)
            raise ValueError(f"Invalid status value(s): {', '.join(wrong)}. Valid values: {valid}")
        key = _KEYS.get(query.get("sort_by", "created_at").lower())
        if key is None:
            raise ValueError("sort_by must be 'created_at' or 'execution_duration'")
        order = query.get("sort_order", "desc").lower()
        if order not in ("asc", "desc"):
            raise ValueError("sort_order must be 'asc' or 'desc'")
        limit = _whole(query["limit"], "limit must be an integer") if "limit" in query else None
        if limit is not None and limit <= 0:
            raise ValueError("limit must be a positive integer")
        offset = max(0, _whole(query.get("offset", "0"), "offset must be an integer"))
        return wanted or None, key, order == "desc", limit, offset

    def _listed(self, wanted: set[str] | None) -> list[Job]:
        """Return the jobs of these states; others are not read, so an odd prompt breaks no list that excludes it
        (P41).
        """
        statuses = wanted or {*self._statuses}
        queue = (("in_progress", self._state.running), ("pending", self._execution.waiting))
        found = [self._waiting(item, status) for status, items in queue if status in statuses for item in items]
        if statuses - {*_OPEN}:
            ended = (self._ended(prompt_id, entry) for prompt_id, entry in self._state.history.items())
            found += [job for job in ended if job["status"] in statuses]
        return found

    # as they are written

    def _waiting(self, item: Item, status: str, whole: bool = False) -> Job:
        job: Job = {"id": item.prompt_id, "status": status, "priority": item.number, "outputs_count": 0}
        job |= {"previewable_outputs_count": 0} if self._profile.counts_previewable else {}
        shown = self._execution.shown(item)
        return _pruned(job | _described(shown.extra_data)) | (_workflow(shown.graph, shown.extra_data) if whole else {})

    def _ended(self, prompt_id: str, entry: Entry, whole: bool = False) -> Job:
        prompt: Any = entry["prompt"]
        number, _, graph, extra, _ = prompt
        status, outputs = entry.get("status"), entry["outputs"]
        told: dict[str, Any] = dict(status["messages"]) if isinstance(status, dict) else {}
        ends = [told[name] for name in _ENDS if name in told]
        job: Job = {
            "id": prompt_id, "status": self._status(status, told), "priority": number,
            "execution_start_time": told.get("execution_start", {}).get("timestamp"),
            "execution_end_time": ends[-1].get("timestamp") if ends else None,
            "execution_error": told.get("execution_error"), **_described(extra), **self._summary(outputs),
        }  # fmt: skip
        more = {"outputs": outputs, "execution_status": status, **_workflow(graph, extra)}
        return _pruned(job) | (more if whole else {})

    def _status(self, status: object, told: Mapping[str, object]) -> str:
        """Return the state by `status_str` alone, which may be wrong; an interrupt by its message, if the version has a
        word for it (P37, P40).
        """
        if not isinstance(status, dict) or status["status_str"] != "error":
            return "completed"
        return "cancelled" if self._profile.cancelled_jobs and "execution_interrupted" in told else "failed"

    def _summary(self, outputs: object) -> Job:
        """Return the number of outputs and one to preview; a file name or format that is not a text breaks it (P41)."""
        items = [
            (node, kind, item)
            for node, shown in (outputs.items() if isinstance(outputs, dict) else ())
            for kind, listed in shown.items()
            for item in (listed if isinstance(listed, list) else ())
        ]
        files = [(node, kind, item) for node, kind, item in items if isinstance(item, dict)]
        texts = [(node, kind, item) for node, kind, item in items if isinstance(item, str) and kind == "text"]
        seen = [each for each in files if _is_previewable(each[1], each[2])]
        previewable = len(seen)
        media = [each for each in seen if not str(each[2].get("filename", "")).lower().endswith(_TEXTS)]
        seen = media or seen if self._profile.previews_media_first else seen
        best = next((each for each in seen if each[2].get("type") == "output"), next(iter(seen), None))
        preview: Job | None = {**best[2], "nodeId": best[0], "mediaType": best[1]} if best else None
        if self._profile.previews_texts and texts and (preview is None or not self._profile.previews_media_first):
            node, kind, words = texts[0]
            preview = preview or {"content": words[:1024], "nodeId": node, "mediaType": kind}
        counted = {"previewable_outputs_count": previewable} if self._profile.counts_previewable else {}
        count = len(files) + (len(texts) if self._profile.counts_texts else 0)
        return {"outputs_count": count, **counted, "preview_output": preview}


def _described(extra: Mapping[str, Any]) -> Job:
    """Return the job's extra data; null in place of an object is not expected, and breaks the answer (P41)."""
    pnginfo = extra.get("extra_pnginfo", {})
    return {"create_time": extra.get("create_time"), "workflow_id": pnginfo.get("workflow", {}).get("id")}


def _workflow(graph: object, extra: dict[str, object]) -> Job:
    return {"workflow": {"prompt": graph, "extra_data": extra}}


def _pruned(job: Job) -> Job:
    return {name: value for name, value in job.items() if value is not None}


def _is_previewable(kind: str, item: Mapping[str, Any]) -> bool:
    form: str = item.get("format", "")
    name: str = item.get("filename", "")
    return kind in _MEDIA or form.startswith(("video/", "audio/")) or name.lower().endswith(_TEXTS)


def _whole(text: str, otherwise: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(otherwise) from None


def _created(job: Job) -> float:
    created = job.get("create_time", 0)
    return created if isinstance(created, int | float) else 0


def _lasted(job: Job) -> float:
    start, end = job.get("execution_start_time"), job.get("execution_end_time")
    return end - start if isinstance(start, int) and isinstance(end, int) else 0


_KEYS: dict[str, Callable[[Job], float]] = {"created_at": _created, "execution_duration": _lasted}
