"""The options that commands share, how each may end, and what is refused before anything is opened or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnusedCliTokensError,
    validators,
)
from msgspec.structs import replace

from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.errors import LogDamaged, LogError

if TYPE_CHECKING:
    from comfy_fsm.live.client.client import Client
    from comfy_fsm.live.transport.comfy import Comfy

__all__ = [
    "BAD_DATA",
    "ENDED_BY_SIGNAL",
    "NO_ACCESS",
    "NO_INPUT",
    "OUR_FAULT",
    "UNREACHABLE",
    "USAGE",
    "Access",
    "All",
    "Attempts",
    "Capacity",
    "DryRun",
    "Extra",
    "Folder",
    "Format",
    "Host",
    "Id",
    "IdAndLog",
    "Log",
    "LogFile",
    "MaybeLog",
    "NoColor",
    "Once",
    "Port",
    "Server",
    "Servers",
    "Sockets",
    "Token",
    "Unavailable",
    "Workflows",
    "Wrong",
    "Yes",
    "must_be_readable",
    "worded",
]

USAGE, BAD_DATA, NO_INPUT, UNREACHABLE, OUR_FAULT = 64, 65, 66, 69, 70
ENDED_BY_SIGNAL = 128

Workflows = Annotated[str, Parameter(name="WORKFLOW")]
Log = Annotated[str, Parameter(name="--log")]  # also by its place alone, as LOG
Id = Annotated[str, Parameter(name="ID")]
Server = Annotated[list[str], Parameter(name="--server", negative="")]
Servers = Annotated[list[str] | None, Parameter(name="--server", negative="")]
LogFile = Annotated[str, Parameter(name="--log")]
MaybeLog = Annotated[str | None, Parameter(name="--log")]
All = Annotated[bool, Parameter(name="--all", negative="", show_default=False)]
Yes = Annotated[bool, Parameter(name="--yes", negative="", show_default=False)]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", show_default=False)]
Attempts = Annotated[int, Parameter(name="--attempts")]
Folder = Annotated[str, Parameter(name="--output")]
IdAndLog = Annotated[str, Parameter(name="[ID] LOG")]
Format = Annotated[Literal["text", "json"], Parameter(name="--format")]
NoColor = Annotated[bool, Parameter(name="--no-color", negative="", show_default=False)]
Capacity = Annotated[int | None, Parameter(name="--capacity", validator=validators.Number(gte=1))]
Token = Annotated[str | None, Parameter(name="--token-env")]
Sockets = Annotated[Literal["prefer", "require"], Parameter(name="--sockets")]
_Pairs = Annotated[list[str] | None, Parameter(negative="")]
Extra = Annotated[_Pairs, Parameter(name="--extra")]
Once = Annotated[bool, Parameter(name="--once", negative="", show_default=False)]
Port = Annotated[int, Parameter(name="--port")]
Host = Annotated[str, Parameter(name="--host")]


_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class Wrong(Exception):
    """The command was used wrongly; the text says how to use it."""


class Unavailable(Exception):
    """Something that the command needs is not to be had here: a port, an extra. The text says how to get it."""


def must_be_readable(log: str) -> None:
    """Raise OSError where there is no such file, LogError where it is something else or nothing of it can be read."""
    from comfy_fsm.log import logfile, reader

    if not logfile.is_sqlite(log) or not logfile.is_log(log):
        raise LogError(f"{log} is no log of this project; name the file that was given as --log")
    with closing(reader.read(log)) as records:
        first = next(records, None)
    if first is not None and not first.position:  # an empty answer would pass for one about no tasks
        raise LogDamaged(f"{log} is damaged as a whole, and no row of it was read: {first.damage}", 0)


def worded(error: CycloptsError) -> str:
    """What the library says, in our words where its own mislead: a word in capitals has no hyphens before it."""
    command = " ".join(error.command_chain or ())
    more = f"`{' '.join(filter(None, ('python -m comfy_fsm', command, '--help')))}` tells more"
    if isinstance(error, UnknownCommandError):
        return f"there is no command {(error.root_input_tokens or [''])[0]!r}; {more}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is one word too many; {more}"
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.tokens_so_far:
        name = error.argument.name
        bare = "LOG" if name == "--log" else name.removeprefix("--")
        return f"{command} needs {bare if bare.isupper() else name}; {more}"
    return f"{str(error).rstrip('.')}; {more}"


@Parameter(name="*")
@dataclass(frozen=True)
class Access:
    """What a server wants before it answers, and whom to believe that it is that server.

    Parameters
    ----------
    token_env
        Name of an environment variable that holds a token; it is sent as a bearer token.
    header
        NAME=ENV: send this header with the value of that environment variable, such as X-API-Key=KEY; may be repeated.
    socket_query
        NAME=ENV: the same as a parameter in the address of the socket, such as token=KEY; may be repeated.
    ca
        A file (PEM) with the certificate of the server, or of who signed it.
    timeout
        Seconds that a server may stay silent when it is asked something.
    """

    token_env: Token = None
    header: Annotated[_Pairs, Parameter(name="--header")] = None
    socket_query: Annotated[_Pairs, Parameter(name="--socket-query")] = None
    ca: Annotated[str | None, Parameter(name="--ca")] = None
    timeout: Annotated[float | None, Parameter(name="--timeout", validator=validators.Number(gt=0))] = None

    @property
    def headers(self) -> dict[str, str]:
        """Those that go with every request."""
        headers = _bearing(self.token_env)
        for name, value in _pairs(self.header, "--header").items():
            if not (value.isascii() and value.isprintable() and _HEADER.fullmatch(name)):
                raise Wrong(f"--header {name}: name or value is what no header may hold; nothing was sent")
            headers[name] = value
        return headers

    @property
    def policy(self) -> Policy:
        return DEFAULT if self.timeout is None else replace(DEFAULT, deadline_seconds=self.timeout)

    def opening(
        self, servers: list[str], log: str, extra: list[str] | None, sockets: Literal["prefer", "require"]
    ) -> Callable[[], Client]:
        """How to open the client: in the loop that will run it."""
        from comfy_fsm.live.client.client import Client

        settings: dict[str, Any] = {
            "headers": self.headers, "socket_query": _pairs(self.socket_query, "--socket-query"), "ca": self.ca,
            "extra_data": _pairs(extra, "--extra"), "policy": self.policy,
            "sockets": sockets,
        }  # fmt: skip
        return lambda: Client(servers, log=log, **settings)

    def asking(self, servers: list[str]) -> Callable[[], list[Comfy]]:
        """The same without a client; a wrong address is told before any loop runs."""
        from comfy_fsm.live.transport.addresses import address_of
        from comfy_fsm.live.transport.comfy import Comfy
        from comfy_fsm.live.transport.trust import context_of, timeouts

        urls = list(dict.fromkeys(servers))
        for url in urls:
            address_of(url)
        how: dict[str, Any] = {
            "headers": self.headers, "socket_query": _pairs(self.socket_query, "--socket-query"),
            "ssl_context": context_of(self.ca, None), **timeouts(self.policy),
        }  # fmt: skip
        return lambda: [Comfy(url, **how) for url in urls]


NO_ACCESS = Access()


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """NAME=ENV, each with the value of that variable: a secret has no business among the words of a command."""
    found = {}
    for pair in given or ():
        name, equals, variable = pair.rpartition("=")
        if not equals or not name or not variable:
            raise Wrong(f"{option} takes NAME=ENV, where ENV names an environment variable that holds the value")
        if variable not in os.environ:
            raise Wrong(f"{option} {name}: the environment has no such variable; set it to the value, and name it")
        found[name] = os.environ[variable]
    return found


def _bearing(token_env: str | None) -> dict[str, str]:
    """The headers that go with every request."""
    if token_env is None:
        return {}
    if token_env not in os.environ:
        raise Wrong(f"the environment has no variable {token_env}; set it to the token")
    if not (os.environ[token_env].isascii() and os.environ[token_env].isprintable()):
        raise Wrong(f"the variable {token_env} holds what no header may, a line end perhaps; nothing was sent")
    return {"Authorization": f"Bearer {os.environ[token_env]}"}
