"""A way to a server that can be cut: before a message reaches it, or after, so that its answer reaches nobody."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Cuttable"]


class Cuttable:
    """A port that leads to a server, byte by byte, until a message with `mark` in it comes.

    `cut("before")` drops that message and every connection; `cut("after")` passes it on, waits for the answer, and
    drops the answer with every connection. With `stay` nobody gets through any more, until `mend`.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._mark, self._when, self._stay = b"", "", False
        self._away = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, when: str, mark: bytes, *, stay: bool = False) -> None:
        """Cut once, at the next message with these bytes."""
        self._mark, self._when, self._stay = mark, when, stay

    def mend(self) -> None:
        self._away = False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._away:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((client, server))
                pair = client, server
                threading.Thread(target=self._ask, args=pair, daemon=True).start()
                threading.Thread(target=self._answer, args=pair, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while message := client.recv(1 << 20):
                if self._when and self._mark in message:
                    if self._when == "before":
                        self._drop()
                        return
                    self._when = "answer"
                server.sendall(message)
        for end in (client, server):
            end.close()

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while message := server.recv(1 << 20):
                if self._when == "answer":
                    self._drop()
                    return
                client.sendall(message)
        for end in (client, server):
            end.close()

    def _drop(self) -> None:
        self.cuts += 1
        self._when, self._away = "", self._stay
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self._stay = True
        self._drop()
