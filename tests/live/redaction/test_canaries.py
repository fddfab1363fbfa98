"""Tests with canaries on every path into the log: a real client, a server that repeats secrets, and every byte read.

Each story is told twice. Where the canary is a secret, it is nowhere: in no file, no export, no repr, no error, no
record of `logging`. Where it is none, it is in the log or not, as its row says: else the first would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import random
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiohttp import web

from comfy_fsm.__main__ import main
from comfy_fsm.errors import ComfyFsmError, DownloadFailed, TaskRejected
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.redaction.scrubber import REDACTED
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.routes import Routes
from comfy_fsm.testing.sockets import preview_with, text
from tests.support.spellings import FRAMES, SPELLINGS, shows
from tests.support.stage import QUICK, graph

CANARY = "canary/4f1c+e9~7b"
PROMPT = "a yellow canary in a mine"
CUT = 2_000  # characters of what it cannot read that a log keeps
OUR_OWN = ("comfy_fsm", "replay", "asyncio")


# looking for it


def shown_in_files(log: Path, word: str) -> dict[str, list[str]]:
    files = {path.name: path.read_bytes() for path in log.parent.iterdir() if path.is_file()}
    assert log.name in files
    return {name: found for name, raw in files.items() if (found := shows(raw, word))}


def export(log: Path) -> bytes:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["export", str(log)]) == 0
    return out.getvalue().encode()


def told(witness: object) -> bytes:
    """All that an application would print of it, or let a traceback print."""
    lines = [repr(witness), str(witness)]
    if isinstance(witness, BaseException):
        lines += traceback.format_exception(witness)
    return "\n".join(lines).encode("utf-8", "replace")


def tellers(records: Iterable[logging.LogRecord], word: str) -> set[tuple[str, int]]:
    """Which loggers told it, and how loud."""
    formatted = [(record, logging.Formatter().format(record).encode("utf-8", "replace")) for record in records]
    return {(record.name, record.levelno) for record, line in formatted if shows(line, word)}


def is_ours(name: str, level: int) -> bool:
    """What a library tells at DEBUG is its own affair, and so is the fake server's log."""
    return name.startswith(OUR_OWN) or (level > logging.DEBUG and not name.startswith("aiohttp"))


# telling it


