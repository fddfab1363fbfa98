"""Window: one client id at each server, for submitting workflows and following prompts of others."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from comfy_fsm.core.updates import Update
from comfy_fsm.live.client.task_handle import Attached, Posting, TaskHandle
from comfy_fsm.live.transport.addresses import address_of
from comfy_fsm.live.transport.requests import Draft
from comfy_fsm.workflow.shape import snapshot

__all__ = ["Submits", "Window"]


class Submits(Protocol):
    """Client, as far as its windows need it."""

    async def submit_from(self, window: Window, server: str | None, tag: object, attached: Attached) -> TaskHandle:
        """Post the draft of `attached` at one of the client's servers."""
        ...

    async def follow_from(self, window: Window, prompt_id: str, server: str | None, tag: object) -> TaskHandle:
        """Follow a prompt of somebody else."""
        ...


class Window:
    """Client id at each server: frames about a task reach only the window that submitted it (P1)."""

    def __init__(self, client: Submits, extra_data: Mapping[str, Any] | None = None) -> None:
        self._extra = extra_data or {}
        self._client = client
        self._ids: dict[str, str] = {}

    def id_at(self, server: str) -> str:
        """Return its client id at this server; a new one after a socket went deaf under the old one (P3)."""
        return self._ids.setdefault(address_of(server)[0], uuid.uuid4().hex)

    def forget_id(self, server: str, client_id: str) -> None:
        if self._ids.get(server) == client_id:
            del self._ids[server]

    async def submit(
        self,
        workflow: Mapping[str, Any],
        *,
        server: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        number: float | None = None,
        front: bool = False,
        partial_execution_targets: Sequence[str] | None = None,
        tag: Any = None,
        on_progress: Callable[[Update], Any] | None = None,
        on_complete: Callable[[TaskHandle], Any] | None = None,
    ) -> TaskHandle:
        """Queue a workflow in API format and return its handle; await that for the result, or for the reason of a
        refusal.

        The workflow is copied: changing it afterwards, for the next submit, does not affect this one. `tag` is a JSON
        value of yours, such as who asked for the task; it is logged, and is with the task and its result after a
        restart, too. No server receives it. Raises BadWorkflow, BadTag, ServerUnreachable or HandshakeRefused, and then
        nothing was sent.
        """
        extra = {**self._extra, **(extra_data or {})}
        draft = Draft(snapshot(workflow), extra, number, front, partial_execution_targets)
        attached = Attached(on_progress, on_complete, posting=Posting(self, draft))
        return await self._client.submit_from(self, server, tag, attached)

    async def follow(self, prompt_id: str, *, server: str | None = None, tag: Any = None) -> TaskHandle:
        """Follow a prompt of somebody else: no socket of ours receives its frames, so its server is asked until it has
        settled (F6).
        """
        return await self._client.follow_from(self, prompt_id, server, tag)
