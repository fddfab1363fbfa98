"""Tests of `watch` and `serve` as processes on a real log, with a real terminal and a reader of the page."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pyte
import pytest

from comfy_fsm.serve import web_page
from tests.support.hostile import HOSTILE
from tests.support.lines import fill, frame, line
from tests.support.processes import (
    BAD_DATA,
    ENVIRONMENT,
    GUARD,
    LOG,
    NO_INPUT,
    NO_LOGS,
    NOWHERE,
    UNREACHABLE,
    USAGE,
    command,
    finish,
    names,
    said,
    until,
    untouched,
)
from tests.support.serving import DISCOVERED, NOW, RUNNING, Page, answered, gone, serving, writing

WATCH, SERVE = ("watch", LOG), ("serve", LOG, "--port", "0")


# what both refuse


@pytest.mark.parametrize("arguments", [WATCH, (*WATCH, "--once"), SERVE], ids=" ".join)
@pytest.mark.parametrize(("make", "why"), NO_LOGS.values(), ids=NO_LOGS)
def test_what_is_no_log_of_ours_is_neither_shown_nor_touched(
    tmp_path: Path, make: Callable[[Path], object], why: str, arguments: tuple[str, ...]
) -> None:
    place = tmp_path / LOG
    make(place)
    with untouched(place):
        found = said(command(*arguments, cwd=tmp_path), NO_INPUT if place.is_dir() else BAD_DATA)
    assert LOG in found
    assert why in found


@pytest.mark.parametrize("arguments", [WATCH, SERVE], ids=" ".join)
def test_a_log_that_is_not_there_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert LOG in said(command(*arguments, cwd=tmp_path), NO_INPUT)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [WATCH, SERVE, *((name, LOG) for name in ("tail", "export", "diagnose", "metrics")),
     ("recover", "--all", "--server", NOWHERE), ("consistency", "a", "--server", NOWHERE),
     ("history", "a", "--server", NOWHERE), ("resume", "--server", NOWHERE)],
    ids=" ".join,
)  # fmt: skip
def test_a_log_that_is_damaged_as_a_whole_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = fill(tmp_path / LOG, *RUNNING)
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    assert "damaged as a whole" in said(command(*arguments, cwd=tmp_path), BAD_DATA)


# watch, printed


@pytest.mark.parametrize("arguments", [WATCH, (*WATCH, "--once")], ids=" ".join)
def test_where_there_is_no_terminal_a_log_is_shown_once(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    fill(tmp_path / LOG, *RUNNING, DISCOVERED)
    found = command(*arguments, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    for told in (
        "in_progress  prompt-o",
        "━━━━━━━━────────  50% node 7",
        "one:8188",
        "undecodable",
        "verify over HTTP",
    ):
        assert told in found.stdout
    assert found.stdout == command(*arguments, cwd=tmp_path).stdout, "ages are counted to the end of the log"


def test_a_log_without_tasks_is_shown(tmp_path: Path) -> None:
    fill(tmp_path / LOG)
    found = command(*WATCH, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert "no task yet" in found.stdout


# watch, on a terminal


class Terminal:
    """A terminal with the command on it, and what is to be seen there."""

    def __init__(self, cwd: Path, *arguments: str, columns: int = 80, lines: int = 24, **env: str) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._end, end = os.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._end)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "comfy_fsm", *arguments], cwd=cwd, stdin=end, stdout=end, stderr=end,
            env=ENVIRONMENT | {"TERM": "xterm-256color"} | env, start_new_session=True,
        )  # fmt: skip
        os.close(end)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def read(self) -> str:
        with suppress(OSError):  # how a terminal ends
            while select.select([self._end], [], [], 0.05)[0]:
                part = os.read(self._end, 65_536)
                if not part:
                    break
                self.raw += part
                self._stream.feed(part)
        return "\n".join(self.screen.display)

    def shows(self, text: str) -> str:
        until(lambda: text in self.read())
        return self.read()

    def type(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def ended(self) -> int:
        end = time.monotonic() + GUARD
        while self.process.poll() is None:
            assert time.monotonic() < end
            self.read()  # else it might wait for somebody to read
        self.read()
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@contextmanager
def watching(cwd: Path, **settings: Any) -> Iterator[Terminal]:
    terminal = Terminal(cwd, *settings.pop("arguments", WATCH), **settings)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (132, 50), (40, 10), (20, 4)])
def test_a_terminal_shows_what_is_there_and_then_what_comes(tmp_path: Path, columns: int, lines: int) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path, columns=columns, lines=lines) as terminal:
        terminal.shows("1 in_progress")
        fill(tmp_path / LOG, DISCOVERED)
        terminal.shows("1 warning")


def test_when_the_writer_is_killed_a_terminal_says_so_and_its_lamps_go_out(tmp_path: Path) -> None:
    with writing(tmp_path, *answered(time.time())) as writer, watching(tmp_path, columns=120) as terminal:
        shown = terminal.shows(" answering ")
        assert "open" in shown
        assert "no process" not in shown
        writer.kill()
        shown = terminal.shows("no process writes this log")
        assert "not asked" in shown
        assert " 0 a second" in shown
        assert not re.search(r"one:8188 +open ", shown)


def test_when_the_writer_is_killed_the_page_says_so_and_its_lamps_go_out(tmp_path: Path) -> None:
    with writing(tmp_path, *answered(time.time())) as writer, serving(tmp_path) as found, found.feed() as messages:
        _, told = next(messages)
        assert told["head"]["written"] is True
        (server,) = told["tables"]["servers"]["rows"].values()
        assert server["lamp"] == "answering"
        writer.kill()
        _, told = next(message for message in messages if message[1]["head"]["written"] is False)
        (server,), (window,) = (told["tables"][name]["rows"].values() for name in ("servers", "windows"))
        assert (server["lamp"], window["socket"], told["head"]["rate"]) == ("not asked", "closed", 0)


AWAY = "http://gone.example:8188"


@pytest.mark.parametrize("columns", [140, 80, 40])
def test_a_terminal_shows_an_alert_that_holds_and_a_server_that_is_drained(tmp_path: Path, columns: int) -> None:
    lines = [*gone(NOW, AWAY), *answered(NOW), line("command", {"name": "drain"}, NOW)]
    with writing(tmp_path, *lines), watching(tmp_path, columns=columns, lines=40) as terminal:
        terminal.shows("alert ComfyServerUnreachable")
        shown = terminal.shows("answering, drained")
        assert "gone.example:8188: not answering: ConnectError" in " ".join(shown.split()) or columns == 140
        assert "not answering: ConnectError" in " ".join(shown.split())


def test_the_details_of_a_task_are_its_diagnosis_with_every_text_harmless(tmp_path: Path) -> None:
    name = "\u202egnp<b>\x1b[31m"
    fill(tmp_path / LOG, *RUNNING, frame("execution_error", NOW, prompt_id="prompt-one", exception_message=name))
    with serving(tmp_path) as served, served.feed() as messages:
        _, told = next(messages)
        (number,) = told["tables"]["tasks"]["rows"]
        answer = served.get(f"task?number={number}")
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.text.isprintable()
        found = answer.json()
        assert (found["prompt_id"], found["evidence"][-1]["signal"]) == ("prompt-one", "execution_error")
        assert found["steps"]


@pytest.mark.parametrize("asked", ["", "?number=", "?number=99", "?number=-1", "?number=1e9", "?number=" + "9" * 5_000])
def test_a_task_that_is_not_there_has_no_details(served: Page, asked: str) -> None:
    assert served.get(f"task{asked}").status_code == 404


def test_a_terminal_may_change_its_size(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING, DISCOVERED)
    with watching(tmp_path) as terminal:
        terminal.shows("q quits")
        for columns, lines in ((132, 40), (30, 8), (100, 24)):
            terminal.resize(columns, lines)
            until(lambda: terminal.read() and framed(terminal.screen))


def framed(screen: pyte.Screen) -> bool:
    return screen.display[0].startswith(LOG) and screen.display[-1].startswith("q quits")


@pytest.mark.parametrize(("keys", "status"), [(b"q", 0), (b"Q", 0), (b"xq", 0), (b"\x03", 130)], ids=ascii)
def test_a_key_ends_it_and_the_terminal_is_as_it_was(tmp_path: Path, keys: bytes, status: int) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path) as terminal:
        terminal.shows("q quits")
        terminal.type(keys if keys != b"\x03" else b"")
        if keys == b"\x03":  # it has no controlling terminal here that would turn the key into a signal
            terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == status
        as_it_was(terminal)


@pytest.mark.parametrize("columns", [140, 80, 40])
def test_a_row_opens_its_diagnosis_and_escape_leads_back(tmp_path: Path, columns: int) -> None:
    failing = frame("execution_error", NOW, prompt_id="prompt-two", exception_type="RuntimeError", node_id="3")
    fill(tmp_path / LOG, *RUNNING, failing)
    with watching(tmp_path, columns=columns, lines=40) as terminal:
        terminal.shows("? keys")
        terminal.type(b"/prompt-one\r")
        terminal.shows("prompt-one”: 1 of ")
        terminal.type(b"\x1b[B\r")
        shown = terminal.shows("Esc back")
        assert "IN_PROGRESS  prompt-one" in shown
        assert "next" in shown
        terminal.type(b"\x1b")
        terminal.shows("1 of ")
        terminal.type(b"\x1b")
        terminal.shows("prompt-t")
        terminal.type(b"?")
        terminal.shows("these keys")
        terminal.type(b"xq")
        assert terminal.ended() == 0
        as_it_was(terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_diagnosis_leaves_the_terminal_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path) as terminal:
        terminal.shows("? keys")
        terminal.type(b"\r")
        terminal.shows("Esc back")
        terminal.process.send_signal(number)
        assert terminal.ended() == 128 + number
        as_it_was(terminal)


def as_it_was(terminal: Terminal) -> None:
    entered, left = (terminal.raw.rfind(b"\x1b[?1049" + way) for way in (b"h", b"l"))
    assert -1 < entered < left, "the other screen was left"
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l"), "the cursor is back"
    assert termios.tcgetattr(terminal._end)[3] == terminal.before[3], "keys are shown again"
    assert b"Traceback" not in terminal.raw


def test_a_terminal_is_as_it_was_after_sigterm(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path) as terminal:
        terminal.shows("q quits")
        terminal.process.terminate()
        assert terminal.ended() == 128 + signal.SIGTERM
        as_it_was(terminal)


def test_a_log_that_goes_away_meanwhile_is_told_and_stays_on_show(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path, columns=80) as terminal:
        terminal.shows("1 in_progress")
        for name in names(tmp_path):
            (tmp_path / name).unlink()
        assert "1 in_progress" in terminal.shows("No such file")
        fill(tmp_path / LOG, DISCOVERED)
        assert "no task yet" in terminal.shows("1 warning")


@pytest.mark.parametrize(
    ("arguments", "env"), [((*WATCH, "--no-color"), {}), (WATCH, {"NO_COLOR": "1"})], ids=["option", "variable"]
)
def test_without_colours_nothing_is_coloured(tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str]) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with watching(tmp_path, arguments=arguments, **env) as terminal:
        terminal.shows("1 in_progress")
        colours = {cell.fg for row in terminal.screen.buffer.values() for cell in row.values()}
        assert colours == {"default"}
    with watching(tmp_path) as terminal:
        terminal.shows("1 in_progress")
        assert len({cell.fg for row in terminal.screen.buffer.values() for cell in row.values()}) > 1


OURS = rb"\x1b\[(?:\?1049[hl]|\?25[hl]|H|[\d;]*m|2J)"
"""All that we say to a terminal ourselves: the other screen, the cursor, home, colours."""


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_terminal_is_driven_by_no_name(tmp_path: Path, name: str) -> None:
    envelope = {"server": name, "window": name}
    prompt = {"prompt_id": name, "node": name}
    messages = [
        {"type": "execution_start", "data": prompt},
        {"type": "progress", "data": prompt | {"value": 1, "max": 2}},
        {"type": name, "data": {}},
        {"type": "executing", "data": prompt},
    ]
    told = [line("ws.open", {}, NOW, **envelope), *(line("ws.message", each, NOW, **envelope) for each in messages)]
    fill(tmp_path / LOG, *told, line("http.error", {"id": "1", "error": name}, NOW, **envelope))
    with watching(tmp_path, columns=120, lines=40) as terminal:
        terminal.shows("q quits")
        left = re.sub(OURS, b"", terminal.raw).decode()
        assert not [letter for letter in left if not letter.isprintable() and letter not in "\r\n"], ascii(left)
        assert framed(terminal.screen)


# serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("served")
    fill(folder / LOG, *RUNNING)
    with serving(folder) as found:
        yield found


PATHS = ["", "page.css", "page.js", "icon.svg", "nothing", "feed/../../etc/passwd", "page/", "%2e%2e/pyproject.toml"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_whatever_is_answered_may_load_only_what_is_ours(served: Page, path: str, method: str) -> None:
    answer = served.get(path, method)
    assert answer.status_code == (200 if path in PATHS[:4] else 404)
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    sources = {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")}
    assert sources == {"'self'"}
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not {"access-control-allow-origin", "set-cookie"} & set(answer.headers)
    assert bool(answer.content) == (method == "GET")


@pytest.mark.parametrize("path", ["", "page.js", "feed", "nothing"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_there_is_nothing_to_change(served: Page, path: str, method: str) -> None:
    answer = served.get(path, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["", "feed"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8199",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "[::",
        "a b",
    ],
)
def test_nothing_is_answered_under_a_name_that_is_not_ours(served: Page, path: str, host: str) -> None:
    """DNS rebinding: the name leads here, and the browser takes us for the page of that name."""
    answer = served.get(path, Host=host)
    assert answer.status_code in (400, 421)
    assert LOG not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:9", "[::1]:9", "LOCALHOST"])
def test_this_machine_has_several_names(served: Page, host: str) -> None:
    assert served.get(Host=host).status_code == 200


FOREIGN = {
    "another page": {"Origin": "http://evil.example"},
    "a page without an address": {"Origin": "null"},
    "a page of another port": {"Origin": "http://127.0.0.1:1"},
    "another scheme": {"Origin": "https://{host}"},
    "a request from elsewhere": {"Sec-Fetch-Site": "cross-site"},
    "a request from another port": {"Sec-Fetch-Site": "same-site"},
    "a frame that goes to the feed": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_no_other_page_is_answered(served: Page, headers: dict[str, str]) -> None:
    answer = served.get("feed", **{name: value.format(host=served.host) for name, value in headers.items()})
    assert answer.status_code == 403
    assert LOG not in answer.text


def test_the_page_itself_is_answered_and_a_link_to_it(served: Page) -> None:
    assert served.get("page.js", Origin=f"http://{served.host}", **{"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert served.get("", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_the_page_names_no_other_host() -> None:
    folder = Path(web_page.__file__).parent / "static"
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"""://|["'(]\s*//|@import""", text), file
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style=", " onclick="):
            assert word not in text