class Parrot(FakeComfy):
    """A fake that repeats a word wherever a server can say something."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.headers: dict[str, str] = {}  # of every answer
        self.instead: dict[tuple[str, str], list[web.Response]] = {}  # answers, by method and first part of the path
        self.asked: list[dict[str, str]] = []  # the headers of each request
        self.bodies: list[object] = []
        self.pipes: list[web.WebSocketResponse] = []

    def _routes(self) -> Routes:
        routes = super()._routes()
        listen, routes._listen = routes._listen, self._listen
        table = routes.table()
        routes.table = lambda: [web.route(each.method, each.path, self._repeating(each.handler)) for each in table]
        self.listen = listen
        return routes

    def _repeating(self, handler: Any) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append({name.lower(): value for name, value in request.headers.items()})
            answers = self.instead.get((request.method, request.path.split("/")[1]))
            response = answers.pop() if answers else await handler(request)
            if not response.prepared:
                response.headers.update(self.headers)
            return response

        return answer

    async def _listen(self, ws: web.WebSocketResponse, sid: str) -> None:
        self.pipes.append(ws)
        await self.listen(ws, sid)

    async def say(self, frame: str | bytes) -> None:
        """In the turn of the frames, and so before any end of what runs."""
        for pipe in self.pipes:
            await (pipe.send_str(frame) if isinstance(frame, str) else pipe.send_bytes(frame))


async def ended(task: TaskHandle) -> list[object]:
    try:
        return [task, await task]
    except ComfyFsmError as error:
        return [task, error, error.result] if hasattr(error, "result") else [task, error]


Story = Callable[[Parrot, Client, str], Awaitable[list[object]]]


def said_in_a_frame(frame: Callable[[str], str]) -> Story:
    """While something runs, and its window listens."""

    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        updates: list[object] = []
        task = await client.window().submit(graph(seconds=0.1), on_progress=updates.append)
        await parrot.say(frame(word))
        return [*await ended(task), *updates]

    return story


def said_in_bytes(number: int, payload: Callable[[str], bytes]) -> Story:
    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        task = await client.window().submit(graph(seconds=0.1))
        await parrot.say(number.to_bytes(4) + payload(word))
        return await ended(task)

    return story


def answered(method: str, part: str, status: int, body: Callable[[str], str], **headers: str) -> Story:
    """Once, instead of what that route has to say; over HTTP alone, so that it is asked for."""

    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        told = {name.replace("_", "-"): value.format(quote(word)) for name, value in headers.items()}
        answer = web.Response(status=status, text=body(word), content_type="application/json", headers=told)
        parrot.instead[method, part] = [answer]
        parrot.faults.mute = True
        found = await ended(await client.window().submit(graph()))
        assert not parrot.instead[method, part], "it was never asked for"
        return found

    return story


async def a_node_raises(parrot: Parrot, client: Client, word: str) -> list[object]:
    nodes = graph() | {"3": {"class_type": "FakeFail", "inputs": {"image": ["1", 0], "message": f"401 for {word}"}}}
    nodes["2"]["inputs"]["images"] = ["3", 0]
    return await ended(await client.window().submit(nodes))


async def no_such_class(parrot: Parrot, client: Client, word: str) -> list[object]:
    return await ended(await client.window().submit(graph() | {"9": {"class_type": word, "inputs": {}}}))


async def a_record(parrot: Parrot, client: Client, word: str) -> list[object]:
    """Its outputs, its names and its messages."""
    asked = parrot.execution.entry

    def entry(prompt_id: str) -> dict[str, Any]:
        found: dict[str, Any] = asked(prompt_id)
        for record in found.values():
            record["outputs"]["9"] = {"text": [word, {"deep": [word]}], word: [1]}
            record["status"]["messages"].append(["custom", {"prompt_id": prompt_id, "exception_message": word}])
        return found

    parrot.execution.entry = entry
    parrot.faults.mute = True
    return await ended(await client.window().submit(graph()))


async def a_file_name(parrot: Parrot, client: Client, word: str) -> list[object]:
    """Also in the query of its download, which nobody can ask for any more."""
    named = {"image": ["1", 0], "filename": "a.png", "subfolder": f"users/{word}"}
    task = await client.window().submit(graph() | {"9": {"class_type": "FakeNamed", "inputs": named}})
    found = await ended(task)
    for output in task.outputs:
        found.append(output)
        try:
            await output.read()
        except DownloadFailed as error:
            found.append(error)
    assert ("GET", "/view") in parrot.requests
    return found


async def a_close_reason(parrot: Parrot, client: Client, word: str) -> list[object]:
    task = await client.window().submit(graph(seconds=0.1))
    for pipe in [*parrot.pipes]:
        await pipe.close(code=4000, message=word.encode())
    return await ended(task)


async def a_cookie(parrot: Parrot, client: Client, word: str) -> list[object]:
    """Of HTTP and, with a redirect, of a handshake; it comes back with all that is asked later."""
    parrot.headers["Set-Cookie"] = f"seen={quote(word, safe='')}; Path=/"
    elsewhere = {"Location": f"{parrot.url}/login?for={quote(word, safe='')}"}
    parrot.instead["GET", "ws"] = [web.Response(status=302, headers=elsewhere)]
    found = await ended(await client.window().submit(graph()))
    assert quote(CANARY, safe="") in parrot.asked[-1].get("cookie", "")
    assert not parrot.instead["GET", "ws"]
    return found


async def an_upload(parrot: Parrot, client: Client, word: str) -> list[object]:
    """What it is called, and what is in it."""
    assert word in await client.upload(word.encode(), "a.png", subfolder=word)
    return await ended(await client.window().submit(graph()))


def cut(word: str, before: str) -> str:
    """All of it but its last letter is before the cut."""
    return before.ljust(CUT - len(word) + 1, "x") + f"{word} and more"


class Spot(NamedTuple):
    """Where a server can say something.

    `logged`: that is written down, so it must be looked through. `delivered`: it is handed over too, and whole.
    `needed`: a replay decides by it, so it stands in the log as it is.
    """

    story: Story
    logged: bool = True
    delivered: bool = False
    needed: bool = False


SPOTS: dict[str, Spot] = {
    "the error of a node": Spot(a_node_raises, delivered=True),
    "a refusal": Spot(no_such_class, delivered=True),
    "a record": Spot(a_record, delivered=True),
    "a file name": Spot(a_file_name, delivered=True, needed=True),
    "a frame of unknown type": Spot(said_in_a_frame(lambda word: json.dumps({"type": "parrot", "data": {"a": word}}))),
    "the type of a frame": Spot(said_in_a_frame(lambda word: json.dumps({"type": word, "data": {}})), delivered=True),
    "a name in a frame": Spot(said_in_a_frame(lambda word: json.dumps({"type": "parrot", "data": [{word: 1}]}))),
    "a name twice": Spot(said_in_a_frame(lambda word: f'{{"type":"parrot","data":{{"a":"{word}","a":"b"}}}}')),
    "all of a frame twice": Spot(said_in_a_frame(lambda word: f'{{"type":"a","data":["{word}"],"data":[]}}')),
    "a frame that is no JSON": Spot(said_in_a_frame(lambda word: f"<p>{word}")),
    "a frame that is too deep": Spot(said_in_a_frame(lambda word: f'{{"type":{"[" * 500}"{word}"{"]" * 500}}}')),
    "a frame that is cut": Spot(said_in_a_frame(lambda word: cut(word, '{"'))),
    "a text in bytes": Spot(said_in_bytes(3, lambda word: text("2", word))),
    "a text in bytes that is cut": Spot(said_in_bytes(3, lambda word: text("2", cut(word, "")))),
    "a node in bytes": Spot(said_in_bytes(3, lambda word: text(word, ""))),
    "the names of a preview": Spot(said_in_bytes(4, lambda word: preview_with({word: "a", "x": word}, b"\xff"))),
    "the node of a preview": Spot(said_in_bytes(4, lambda word: preview_with({"node_id": word}, b"\xff")), needed=True),
    "unknown bytes": Spot(said_in_bytes(77, str.encode), logged=False),
    "an image": Spot(said_in_bytes(1, lambda word: b"\0\0\0\1" + word.encode()), logged=False),
    "the body of a refusal": Spot(
        answered("POST", "prompt", 400, lambda word: json.dumps({"error": {"type": word, "message": word}})),
        delivered=True,
    ),
    "the whole error of a refusal": Spot(
        answered("POST", "prompt", 400, lambda word: json.dumps({"error": word})), delivered=True
    ),
    "a page with 500": Spot(answered("GET", "history", 500, lambda word: f"<p>{word}"), logged=False),
    "a page with 200": Spot(answered("GET", "history", 200, lambda word: f"<p>{word}"), logged=False),
    "a redirect": Spot(answered("GET", "history", 302, str, Location="/login?token={}"), logged=False),
    "a header": Spot(answered("GET", "history", 429, str, Retry_After="0{}", Set_Cookie="a={}"), logged=False),
    "a close reason": Spot(a_close_reason, logged=False),
    "a cookie": Spot(a_cookie, logged=False),
    "an upload": Spot(an_upload, logged=False),
}


class Telling(NamedTuple):
    """What was left behind."""

    files: dict[str, list[str]]
    exported: bytes
    witnesses: list[object]


def tell(
    story: Story, log: Path, word: str = CANARY, *, login: str = "", version: str = "0.3.64", **settings: Any
) -> Telling:
    """The files are read while they are written, with what SQLite keeps beside them, and again at the end."""

    async def telling() -> tuple[dict[str, list[str]], list[object], Client]:
        async with Parrot(version) as parrot:
            url = parrot.url.replace("//", f"//{login}")
            async with asyncio.timeout(30), Client(url, log=log, policy=QUICK, **settings) as client:
                witnesses = await story(parrot, client, word)
                witnesses += [client, client.board.tasks, client.tasks, client.servers]
                assert log.with_name(f"{log.name}-wal").exists()
                return shown_in_files(log, word), witnesses, client

    files, witnesses, client = asyncio.run(telling())
    witnesses.append(client.board.findings)  # what it was told last, too
    return Telling(files | shown_in_files(log, word), export(log), witnesses)


def assert_not_written(telling: Telling, records: Iterable[logging.LogRecord], word: str = CANARY) -> None:
    assert telling.files == {}
    assert shows(telling.exported, word) == []
    assert [teller for teller in tellers(records, word) if is_ours(*teller)] == []


def assert_nowhere(telling: Telling, records: Iterable[logging.LogRecord], word: str = CANARY) -> None:
    assert_not_written(telling, records, word)
    assert [witness for witness in telling.witnesses if shows(told(witness), word)] == []


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    return folder / "tasks.log"


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize("spot", SPOTS.values(), ids=SPOTS)
def test_a_secret_that_the_server_repeats_is_delivered_and_not_written(
    log: Path, spot: Spot, caplog: pytest.LogCaptureFixture
) -> None:
    telling = tell(spot.story, log, secrets=[CANARY])
    assert any(shows(told(witness), CANARY) for witness in telling.witnesses) is spot.delivered
    if spot.needed:
        assert shows(telling.exported, CANARY), "the file could not be fetched by who replays the log"
    else:
        assert_not_written(telling, caplog.records)


@pytest.mark.parametrize("spot", SPOTS.values(), ids=SPOTS)
def test_what_is_no_secret_is_written_down_there_or_not_at_all(log: Path, spot: Spot) -> None:
    telling = tell(spot.story, log)
    assert bool(telling.files) is bool(shows(telling.exported, CANARY)) is spot.logged


# however it is spelled


async def every_spelling(parrot: Parrot, client: Client, word: str) -> list[object]:
    """Each as JSON takes it, and once more as a text in JSON."""
    task = await client.window().submit(graph(seconds=0.2))
    for name, spell in SPELLINGS.items():
        await parrot.say(f'{{"type":"parrot","data":["{name}","{spell(word)}"]}}')
        await parrot.say(json.dumps({"type": "parrot", "data": [name, f"see {spell(word)}, as {name}"]}))
    return await ended(task)


def test_a_secret_is_nowhere_however_it_is_spelled(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    telling = tell(every_spelling, log, secrets=[CANARY])
    assert_nowhere(telling, caplog.records)
    lines = [line for line in telling.exported.splitlines() if b"parrot" in line]
    assert [line.count(REDACTED.encode()) for line in lines] == [1] * 2 * len(SPELLINGS)


def test_every_spelling_of_what_is_no_secret_is_written_down(log: Path) -> None:
    found = set(shows(tell(every_spelling, log).exported, CANARY))
    assert found >= {name for name in SPELLINGS if not name.startswith("base64")}
    assert found >= {f"base64 at {at}" for at in range(3)}


# five hundred of them


@pytest.mark.parametrize("seed", range(int(os.environ.get("CANARIES", "1"))))
def test_five_hundred_canaries_are_nowhere(log: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """One in each place in each spelling: registered, in a header, in extra_data at any depth, in a query."""
    dice = random.Random(seed)
    spots = [(frame, spell) for frame in FRAMES.values() for spell in SPELLINGS.values()] * 2
    words = [f"c{number:x}/{dice.getrandbits(40):010x}+~{dice.getrandbits(16):04x}" for number in range(len(spots))]
    extra = {"a": [{"b": word} for word in words[:30]], "c": {"d": " ".join(words[30:60])}}
    settings = {
        "headers": {f"X-H{number}": word for number, word in enumerate(words[60:80])},
        "socket_query": {f"q{number}": word for number, word in enumerate(words[80:100])},
        "secrets": words[100:],
    }

    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        task = await client.window().submit(graph(seconds=0.5), extra_data=extra)
        for (frame, spell), word in zip(spots, words, strict=True):
            await parrot.say(frame(spell(word)))
        for frame, spell in spots:
            await parrot.say(frame(spell("nobody's/secret+e9~0000")))
        return await ended(task)

    telling = tell(story, log, **settings)
    assert telling.exported.count(b"\n") > len(words) > 500
    raw = b"".join(path.read_bytes() for path in log.parent.iterdir()) + telling.exported
    logged = [record for record in caplog.records if is_ours(record.name, record.levelno)]
    raw += "\n".join(map(logging.Formatter().format, logged)).encode("utf-8", "replace")
    assert [word for word in words if shows(raw, word)] == []
    assert len(shows(raw, "nobody's/secret+e9~0000")) > 10, "what is no secret is there in every spelling"


# credentials that nobody had to register


async def what_it_was_asked_with(parrot: Parrot, client: Client, word: str) -> list[object]:
    """The server repeats our headers, and what is in them, in each spelling."""
    task = await client.window().submit(graph(seconds=0.1))
    sent = {name: value for headers in parrot.asked for name, value in headers.items()}
    await parrot.say(json.dumps({"type": "parrot", "data": sent}))
    found = await ended(task)
    parrot.pipes.clear()
    return found + await every_spelling(parrot, client, word)


CREDENTIALS: dict[str, dict[str, Any]] = {
    "a password in the address": {"login": f"user:{quote(CANARY, safe='')}@"},
    "a password in the address, one longer": {"login": f"users:{quote(CANARY, safe='')}@"},
    "a password in the address, two longer": {"login": f"users1:{quote(CANARY, safe='')}@"},
    "a token in the address": {"login": f"{quote(CANARY, safe='')}@"},
    "a bearer token": {"headers": {"Authorization": f"Bearer {CANARY}"}},
    "a header of ones own": {"headers": {"X-Api-Key": CANARY}},
    "a token in quotes": {"headers": {"authorization": f'Token token="{CANARY}"'}},
    "a login in a header": {"headers": {"authorization": f"Basic {SPELLINGS['base64, as a login'](CANARY)}"}},
    "a cookie": {"headers": {"Cookie": f"theme=dark; sid={CANARY}"}},
}  # fmt: skip
each_credential = pytest.mark.parametrize("settings", CREDENTIALS.values(), ids=CREDENTIALS)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_is_nowhere_even_if_the_server_repeats_it(
    log: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = CREDENTIALS[name]
    assert_nowhere(tell(what_it_was_asked_with, log, **settings), caplog.records)


@each_credential
def test_a_credential_is_nowhere_and_of_the_libraries_none_but_websockets_tells_it_at_debug(
    log: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its DEBUG has every header and every frame: whoever turns that on reads what goes over the wire."""

    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        return await ended(await client.window().submit(graph()))

    assert_nowhere(tell(story, log, **settings), caplog.records)
    assert {record.name.split(".")[0] for record in caplog.records} >= {"httpx", "httpcore", "websockets"}
    assert tellers(caplog.records, CANARY) == {("websockets.client", logging.DEBUG)}


