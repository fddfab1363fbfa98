"""Playback of a recorded trace: its frames in order, and its answers, under the client's own ids."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from comfy_fsm.testing import sockets
from comfy_fsm.testing.execution.pictures import JPEG, FileKey, Files, Picture, is_inside, png
from comfy_fsm.testing.playback.script import POST, Act, Question, Reply, Script, question
from comfy_fsm.testing.sockets import Frame, Publisher

__all__ = ["Playback"]

_BY_ITSELF = ("view", "upload", "asset")
"""What the fake answers itself where the recorded answer was a good one: no trace holds the bytes of a file."""
_NO_ROUTE = {"jobs": 404, "job": 404, "act-cancel": 405, "act-batch": 405}
"""What a version without jobs answers to questions about them: the jobs of the fake are not those of the trace."""


class Playback:
    """Playback of one trace.

    A frame waits for the POST and the socket that came before it in the trace. A request gets the recorded answers to
    it in turn, each once the frames before it were sent or wait for the client; the last one is repeated. A request
    that the trace does not contain is answered as by a ComfyUI that sent these frames.
    """

    def __init__(self, script: Script, publisher: Publisher, files: Files, pace: float) -> None:
        self.surplus = 0
        """How many prompts the client posted beyond those of the trace; each was refused."""
        self._script = script
        self._publisher = publisher
        self._pace = pace
        self._place = 0  # acts that are done
        self._waits = ""  # for what of the client, if it does
        self._posted: list[str | None] = []  # by which client id
        self._ids: dict[str, str] = {}  # the client's own, by those of the trace
        self._given: Counter[Question] = Counter()
        self._cut: set[object] = set()
        for reply in (
            *(post.reply for post in script.posts),
            *(each for some in script.replies.values() for each in some),
        ):
            _put_files(reply.body, files)
        for act in script.acts:
            _put_files(act.data, files)

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"waits for {self._waits}" if self._waits else "under way"
        return f"<Playback: {self._place} of {len(self._script.acts)} acts, {state}>"

    @property
    def finished(self) -> bool:
        """Return whether all frames were sent, or passed a client that was not there."""
        return self._place == len(self._script.acts)

    @property
    def waits_for(self) -> str:
        """Action of the client that the next frame waits for; empty if there is none."""
        return self._waits

    # the acts

    async def play(self) -> None:
        """Perform act after act, to the last."""
        posts, before = 0, None
        for act in self._script.acts:
            if before is not None and self._pace > 0:
                await asyncio.sleep(max(act.at - before, 0.0) * self._pace)
            before = act.at
            if act.what == "post":
                posts += 1
                await self._wait(partial(self._has_posted, posts), f"POST number {posts} of a prompt")
            elif act.what == "open":
                await self._wait(lambda: bool(set(self._publisher.open) - self._cut), "a socket")
            elif act.what == "close":
                await self._end_sockets(act.data)
            elif act.what != "nothing":
                await self._send(act)
            self._place += 1
            await self._publisher.notify()
            await asyncio.sleep(0)

    def _has_posted(self, posts: int) -> bool:
        return len(self._posted) >= posts

    async def _wait(self, holds: Callable[[], bool], what: str) -> None:
        async with self._publisher.news:
            if not holds():
                self._waits = what
                self._publisher.news.notify_all()
                await self._publisher.news.wait_for(holds)
                self._waits = ""

    async def _end_sockets(self, code: object) -> None:
        sockets = [*self._publisher.open]
        self._cut.update(sockets)
        for socket in sockets:
            if isinstance(code, int) and 1001 <= code <= 1014 and code not in (1004, 1005, 1006):
                await socket.close(code)
            else:
                socket.abort()

    async def _send(self, act: Act) -> None:
        data = self._ours(act.data)
        if act.what == "binary":
            if (payload := _payload(data)) is not None:
                metadata = data.get("metadata")
                about = metadata.get("prompt_id") if isinstance(metadata, dict) else None
                await self._publisher.send(Frame(f"binary {data.get('event')}", payload, self._reader(about)))
        elif isinstance(data, str):
            await self._publisher.send(Frame("undecodable", _sendable(data), self._reader(None)))
        else:
            inner = data.get("data")
            about = inner.get("prompt_id") if isinstance(inner, dict) else None
            await self._publisher.send(Frame(str(data.get("type")), json.dumps(data), self._reader(about)))

    def _reader(self, prompt_id: object) -> str | None:
        """Return the client id that a prompt was posted with; that of everybody if there is none."""
        for post, client_id in zip(self._script.posts, self._posted, strict=False):
            if post.addressed and prompt_id in (self._ids.get(post.prompt_id or ""), post.prompt_id):
                return client_id or ""  # of nobody, as by P2
        return None

    # the answers

    async def answer(self, method: str, path: str, body: object) -> Reply | None:
        """Return the trace's answer to a request, under the client's ids; None leaves it to the fake."""
        asked = question(method, path)
        reply = await (self._post(body) if asked[0] == POST else self._next(self._theirs(asked)))
        if reply is None or (reply.status == 200 and asked[0] in _BY_ITSELF):
            return None
        return reply._replace(body=self._ours(reply.body))

    async def _post(self, body: object) -> Reply:
        number = len(self._posted)
        if number >= len(self._script.posts):
            self.surplus += 1
            text = f"this fake plays a recorded trace, which has {number} prompts of this window; this is one more"
            error = {"type": "trace_ended", "message": text, "details": "", "extra_info": {}}
            return Reply(0, 400, {"error": error, "node_errors": {}})
        given = body if isinstance(body, dict) else {}
        post, own, client_id = self._script.posts[number], given.get("prompt_id"), given.get("client_id")
        if isinstance(own, str):
            if post.own_id is not None:
                self._ids[post.own_id] = own
            if post.prompt_id is not None and post.prompt_id == post.own_id:
                self._ids[post.prompt_id] = own
        if isinstance(client_id, str):
            self._ids[self._script.window] = client_id
        self._posted.append(client_id if isinstance(client_id, str) else None)
        await self._publisher.notify()
        await self._reach(post.reply.place)
        return post.reply

    async def _next(self, asked: Question) -> Reply | None:
        """Return the next answer to this request if it can have been given yet, otherwise the last one again."""
        replies, given = self._script.replies.get(asked, []), self._given[asked]
        if given == len(replies):
            return replies[-1] if replies else self._told(asked)
        if not self._reached(replies[given].place):
            earlier = replies[given - 1] if given else self._told(asked)
            if earlier is not None:
                return earlier
            await self._reach(replies[given].place)
        self._given[asked] += 1
        return replies[given]

    def _told(self, asked: Question) -> Reply | None:
        """Answer a request that the trace does not contain, as a ComfyUI would that sent these frames."""
        kind, prompt_id = asked
        reach = self._place
        if self._waits == "a socket":  # which may never come: then the frames up to the next POST pass unheard
            posts = [place for place, act in enumerate(self._script.acts) if act.what == "post"]
            reach = [*posts, len(self._script.acts)][len(self._posted)]
        posted = [each for each in self._script.prompt_ids[: len(self._posted)] if each is not None]
        records = {each: found for each in posted if (found := self._script.record(each, reach)) is not None}
        if kind == "history":
            return Reply(0, 200, {prompt_id: records[prompt_id]} if prompt_id in records else {})
        if kind == "histories":
            return Reply(0, 200, records)
        if kind == "queue":
            open_ones = [each for each in posted if not self._script.has_ended(each, reach)]
            running = [each for each in open_ones if self._script.has_begun(each, reach)]
            waiting = [each for each in open_ones if each not in running]
            return Reply(0, 200, {"queue_running": _listed(running), "queue_pending": _listed(waiting)})
        return Reply(0, _NO_ROUTE[kind], None) if kind in _NO_ROUTE else None

    def _reached(self, place: int) -> bool:
        """Return whether the frames before this point were sent, or wait for the client."""
        return self._place >= place or bool(self._waits)

    async def _reach(self, place: int) -> None:
        async with self._publisher.news:
            await self._publisher.news.wait_for(lambda: self._reached(place))

    # ids

    def _theirs(self, asked: Question) -> Question:
        """Translate a request about one of the client's prompts to the trace's ids."""
        for recorded, own in self._ids.items():
            if own == asked[1]:
                return asked[0], recorded
        return asked

    def _ours(self, value: Any) -> Any:
        """Translate a value of the trace to the client's ids."""
        if isinstance(value, str):
            return self._ids.get(value, value)
        if isinstance(value, list):
            return [self._ours(each) for each in value]
        if isinstance(value, dict):
            return {self._ids.get(key, key): self._ours(each) for key, each in value.items()}
        return value


def _listed(prompt_ids: list[str]) -> list[list[object]]:
    return [[number, prompt_id, {}, {}, []] for number, prompt_id in enumerate(prompt_ids)]


def _sendable(text: str) -> str:
    """Return the text without lone surrogates, which JSON may hold and a frame may not (P20)."""
    return text.encode("utf-8", "replace").decode()


def _payload(data: dict[str, Any]) -> bytes | None:
    """Return a binary frame, with a picture of ours for the one that no trace holds."""
    match data.get("event"):
        case 1:
            return sockets.preview(JPEG)
        case 3:
            return sockets.text(_sendable(str(data.get("node", ""))), str(data.get("text", "")))
        case 4:
            metadata = data.get("metadata")
            return sockets.preview_with(metadata if isinstance(metadata, dict) else {}, JPEG)
    return None


def _put_files(value: Any, files: Files) -> None:
    """Store the files that a trace names, so that they can be fetched, though with other content."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        inner = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        waiting += inner
        if isinstance(value, dict) and isinstance(value.get("filename"), str):
            place = FileKey(value["filename"], str(value.get("subfolder") or ""), str(value.get("type") or "output"))
            if is_inside(place):
                files.contents.setdefault(place, png(Picture()))