def test_the_feed_tells_all_and_then_what_changes(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as served, served.feed() as messages:
        kind, told = next(messages)
        assert kind == "view"
        (row,) = told["tables"]["tasks"]["rows"].values()
        assert (row["prompt_id"], row["share"], row["node"]) == ("prompt-one", 0.5, "7")
        assert told["codes"]["lost"][0] == "error"
        fill(tmp_path / LOG, frame("progress", NOW, prompt_id="prompt-one", node="7", value=2, max=2), DISCOVERED)
        while told["head"]["position"] < 5:
            kind, told = next(messages)
            assert kind == "change"
        assert [row["code"] for row in told["tables"]["findings"]["rows"].values()] == ["undecodable"]
        assert "servers" not in told["tables"], "what has not changed is not told"


def test_whoever_comes_back_is_told_all_again(served: Page) -> None:
    for _ in range(2):
        with served.feed(**{"Last-Event-ID": "1-3"}) as messages:
            assert next(messages)[0] == "view"


def test_a_reader_is_told_that_nothing_is_new(served: Page) -> None:
    with served.feed() as messages:
        first, second = next(messages)[1], next(messages)
    assert second[0] == "change"
    assert second[1]["tables"] == {}
    assert second[1]["now"] > first["now"]


def test_idle_readers_keep_nobody_out(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as served:
        address = (served.host.partition(":")[0], int(served.host.partition(":")[2]))
        request = f"GET /feed HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode()
        readers = [socket.create_connection(address) for _ in range(web_page.READERS)]
        try:
            for reader in readers:
                reader.sendall(request)
                assert reader.recv(1)
            with served.feed() as messages:
                assert next(messages)[0] == "view"
                readers[0].settimeout(30)
                while readers[0].recv(65536):  # the oldest is let go
                    pass
                readers[1].setblocking(False)
                with suppress(BlockingIOError):
                    while said := readers[1].recv(65536):
                        assert said
        finally:
            for reader in readers:
                reader.close()


REQUESTS = [
    b"GET / HT", b"\x00\xff" * 100, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5_000 + b"\r\n", b"PRI * HTTP/2.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + b"z" * 70_000,
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n" + b"z" * 70_000,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /feed HTTP/1.1\r\nHost: h\r\n\r\n" * 500, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
]  # fmt: skip


def test_what_a_client_sends_wrong_fills_no_standard_error(tmp_path: Path) -> None:
    """Else it could fill a disk, or a pipe that nobody reads, and then the page stands still."""
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as served:
        address = (served.host.partition(":")[0], int(served.host.partition(":")[2]))
        for request in REQUESTS * 20:
            with socket.create_connection(address, timeout=GUARD) as client, suppress(ConnectionError):
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)
        assert served.get("").status_code == 200


def test_half_a_request_holds_no_connection(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as served:
        address = (served.host.partition(":")[0], int(served.host.partition(":")[2]))
        halves = [socket.create_connection(address) for _ in range(web_page.CONNECTIONS)]
        try:
            for half in halves:
                half.sendall(b"GET / HTTP/1.1\r\nHost: ")
            assert served.get("").status_code == 200
            halves[0].settimeout(30)
            with suppress(ConnectionError):
                assert halves[0].recv(1) == b""
        finally:
            for half in halves:
                half.close()


def test_a_reader_who_takes_nothing_holds_no_other_up(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with serving(tmp_path) as served:
        host, _, port = served.host.partition(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            slow.connect((host, int(port)))
            slow.sendall(f"GET /feed HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode())
            with served.feed() as messages:
                told = next(messages)[1]
                for n in range(4):
                    odd = [frame(f"odd {n} {m}", NOW, window=f"{n}.{m}") for m in range(300)]
                    fill(tmp_path / LOG, *odd)
                    while told["head"]["position"] < len(RUNNING) + 300 * (n + 1):
                        told = next(messages)[1]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_the_feed_tells_is_harmless(tmp_path: Path, name: str) -> None:
    envelope = {"server": name, "window": name}
    start = {"type": "execution_start", "data": {"prompt_id": name, "timestamp": 1}}
    fill(
        tmp_path / LOG, line("ws.open", {}, NOW, **envelope), line("ws.message", start, NOW, **envelope),
        line("ws.message", {"type": name, "data": {}}, NOW, **envelope),
    )  # fmt: skip
    with serving(tmp_path) as served, served.feed() as messages:
        assert harmless(next(messages)[1])


def harmless(value: Any) -> bool:
    if isinstance(value, dict):
        return all(harmless(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return all(map(harmless, value))
    return not isinstance(value, str) or (value.isprintable() and len(value) <= web_page.LONGEST)


def test_a_page_that_is_told_to_end_says_good_bye_to_its_readers(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    for number in (signal.SIGINT, signal.SIGTERM):
        served = Page(tmp_path)
        with served.feed() as messages:
            next(messages)
            served.process.send_signal(number)
            assert list(messages) == [], "the feed ends, and is not cut off"
        found = finish(served.process)
        assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", "")


def test_a_port_that_is_taken_is_told_in_a_line(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = said(command("serve", LOG, "--port", port, cwd=tmp_path), UNREACHABLE)
    assert f"port {port}" in told
    assert "--port" in told


@pytest.mark.parametrize(
    "options", [("--port", "-1"), ("--port", "65536"), ("--port", "x"), ("--hots", "x")], ids=" ".join
)
def test_what_is_no_port_is_wrong_usage(tmp_path: Path, options: tuple[str, str]) -> None:
    fill(tmp_path / LOG, *RUNNING)
    said(command("serve", LOG, *options, cwd=tmp_path), USAGE)


@pytest.mark.parametrize("host", ["198.51.100.1", "no.such.host.invalid", "a" * 70 + ".example", "\x1b[2J"], ids=ascii)
def test_an_address_that_is_not_of_this_machine_is_told_in_a_line(tmp_path: Path, host: str) -> None:
    fill(tmp_path / LOG, *RUNNING)
    assert "cannot listen" in said(command("serve", LOG, "--host", host, cwd=tmp_path), UNREACHABLE)


def test_whoever_opens_it_to_others_is_warned(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    served = Page(tmp_path, "--host", "0.0.0.0", "--port", "0")
    port = served.url.rstrip("/").rpartition(":")[2]
    try:
        url = f"http://127.0.0.1:{port}/"
        statuses = {
            host: httpx.get(url, headers={"Host": host}, trust_env=False).status_code
            for host in (f"127.0.0.1:{port}", "192.168.1.5:80", "evil.example")
        }
        assert list(statuses.values()) == [200, 200, 421], "a number cannot be bound to another address, a name can"
    finally:
        served.process.terminate()
        found = finish(served.process)
    assert "no password" in found.stderr
    assert found.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    fill(tmp_path / LOG, *RUNNING)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['aiohttp'] = None\n", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    told = said(command(*SERVE, cwd=tmp_path, env={"PYTHONPATH": paths}), UNREACHABLE)
    assert "pip install 'comfy-fsm[serve]'" in told
