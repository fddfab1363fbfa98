"""Campaign that gives a client many credentials, lets its server repeat them in every spelling, and searches for
them.

python -m tests.campaigns.secrets [--count 500] [--seed 1]

Each canary is one credential: a password or a token in the address, a bearer token, a header, a parameter of the
socket, something in `extra_data`, or one in a URL that nobody registered. `run` is a process of its own that logs at
DEBUG; then its log is exported, replayed, watched and served, and each file, stream and answer is searched.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web

from tests.support.spellings import FRAMES, SPELLINGS, shows

AT_ONCE = 50
"""Canaries of one run: as many as environment and headers bear."""
URLS: list[Callable[[str], str]] = [
    lambda word: f"https://u:{quote(word, safe='')}@host/a",
    lambda word: f"https://host/a?token={quote(word, safe='')}",
    lambda word: f"https://host/a#access_token={quote(word, safe='')}",
    lambda word: f"https://host/a?x=1&amp;api_key={quote(word, safe='')}",
    lambda word: f"https://host/a;sig={quote(word, safe='')}",
]
FORMS = ("password", "bearer", "header", "socket", "extra", "url")
DEBUG = (
    "import logging, sys\n"
    "logging.basicConfig(level=logging.INFO)\n"
    "for name in ('comfy_fsm', 'replay', 'asyncio'): logging.getLogger(name).setLevel(logging.DEBUG)\n"
    "from comfy_fsm.__main__ import main\n"
    "sys.exit(main(sys.argv[1:]))"
)

UNSCRUBBED = (
    "from comfy_fsm.live.redaction.scrubber import Scrubber\nScrubber.line = Scrubber.text = lambda self, told: told\n"
)
"""As the client would be without its redaction: what the campaign finds then."""


class Given(NamedTuple):
    """One credential, and in which form the client has it."""

    word: str
    form: str


class Parrot:
    """As little of ComfyUI as `run` needs, and each of its answers repeats what it should not."""

    def __init__(self, given: list[Given], dice: random.Random) -> None:
        self._given = given
        self._dice = dice
        self._sockets: list[web.WebSocketResponse] = []
        self._ids: list[str] = []

    def say(self, each: Given) -> str:
        if each.form == "url":
            return self._dice.choice(URLS)(each.word)
        return self._dice.choice(list(SPELLINGS.values()))(each.word)

    def some(self) -> str:
        return " and ".join(self.say(each) for each in self._dice.sample(self._given, min(3, len(self._given))))

    def all(self) -> list[str]:
        return [self.say(each) for each in self._given]

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        await socket.send_str(json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}))
        async for _ in socket:
            pass
        return socket

    async def post(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["prompt_id"]
        if len(self._ids) == 2:
            error = {"type": self.some(), "message": self.some(), "details": self.some(), "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {"1": {"errors": [error]}}}, status=400)
        self._ids.append(name)
        asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(self._tell(name)))
        return web.json_response({"prompt_id": name, "number": 1, "node_errors": {}, "note": self.some()})

    async def _tell(self, name: str) -> None:
        error = {"node_id": "1", "node_type": "A", "exception_type": self.some(), "exception_message": self.some(),
                 "traceback": [self.some()], "current_inputs": {"a": [self.some()]}}  # fmt: skip
        frames = list(FRAMES.values())
        told = [self._dice.choice(frames)(self.say(each)) for each in self._given]
        told += [
            json.dumps({"type": "execution_start", "data": {"prompt_id": name}}),
            json.dumps({"type": "execution_error", "data": {"prompt_id": name, **error}})
            if name == self._ids[0]
            else json.dumps({"type": "execution_success", "data": {"prompt_id": name}}),
        ]
        for socket in self._sockets:
            for frame in told:
                await socket.send_str(frame)

    async def history(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "")
        if name not in self._ids:
            return web.json_response({})
        failed = name == self._ids[0]
        said = {"prompt_id": name, "node_id": "1", "node_type": "A", "exception_type": "E",
                "exception_message": self.some(), "traceback": self.all()}  # fmt: skip
        ended = ["execution_error", said] if failed else ["execution_success", {"prompt_id": name}]
        status = {"status_str": "error" if failed else "success", "completed": not failed, "messages": [ended]}
        outputs = {"1": {"note": self.all(), "url": [self.some()]}}
        extra = {"a": self.all()}
        record = {"prompt": [1, name, {"1": {"inputs": {"t": self.some()}}}, extra, ["1"]], "outputs": outputs}
        return web.json_response({name: record | {"status": status}})

    async def other(self, request: web.Request) -> web.Response:
        if request.path == "/queue":
            item = [1, "other", {"1": {"inputs": {"t": self.some()}}}, {"a": self.all()}, ["1"]]
            return web.json_response({"queue_running": [], "queue_pending": [item]})
        if request.path == "/system_stats":
            return web.json_response(
                {"system": {"comfyui_version": "0.3.64", "argv": self.all()}, "devices": self.all()}
            )
        return web.Response(status=404, text=f"<p>{self.some()}", headers={"X-Said": quote(self.some())})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ws", self.listen)
        app.router.add_post("/prompt", self.post)
        app.router.add_get("/history/{name}", self.history)
        app.router.add_route("*", "/{rest:.*}", self.other)
        return app


def served(app: web.Application, found: list[int], ready: threading.Event, ends: threading.Event) -> None:
    async def story() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.append(runner.addresses[0][1])
        ready.set()
        await asyncio.to_thread(ends.wait)
        await runner.cleanup()

    asyncio.run(story())


def arguments(given: list[Given], port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command line, in which no secret stands but that of the address; the others are in the environment."""
    by_form = {form: [each.word for each in given if each.form == form] for form in FORMS}
    words, env = ["run", "--log", str(folder / "a.log"), "--output", str(folder / "out"), "--timeout", "5"], {}
    login = "".join(f"user:{quote(word, safe='')}@" for word in by_form["password"][:1])
    words += ["--server", f"http://{login}127.0.0.1:{port}"]
    for number, word in enumerate(by_form["bearer"][:1]):
        env[f"BEARER{number}"] = word
        words += ["--token-env", f"BEARER{number}"]
    for option, form in (("--header", "header"), ("--socket-query", "socket"), ("--extra", "extra")):
        for number, word in enumerate(by_form[form]):
            name = f"{form.upper()}{number}"
            env[name] = word
            words += [option, f"x-{form}-{number}={name}"]
    return words, env


