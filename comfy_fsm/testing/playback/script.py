"""Script of a playback: what one server sent to one window, and in answer to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from comfy_fsm.core.wire import routes
from comfy_fsm.display import harmless
from comfy_fsm.testing.playback.source import Line

__all__ = ["POST", "Act", "Post", "Question", "Reply", "Script", "question", "write"]

POST = "post"
_ADDRESSED = ("execution_start", "executing", "executed")
"""What only the window that posted a prompt hears (P1)."""
_ENDS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "error"}
_BY_ITSELF = ("view", "upload", "asset", "nodes", "socket")
"""What the fake answers by itself where the recorded answer was a good one: no trace holds the bytes of a file."""

_MOST_SAID = 400
_LATEST = 1e15

Question = tuple[str, str]
"""What is asked for, and of which prompt or, where it is about none, by which path."""


class Act(NamedTuple):
    """Step of a playback: wait for the client's POST or socket, close sockets, or send a frame."""

    what: Literal["post", "open", "close", "frame", "binary", "nothing"]
    at: float
    data: Any = None


class Reply(NamedTuple):
    """Recorded answer, which comes after so many acts; without a status, the connection ended instead."""

    place: int
    status: int | None
    body: Any


@dataclass
class Post:
    """Recorded POST: the id that it bore, the id in the answer, and the answer."""

    addressed: bool
    own_id: str | None
    prompt_id: str | None
    reply: Reply


