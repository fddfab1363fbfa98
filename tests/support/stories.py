"""Traces told line by line, in which the same state has different causes."""

from __future__ import annotations

import json
from typing import Any

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.wire import codec
from replay import Replay, replay
from tests.support.folding import fold_all

HOME, AWAY = "http://127.0.0.1:8188", "http://127.0.0.1:8189"
ME, OTHER = "a" * 32, "b" * 32
ID, ID2 = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


class Story:
    """A trace, told line by line; a second passes with each."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._at, self._asked, self._home = 1_795_900_000.0, 0, HOME

    def at(self, server: str) -> Story:
        self._home = server
        return self

    def tell(self, kind: str, data: Any, window: str | None = ME, server: str | None = "") -> Story:
        self._at += 1.0
        named = {"window": window} if window else {}
        where = {"server": server or self._home} if server is not None else {}
        self.lines.append(json.dumps({"at": self._at, "kind": kind, "data": data, **named, **where}).encode())
        return self

    def wait(self, seconds: float) -> Story:
        self._at += seconds
        return self.tell("tick", {}, window=None, server=None)

    def listen(self) -> Story:
        return self.tell("ws.open", {})

    def hang_up(self, code: int = 1006) -> Story:
        return self.tell("ws.close", {"code": code, "reason": ""})

    def ask(self, method: str, path: str, body: object, status: int | str, answer: object, window: str = ME) -> Story:
        """A request and its answer: a status, or the error where none came."""
        self._asked += 1
        name = f"r{self._asked}"
        self.tell("http.request", {"id": name, "method": method, "path": path, "body": body}, window)
        if isinstance(status, str):
            return self.tell("http.error", {"id": name, "error": status}, window) if status else self
        return self.tell("http.response", {"id": name, "status": status, "body": answer}, window)

    def post(self, status: int | str = 200, prompt_id: str = ID, client_id: str | None = ME) -> Story:
        body = {"prompt": GRAPH, "prompt_id": prompt_id} | ({"client_id": client_id} if client_id else {})
        return self.ask("POST", "/prompt", body, status, {"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    def hear(self, name: str, **data: object) -> Story:
        return self.tell("ws.message", {"type": name, "data": {"prompt_id": ID, **data}})

    def start(self) -> Story:
        return self.hear("execution_start", timestamp=1).hear("execution_cached", nodes=[]).hear("executing", node="1")

    def look(self, running: tuple[str, ...] = (), pending: tuple[str, ...] = (), status: int | str = 200) -> Story:
        return self.ask("GET", "/queue", None, status, {"running": running, "pending": pending})

    def fetch(self, record: object = None, status: int | str = 200) -> Story:
        return self.ask("GET", f"/history/{ID}", None, status, {ID: record} if record else {})

    def vanish(self, seconds: float = 15.0) -> Story:
        """Absent for long enough (P29)."""
        return self.look().fetch().wait(seconds).look().fetch().wait(5)

    def act(self, path: str, body: object, window: str) -> Story:
        return self.ask("POST", path, body, 200, None, window)

    def command(self, name: str, **data: object) -> Story:
        return self.tell("command", {"name": name, "prompt_id": ID, **data})

    def elsewhere(self, server: str, number: str, path: str, answer: object) -> Story:
        """Asked of another server."""
        self.tell("http.request", {"id": number, "method": "GET", "path": path}, server=server)
        return self.tell("http.response", {"id": number, "status": 200, "body": answer}, server=server)

    def replay(self) -> Replay:
        return replay(self.lines)

    def board(self, policy: Policy = DEFAULT, *, finish: bool = False) -> Board:
        return fold_all(map(codec.parse, self.lines), finish=finish, policy=policy)


def record(status: str = "success", *messages: str) -> dict[str, object]:
    failure = {"prompt_id": ID, "exception_type": "OSError", "exception_message": "disk\n full"}
    told = [["execution_start", {"prompt_id": ID}], *([name, failure] for name in messages)]
    outputs = {"2": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}
    return {
        "prompt": [1, ID, GRAPH, {}, ["2"]], "outputs": outputs,
        "status": {"status_str": status, "completed": status == "success", "messages": told},
    }  # fmt: skip


def begun() -> Story:
    return Story().listen().post().start()


STORIES: dict[str, tuple[Story, State, str]] = {
    "never answered": (Story().listen().post(""), State.SUBMITTING, "no answer to its POST was seen"),
    "answered unclearly": (Story().listen().post(502), State.UNCERTAIN, "no clear answer (HTTP 502)"),
    "timed out": (Story().listen().post("ReadTimeout"), State.UNCERTAIN, "no clear answer (ReadTimeout)"),
    "reopened": (begun().hang_up().vanish().command("recover"), State.UNCERTAIN, "reopened by a recover command"),
    "followed": (Story().command("follow"), State.UNCERTAIN, "somebody else's prompt, followed from here"),
    "waits": (Story().listen().post(), State.PENDING, "accepted it, and it is waiting"),
    "waits, told to go": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER),
        State.PENDING,
        f"window {OTHER} asked for it to be removed again",
    ),
    "runs, told to stop": (
        begun().act("/interrupt", {"prompt_id": ID}, OTHER), State.IN_PROGRESS, f"when window {OTHER} sent",
    ),
    "waits behind": (
        Story().listen().post().look((ID2,), (ID,)).wait(40).look((ID2,), (ID,)), State.PENDING, f"behind prompt {ID2}",
    ),
    "waits, server down": (Story().listen().post().hang_up().look(status="ConnectError"), State.PENDING, "went down ("),
    "runs": (begun(), State.IN_PROGRESS, "nothing has reported its end so far"),
    "runs, server down": (begun().hang_up().look(status="ConnectError"), State.IN_PROGRESS, "went down ("),
    "runs, socket closed": (begun().hang_up(1000), State.IN_PROGRESS, "the socket of its window closed"),
    "runs, socket broken": (begun().hang_up(), State.IN_PROGRESS, "the socket of its window closed"),
    "runs in silence": (begun().wait(60), State.IN_PROGRESS, "shown no sign of life for 1 min"),
    "runs, told to nobody": (
        Story().listen().post(client_id=None).look((ID,)), State.IN_PROGRESS, "reports its end to nobody",
    ),
    "runs unheard": (Story().listen().post().look((ID,)).wait(4), State.IN_PROGRESS, "receives none of it"),
    "runs and runs": (begun().look((ID,)).wait(40).look((ID,)), State.IN_PROGRESS, "listed it as running"),
    "succeeded": (begun().hear("execution_success").fetch(record()), State.COMPLETED, f"the history of {HOME} says so"),
    "cleared after": (
        begun().hear("execution_success").act("/history", {"clear": True}, OTHER).vanish(12.0), State.COMPLETED,
        f"window {OTHER} cleared the history",
    ),
    "down after": (
        begun().hear("execution_success").look(status="ConnectError").vanish(), State.COMPLETED,
        "went down (ConnectError) before its record",
    ),
    "gone after": (begun().hear("execution_success").vanish(), State.COMPLETED, "gone before anybody read it"),
    "failed without a word": (begun().fetch(record("error")), State.FAILED, "says why"),
    "failed somewhere": (
        begun().hear("execution_error", exception_type="OSError", exception_message="disk\nfull"), State.ENDING,
        "It failed, as execution_error stated",
    ),
    "failed, nobody knows where": (
        begun()
        .hear("execution_error", exception_type="OSError", exception_message="disk\n full")
        .fetch(record("error", "execution_error")),
        State.FAILED,
        "It failed: OSError: disk full",
    ),
    "interrupted by itself": (
        begun().act("/interrupt", {"prompt_id": ID}, ME).hear("execution_interrupted").fetch(
            record("error", "execution_interrupted")), State.CANCELLED, "Its own window interrupted it",
    ),
    "interrupted by another": (
        begun().act("/interrupt", {"prompt_id": ID}, OTHER).hear("execution_interrupted").fetch(
            record("error", "execution_interrupted")), State.CANCELLED, f"An interrupt by window {OTHER} hit it.",
    ),
    "interrupted at random": (
        begun().act("/interrupt", {}, OTHER).fetch(record("error", "execution_interrupted")), State.CANCELLED,
        "it named no prompt",
    ),
    "interrupted for another": (
        begun().act("/interrupt", {"prompt_id": ID2}, OTHER).fetch(record("error", "execution_interrupted")),
        State.CANCELLED, "though for another prompt",
    ),
    "interrupted by nobody seen": (
        begun().fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who does not appear",
    ),
    "removed by itself": (
        Story().listen().post().act("/queue", {"delete": [ID]}, ME).vanish(), State.CANCELLED, "Its own window removed",
    ),
    "removed by another": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER).vanish(), State.CANCELLED,
        f"window {OTHER} removed it",
    ),
    "cleared by another": (
        Story().listen().post().act("/queue", {"clear": True}, OTHER).vanish(), State.CANCELLED, "the whole queue",
    ),
    "removed by nobody seen": (
        Story().listen().post().vanish(), State.CANCELLED, "somebody seems to have removed it before it ran",
    ),
    "lost in an outage": (begun().hang_up().look(status="ConnectError").vanish(), State.LOST, "went down ("),
    "lost when the socket broke": (begun().hang_up().vanish(), State.LOST, "when a socket broke off (code 1006)"),
    "lost in a clearing": (
        begun().act("/history", {"clear": True}, OTHER).vanish(), State.LOST, f"window {OTHER} cleared the history",
    ),
    "lost unwatched": (begun().command("resume").vanish(), State.LOST, "while nobody watched"),
    "lost, never taken": (
        Story().listen().post(prompt_id=ID2).post("ReadTimeout").wait(30).vanish(), State.LOST,
        "apparently never accepted",
    ),
    "lost for no reason": (begun().vanish(), State.LOST, "nothing shows why"),
    "expired, unreachable": (
        begun().wait(200).look(status=502).wait(1000), State.EXPIRED, "could not be reached (HTTP 502)",
    ),
    "expired, unasked": (begun().wait(200).wait(200), State.EXPIRED, "nobody queried the queue"),
    "expired, unknown": (begun().wait(200).look().wait(200), State.EXPIRED, "answers, but says nothing about it"),
    # what one command does to the explanation of another
    "never sent": (Story().listen().post("ConnectError"), State.UNCERTAIN, "nothing was sent"),
    "never sent, and looked for": (
        Story().listen().ask("GET", "/features", None, 200, {}).post("ConnectError").vanish(), State.LOST,
        "never received it: the connection for its POST was refused",
    ),
    "recovered before it was answered": (
        Story().listen().post("").command("recover").command("resume"), State.UNCERTAIN, "no clear answer",
    ),
    "followed, and never there": (
        Story().listen().ask("GET", "/features", None, 200, {}).command("follow").vanish(), State.LOST,
        "was never shown",
    ),
    "bound elsewhere": (
        begun().vanish().command("seek", to=AWAY).elsewhere(AWAY, "q", "/queue", {"running": [ID], "pending": []})
        .command("adopt", to=AWAY), State.UNCERTAIN, f"{AWAY} did: a recovery bound it there",
    ),
    "moved on, never sent": (
        Story().listen().command("enqueue").post("ConnectError").command("rebind", to=ID2), State.REJECTED,
        f"its job continued as {ID2}",
    ),
    "moved on, refused": (
        Story().listen().command("enqueue").post(401).command("rebind", to=ID2), State.REJECTED,
        f"its job continued as {ID2}",
    ),
    "moved on, taken back": (
        Story().listen().command("enqueue").post().command("recall").act("/queue", {"delete": [ID]}, ME).vanish()
        .command("rebind", to=ID2), State.CANCELLED, f"its job continued as {ID2}",
    ),
    # what is no cause, since the task was told of after it
    "waits, and was listed after an outage": (
        Story().listen().post().look(status="ConnectError").look(pending=(ID,)), State.PENDING, "and it is waiting",
    ),
    "waits, and was listed after it was to be removed": (
        Story().listen().post().act("/queue", {"delete": [ID]}, OTHER).look(pending=(ID,)), State.PENDING,
        "and it is waiting",
    ),
    "runs, the interrupt came before": (
        Story().listen().post().act("/interrupt", {}, OTHER).start(), State.IN_PROGRESS,
        "nothing has reported its end so far",
    ),
    "runs, and another window hung up": (
        begun().tell("ws.open", {}, window=OTHER).tell("ws.close", {"code": 1006}, window=OTHER), State.IN_PROGRESS,
        f"a socket to {HOME} broke off (code 1006)",
    ),
    "runs, heard after a socket broke": (
        begun().hang_up().listen().hear("progress", value=1, max=2), State.IN_PROGRESS,
        "nothing has reported its end so far",
    ),
    "runs, its socket closed before": (
        Story().listen().hang_up(1000).post().look((ID,)), State.IN_PROGRESS, "the socket of its window is closed",
    ),
    "waited, and is listed no more": (
        Story().listen().post().look().fetch(), State.PENDING, "no longer lists it: it started or was removed",
    ),
    "ran, and is listed no more": (
        Story().listen().post(client_id=None).look((ID,)).look().fetch(), State.IN_PROGRESS, "no longer lists it",
    ),
    "lost, heard after an outage": (
        begun().look(status="ConnectError").hear("progress", value=1, max=2).vanish(), State.LOST, "nothing shows why",
    ),
    "lost again after a recovery": (
        begun().hang_up().look(status="ConnectError").vanish().command("recover").vanish(), State.LOST, "went down (",
    ),
    "cancelled, the job's interrupt was refused": (
        begun().ask("POST", f"/api/jobs/{ID}/cancel", None, 404, {}, OTHER)
        .fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who does not appear",
    ),
    "cancelled, the interrupt was never sent": (
        begun().ask("POST", "/interrupt", {}, "ConnectError", None, OTHER)
        .fetch(record("error", "execution_interrupted")), State.CANCELLED, "by somebody who does not appear",
    ),
    "expired, listed long before": (
        begun().wait(200).look((ID,)).wait(200).wait(200), State.EXPIRED, "nobody queried the queue",
    ),
    "concluded, and cleared": (
        Story().listen().post().hear("execution_start").hear("execution_cached", nodes=["1"])
        .hear("executing", node="2").hear("executed", node="2", output={}).hear("executing", node=None)
        .act("/history", {"clear": True}, OTHER).vanish(), State.COMPLETED, "as far as executing lets conclude",
    ),
}  # fmt: skip
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b1m \u202e {c.task} {0} %s [bold]"


def hostile() -> Story:
    story = Story().tell("ws.open", {}, window=HOSTILE, server=HOSTILE)
    body = {"prompt": GRAPH, "prompt_id": HOSTILE, "client_id": HOSTILE}
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": body}, HOSTILE, HOSTILE)
    story.tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": HOSTILE}}, HOSTILE, HOSTILE)
    for name in ("execution_start", "execution_error"):
        data = {"prompt_id": HOSTILE, "exception_type": HOSTILE, "exception_message": HOSTILE, "node_id": HOSTILE,
                "node_type": HOSTILE}  # fmt: skip
        story.tell("ws.message", {"type": name, "data": data}, HOSTILE, HOSTILE)
    return story.tell("ws.undecodable", {"error": HOSTILE, "text": HOSTILE}, HOSTILE, HOSTILE)