EXTRA = {
    "api_key_comfy_org": CANARY,
    "auth_token_comfy_org": CANARY[::-1],
    "openai": CANARY.upper(),
    "extra_pnginfo": {"workflow": {"nodes": [CANARY.title()]}},
}


def submitting(nodes: Callable[[int], Mapping[str, Any]], **options: Any) -> Story:
    """One whose window hears nothing, so that all is asked over HTTP; then two that are told by frames."""

    async def story(parrot: Parrot, client: Client, word: str) -> list[object]:
        window = client.window()
        parrot.faults.mute = True
        found = await ended(await window.submit(nodes(0), **options))
        parrot.faults.mute = False
        for task in [await window.submit(nodes(seed), **options) for seed in (1, 2)]:
            found += await ended(task)
        return found

    return story


VERSIONS = ["0.3.10", "0.3.64", "0.33.0"]  # that make up ids of their own, keep ours, have jobs


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("keep_inputs", [False, True])
def test_a_key_that_is_submitted_is_nowhere(
    log: Path, version: str, keep_inputs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    telling = tell(
        submitting(lambda seed: graph(seed, seconds=0.1), extra_data=EXTRA),
        log,
        version=version,
        keep_inputs=keep_inputs,
    )
    for word in (CANARY, CANARY[::-1], CANARY.upper(), CANARY.title()):
        assert_nowhere(telling, caplog.records, word)


def test_a_submitted_key_that_a_node_repeats_is_not_written(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    extra = {"api_key_comfy_org": CANARY}
    telling = tell(submitting(lambda seed: failing(seed, f"401 for {CANARY}"), extra_data=extra), log, keep_inputs=True)
    assert_not_written(telling, caplog.records)
    assert any("401 for" in str(witness) and CANARY in str(witness) for witness in telling.witnesses), "and delivered"


def test_a_login_and_a_token_in_any_address_are_nowhere(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    word = CANARY.replace("/", "-")
    urls = [
        f"https://user:{word}@host/a.png",
        f"/view?filename=a.png&token={word}",
        f"wss://host/ws?api_key={word}#top",
    ]
    assert_nowhere(
        tell(said_in_a_frame(lambda _: json.dumps({"type": "parrot", "data": urls})), log), caplog.records, word
    )


# what prompts are about


def failing(seed: int, message: str, **inputs: object) -> dict[str, Any]:
    nodes = graph(seed, seconds=0.1)
    nodes["4"] = {"class_type": "FakeFail", "inputs": {"image": ["3", 0], "message": message, **inputs}}
    nodes["2"]["inputs"]["images"] = ["4", 0]
    return nodes


def of_which(exported: bytes, word: str) -> set[str]:
    """The kinds of lines that show it, and of frames their types."""
    lines = [json.loads(line) for line in exported.splitlines() if shows(line, word)]
    return {line["data"]["type"] if line["kind"] == "ws.message" else line["kind"] for line in lines}


def refused(seed: int) -> dict[str, Any]:
    wrong = {"class_type": "EmptyImage", "inputs": graph(seed)["1"]["inputs"] | {"width": PROMPT}}
    return {"1": wrong, "2": graph()["2"]}


SUBJECTS: dict[str, tuple[Callable[[int], Mapping[str, Any]], set[str]]] = {
    "of what completed": (
        lambda seed: graph(seed, seconds=0.1) | {"7": {"class_type": "FakeNothing", "inputs": {"text": PROMPT}}},
        {"http.request", "http.response"},
    ),
    "of what failed": (
        lambda seed: failing(seed, "no", text=f"{PROMPT} {CANARY}", more=[PROMPT, {"a": PROMPT}]),
        {"http.request", "http.response", "execution_error"},
    ),
    "of what was refused": (refused, {"http.request", "http.response"}),
}
each_subject = pytest.mark.parametrize(("nodes", "where"), SUBJECTS.values(), ids=SUBJECTS)


@pytest.mark.parametrize("version", VERSIONS)
@each_subject
def test_inputs_are_nowhere(
    log: Path, nodes: Any, where: set[str], version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was refused names the value to whoever submitted it, and to nobody else."""
    telling = tell(submitting(nodes), log, PROMPT, version=version)
    if nodes is refused:
        assert_not_written(telling, caplog.records, PROMPT)
        assert any(shows(told(witness), PROMPT) for witness in telling.witnesses if isinstance(witness, TaskRejected))
    else:
        assert_nowhere(telling, caplog.records, PROMPT)


@pytest.mark.parametrize("frame", [
    '{"type":"execution_error","data":{"current_inputs":{"a":["WORD"]},"current_outputs":["WORD"]}}',
    '{"type":"execution_error","data":{"current_inputs":"WORD"},"data":{}}',
    '{"type":"parrot","data":[{"current_inputs":"WORD","current_inputs":0}]}',
    '{"type":"execution_error","data":{"current_inputs":{"a":["WORD',
])  # fmt: skip
def test_inputs_that_a_frame_repeats_are_nowhere(log: Path, frame: str, caplog: pytest.LogCaptureFixture) -> None:
    story = said_in_a_frame(lambda word: frame.replace("WORD", word))
    assert_nowhere(tell(story, log, PROMPT), caplog.records, PROMPT)


@each_subject
def test_inputs_are_kept_where_that_is_wanted_and_secrets_in_them_are_not(
    log: Path, nodes: Any, where: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    telling = tell(submitting(nodes), log, secrets=[CANARY], keep_inputs=True)
    assert_nowhere(telling, caplog.records)
    assert of_which(telling.exported, PROMPT) == where