def ran(words: list[str], env: dict[str, str] | None = None, *, module: str = "") -> tuple[bytes, bytes]:
    """What it told on each of its streams."""
    start = ["-m", module] if module else ["-c", DEBUG]
    every = {**os.environ, **(env or {})}
    done = subprocess.run([sys.executable, *start, *words], capture_output=True, env=every, timeout=90, check=False)
    return done.stdout, done.stderr


def page(log: Path) -> bytes:
    """What `serve` hands to a browser."""
    words = [sys.executable, "-m", "comfy_fsm", "serve", str(log), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as serving:
        assert serving.stdout is not None
        told = serving.stdout.readline()
        url = next((word.decode() for word in told.split() if word.startswith(b"http")), "")
        try:
            told += urllib.request.urlopen(url, timeout=30).read()
            with urllib.request.urlopen(f"{url.rstrip('/')}/feed", timeout=30) as events:
                told += b"".join(events.readline() for _ in range(8))
        finally:
            serving.kill()
    return told


def looked(log: Path) -> Iterator[tuple[str, bytes]]:
    """Each way in which a log is shown."""
    yield "export", b"".join(ran(["export", str(log)]))
    yield "replay", b"".join(ran([str(log)], module="replay"))
    yield "replay --format json", b"".join(ran([str(log), "--format", "json"], module="replay"))
    yield "replay diagnose", b"".join(ran(["diagnose", str(log)], module="replay"))
    yield "watch", b"".join(ran(["watch", str(log), "--once"]))
    yield "serve", page(log)


def campaign(count: int, seed: int) -> tuple[int, list[str]]:
    """How many places were searched, and where which canary was found."""
    dice, places, found = random.Random(seed), 0, []
    for first in range(0, count, AT_ONCE):
        forms = [FORMS[number % len(FORMS)] if number > 1 else FORMS[number] for number in range(AT_ONCE)]
        singles = {"password", "bearer"}
        given = [
            Given(f"c{first + number:x}/{dice.getrandbits(40):010x}+~{dice.getrandbits(16):04x}",
                  form if number < 2 or form not in singles else "header")
            for number, form in enumerate(forms[: count - first])
        ]  # fmt: skip
        parrot, port, ready, ends = Parrot(given, dice), list[int](), threading.Event(), threading.Event()
        serving = threading.Thread(target=served, args=(parrot.app(), port, ready, ends))
        serving.start()
        ready.wait(30)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            workflow = folder / "a.json"
            workflow.write_text('{"1":{"class_type":"A","inputs":{"t":"a cat"}}}')
            words, env = arguments(given, port[0], folder)
            try:
                _, complaints = ran([*words, *[str(workflow)] * 3], env)  # what was produced is handed over whole
            finally:
                ends.set()
                serving.join()
            files = [path for path in folder.rglob("*") if path.is_file() and path != workflow]
            shown: dict[str, bytes] = {"the complaints of run": complaints}
            shown |= {path.name: path.read_bytes() for path in files if path.parent == folder}
            shown |= dict(looked(folder / "a.log"))
        places += len(shown)
        found += [
            f"seed {seed}: {each.form} {each.word} in {place}, as {', '.join(spelled)}"
            for place, raw in shown.items()
            for each in given
            if (spelled := shows(raw, each.word))
        ]
    return places, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    places, found = campaign(chosen.count, chosen.seed)
    print(f"secrets: {chosen.count} canaries, {places} places, {len(found)} found", *found[:20], sep="\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