@dataclass
class Script:
    """Script of one server for one window."""

    window: str
    acts: list[Act] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    replies: dict[Question, list[Reply]] = field(default_factory=dict)

    @property
    def prompt_ids(self) -> list[str | None]:
        """Prompt id of each POST, in order."""
        return [post.prompt_id for post in self.posts]

    def record(self, prompt_id: str, reach: int) -> dict[str, Any] | None:
        """Return the history entry, as far as so many acts, and the answers among them, show one."""
        told = [
            reply for replies in self.replies.values() for reply in replies
            if reply.place <= reach and isinstance(reply.body, dict) and isinstance(reply.body.get(prompt_id), dict)
        ]  # fmt: skip
        if told:
            found: dict[str, Any] = max(told, key=lambda reply: reply.place).body[prompt_id]
            return found
        return self._record_of_frames(prompt_id, reach)

    def _record_of_frames(self, prompt_id: str, reach: int) -> dict[str, Any] | None:
        outputs: dict[str, Any] = {}
        for kind, data in self.frames(prompt_id, reach):
            if kind == "executed" and data.get("output"):
                outputs[str(data.get("node"))] = data["output"]
            if kind in _ENDS and data.get("exception_type") != "ExecutionBlocked":  # which ends nothing (P19)
                said = _ENDS[kind]
                status = {"status_str": said, "completed": said == "success", "messages": [[kind, data]]}
                return {"prompt": [0, prompt_id, {}, {}, []], "outputs": outputs, "status": status, "meta": {}}
        return None

    def has_begun(self, prompt_id: str, reach: int) -> bool:
        return any(kind == "execution_start" for kind, _ in self.frames(prompt_id, reach))

    def has_ended(self, prompt_id: str, reach: int) -> bool:
        null = any(kind == "executing" and data.get("node") is None for kind, data in self.frames(prompt_id, reach))
        return null or self.record(prompt_id, reach) is not None

    def frames(self, prompt_id: str, reach: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the frames of a prompt among so many acts."""
        for act in self.acts[:reach]:
            data = act.data.get("data") if act.what == "frame" and isinstance(act.data, dict) else None
            if isinstance(data, dict) and data.get("prompt_id") == prompt_id:
                yield str(act.data.get("type")), data


def question(method: str, path: str) -> Question:
    """Return which request this is, however its path is written."""
    asked = routes.parse(method, path)
    if asked.prompt_id is not None:
        return asked.kind, asked.prompt_id
    by_path = asked.kind in (routes.OTHER, *_BY_ITSELF)
    return asked.kind, f"{method} {path.removeprefix('/api')}" if by_path else ""


def write(lines: Iterable[Line], window: str | None, server: str | None) -> Script:
    """Write the script of this window at this server, or of the only ones in the trace; otherwise raises ValueError."""
    lines = [line for line in lines if isinstance(line.get("data", {}), dict)]
    window = _only("window", window, [line for line in lines if _is_post(line)] or lines)
    own = [line for line in lines if line.get("window") in (window, None)]
    server = _only("server", server, [line for line in own if line.get("window") == window])
    own = [line for line in own if line.get("server") in (server, None)]
    writing = _Writing(Script(window or ""), _answers(own))
    for line in own:
        writing.take(line)
    return writing.end()


def _only(name: str, wanted: str | None, lines: list[Line]) -> str | None:
    there = [*dict.fromkeys(line[name] for line in lines if isinstance(line.get(name), str))]
    found = [each for each in there if wanted is None or each.startswith(wanted)]
    if len(found) > 1:
        said = harmless(", ".join(found), _MOST_SAID)
        raise ValueError(f"the trace has {len(found)} {name}s, of which one is played: {name}=… {said}")
    if not found and wanted is not None:
        raise ValueError(
            f"the trace has no {name} {wanted!r}; it has {harmless(', '.join(there), _MOST_SAID) or 'none'}"
        )
    return found[0] if found else None


def _is_post(line: Line) -> bool:
    data = line.get("data", {})
    asked = line["kind"] == "http.request" and question(str(data.get("method")), str(data.get("path")))
    return bool(asked) and asked[0] == POST


def _answers(lines: Iterable[Line]) -> dict[str, Line]:
    answers = (line for line in lines if line["kind"] in ("http.response", "http.error"))
    return {str(line["data"].get("id")): line for line in answers}


class _Writing:
    """Pass over the lines of a window that writes its script."""

    def __init__(self, script: Script, answers: dict[str, Line]) -> None:
        self._script = script
        self._answers = answers
        self._asked: dict[str, Question] = {}
        self._posted: dict[str, Post] = {}

    def take(self, line: Line) -> None:
        data, at = line.get("data", {}), _time(line.get("at"))
        match line["kind"]:
            case "ws.open":
                self._script.acts.append(Act("open", at))
            case "ws.close":
                self._script.acts.append(Act("close", at, data.get("code")))
            case "ws.message" if not _is_greeting(data):
                self._script.acts.append(Act("frame", at, data))
            case "ws.undecodable":
                self._script.acts.append(Act("frame", at, str(data.get("text", ""))))
            case "ws.binary":
                self._script.acts.append(Act("binary", at, data))
            case "http.request":
                self._ask(line, at)
            case "http.response" | "http.error":
                self._answer(data)

    def _ask(self, line: Line, at: float) -> None:
        data = line["data"]
        asked = question(str(data.get("method")), str(data.get("path")))
        self._asked[str(data.get("id"))] = asked
        if asked[0] == POST:
            body = data.get("body") if isinstance(data.get("body"), dict) else {}
            answer = self._answers.get(str(data.get("id")), {}).get("data", {}).get("body")
            told = _text(answer.get("prompt_id")) if isinstance(answer, dict) else None
            own = _text(body.get("prompt_id"))
            post = Post("client_id" in body or not body, own, told or own, Reply(len(self._script.acts), None, None))
            self._posted[str(data.get("id"))] = post
            self._script.posts.append(post)
            self._script.acts.append(Act("post", at))

    def _answer(self, data: dict[str, Any]) -> None:
        number = str(data.get("id"))
        reply = Reply(len(self._script.acts), _status(data.get("status")), _lengthened(data.get("body")))
        asked = self._asked.get(number)
        if number in self._posted:
            self._posted[number].reply = reply
        elif asked is not None:
            self._script.replies.setdefault(asked, []).append(reply)

    def end(self) -> Script:
        script = self._script
        if not script.posts:
            self._post_what_was_heard()
        for place, act in enumerate(script.acts):  # a client that closes at its end is left to do so
            again = any(later.what == "open" for later in script.acts[place + 1 :])
            if act.what == "close" and act.data == 1000 and not again:
                script.acts[place] = act._replace(what="nothing")
        return script

    def _post_what_was_heard(self) -> None:
        """Add a POST before the first frame of each prompt, for a capture of the socket alone."""
        script, known, moved = self._script, set[str](), list[int]()
        before, script.acts = script.acts, []
        for act in before:
            moved.append(len(script.acts))
            data = act.data.get("data") if act.what == "frame" and isinstance(act.data, dict) else None
            prompt_id = data.get("prompt_id") if isinstance(data, dict) else None
            if isinstance(prompt_id, str) and act.data.get("type") in _ADDRESSED and prompt_id not in known:
                known.add(prompt_id)
                body = {"prompt_id": prompt_id, "number": len(known), "node_errors": {}}
                script.posts.append(Post(True, prompt_id, prompt_id, Reply(len(script.acts), 200, body)))
                script.acts.append(Act("post", act.at))
            script.acts.append(act)
        moved.append(len(script.acts))
        for asked, replies in script.replies.items():
            script.replies[asked] = [reply._replace(place=moved[reply.place]) for reply in replies]


def _is_greeting(data: dict[str, Any]) -> bool:
    """Return whether the fake sends this by itself when a socket opens (P1)."""
    return data.get("type") == "status" and isinstance(data.get("data"), dict) and "sid" in data["data"]


def _lengthened(body: Any) -> Any:
    """Return a queue that a recorder shortened in ComfyUI's form."""
    if not isinstance(body, dict) or {*body} != {"running", "pending"}:
        return body
    parts = {f"queue_{part}": listed for part, listed in body.items() if isinstance(listed, list)}
    return {part: [[0, each, {}, {}, []] for each in listed] for part, listed in parts.items()}


# what a trace has that was made by anybody, or damaged


def _time(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < _LATEST else 0.0


def _status(value: object) -> int | None:
    """Return the value if it is a valid HTTP status, otherwise None."""
    return value if isinstance(value, int) and 200 <= value < 600 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
