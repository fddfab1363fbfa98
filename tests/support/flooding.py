"""Lines of a trace, for tests that tell many of one kind."""

from __future__ import annotations

from typing import Any

Told = tuple[str, dict[str, Any]]


def frame(kind: str, prompt_id: str | None, **data: Any) -> Told:
    return "ws.message", {"type": kind, "data": {"prompt_id": prompt_id, **data}}


def asked(n: int, path: str, answer: object, status: int = 200) -> list[Told]:
    request = {"id": f"r{n}", "method": "GET", "path": path}
    return [("http.request", request), ("http.response", {"id": f"r{n}", "status": status, "body": answer})]
