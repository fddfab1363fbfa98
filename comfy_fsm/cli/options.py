"""Application that a program is, options that commands share, and checks before anything is opened or sent."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnusedCliTokensError,
    validators,
)
from cyclopts.help import DefaultFormatter
from msgspec.structs import replace

from comfy_fsm import __version__, tab_completion
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.errors import LogDamaged, LogError
from comfy_fsm.exits import STATUSES, Wrong

if TYPE_CHECKING:
    from ssl import SSLContext

    from cyclopts.help import HelpPanel

    from comfy_fsm.live.client.client import Client
    from comfy_fsm.live.proxy.address_rewriting import Addressing
    from comfy_fsm.live.transport.comfy import Comfy

__all__ = [
    "MANY",
    "NONE_ASKED",
    "NO_ACCESS",
    "PLAINLY",
    "PROGRAM",
    "VALUES",
    "Access",
    "All",
    "Asked",
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
    "Servers",
    "Sockets",
    "Token",
    "What",
    "Work",
    "Workflows",
    "Yes",
    "must_be_readable",
    "new_app",
    "program",
    "usage_error",
]

VALUES = {
    "--server": "URL", "--log": "FILE", "--output": "PATH", "--header": "NAME=ENV", "--socket-query": "NAME=ENV",
    "--extra": "NAME=ENV", "--ca": "FILE", "--token-env": "ENV", "--timeout": "SECONDS", "--capacity": "N",
    "--attempts": "N", "--port": "N", "--host": "ADDRESS", "--task": "ID", "--window": "ID", "--diagnose": "[ID]",
    "--format": "FORMAT", "--sockets": "HOW", "--since": "TIME", "--until": "TIME", "--grep": "WORD", "--context": "N",
    "--finding": "CODE", "--state": "STATE", "--expect": "WORD", "--test": "FILE", "--budget": "SECONDS",
    "--listen": "ADDRESS:PORT", "--metrics-port": "N", "--on-log-failure": "WHAT",
    "--as": "html|perfetto", "--junit": "FILE", "--html": "FILE",
    "--drop": "LINE", "--double": "LINE", "--delay": "LINE", "--swap": "LINE", "--cut": "LINE", "--lose": "LINE",
    "--forget": "LINE", "--seconds": "SECONDS",
}  # fmt: skip
"""What the value of an option is, as the help writes it."""
MANY = 8
"""Servers of a log that are listed to a user who named none."""

Workflows = Annotated[str, Parameter(name="WORKFLOW")]
Log = Annotated[str, Parameter(name="--log")]  # also by its place alone, as LOG
Id = Annotated[str, Parameter(name="ID")]
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
What = Annotated[Literal["rules", "dashboard", "database"], Parameter(name="WHAT")]
Once = Annotated[bool, Parameter(name="--once", negative="", show_default=False)]
Port = Annotated[int, Parameter(name="--port")]
Host = Annotated[str, Parameter(name="--host")]


_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def program(name: str, module: str) -> str:
    """Return the command line that started this: the script of that name, or the module."""
    return name if os.path.basename(sys.argv[0]).startswith(name) else f"python -m {module}"


PROGRAM = program("comfy-fsm", "comfy_fsm")


def new_app(program: str, script: str, usage: str, summary: str) -> App:
    """Return an application without commands; `program` is what the user typed, `script` what is installed."""
    app = App(
        name=program,
        usage=f"Usage: {program} {usage}",
        help=summary,
        help_epilogue=f"`{program} --help-status` lists the exit statuses.",
        help_formatter=_draw_panel,
        version=f"comfy-fsm {__version__}",
        version_flags=["--version"],
        result_action="return_value",
    )
    app.command(_print_statuses, name="--help-status")

    @app.command(name="--install-completion")
    def install_completion(shell: tab_completion.Shell = None) -> int:
        """Install tab completion for bash, zsh or fish; without a name, for the shell in $SHELL."""
        return tab_completion.install(app, script, shell)

    for flag in ("--help", "--version", "--help-status", "--install-completion"):
        app[flag].group = "Options"
    return app


def _print_statuses() -> int:
    """List the exit statuses of all commands."""
    for status, meaning in STATUSES.items():
        print(f"{status:>10}  {meaning}")
    return 0


def _draw_panel(console: Any, options: Any, panel: HelpPanel) -> None:
    """Draw a panel of the help: words for values, and no signs for what the usage line says is required."""
    entry: Any
    for entry in panel.entries:
        entry.required = False
        if getattr(entry, "metavar", None):  # which older releases of cyclopts have no word for
            entry.metavar = next((VALUES[name] for name in entry.names if name in VALUES), entry.metavar)
    DefaultFormatter()(console, options, panel)


def must_be_readable(log: str) -> None:
    """Check that this names a log; raises OSError if there is no such file, LogError if it is not a log, or nothing in
    it can be read.
    """
    from comfy_fsm.log import opening

    if not opening.is_log(log):
        raise LogError(f"{opening.shown(log)} is no log of this project; name the file that was given as --log")
    with closing(opening.read(log)) as records:
        first = next(records, None)
    if first is not None and not first.position:  # an empty answer would pass for one about no tasks
        raise LogDamaged(f"{opening.shown(log)} is damaged as a whole, and no row of it was read: {first.damage}", 0)


def usage_error(error: CycloptsError) -> str:
    """Return the library's message, reworded where its own misleads: an argument in capitals takes no hyphens."""
    command = " ".join(error.command_chain or ())
    more = f"`{' '.join(filter(None, (PROGRAM, command, '--help')))}` shows more"
    if isinstance(error, UnknownCommandError):
        given = (error.root_input_tokens or [""])[0]
        return f"there is no command {given!r}{_meant(given, error.app or ())}; {more}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is one word too many; {more}"
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.tokens_so_far:
        name = error.argument.name
        bare = "LOG" if name == "--log" else name.removeprefix("--")
        return f"{command} needs {bare if bare.isupper() else name}; {more}"
    return f"{str(error).rstrip('.')}; {more}"


def _meant(given: str, names: Iterable[str]) -> str:
    close = get_close_matches(given, (name for name in names if not name.startswith("-")), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


@Parameter(name="*")
@dataclass(frozen=True)
class Asked:
    """Servers that a command may ask; a log's own only if the user says so, since they get the credentials.

    Parameters
    ----------
    server
        Address of a server that may be asked; may be given several times.
    known
        Ask every server that the log names.
    """

    server: Servers = None
    known: Annotated[bool, Parameter(name="--known", negative="", show_default=False)] = False

    def urls(self, log: str | None) -> list[str]:
        """Return their addresses; raise Wrong if there are none."""
        from comfy_fsm.live.recovery.session import servers_of

        told = [] if log is None or (self.server and not self.known) else servers_of(log)
        if found := [*(self.server or ()), *(told if self.known else ())]:
            return found
        if not told:
            none = "" if log is None else "; the log names none"
            raise Wrong(f"name each server that may be asked by --server{none}")
        named = ", ".join(told[:MANY]) + (f" and {len(told) - MANY} more" if len(told) > MANY else "")
        raise Wrong(
            f"name each server that may be asked by --server, or all of the log by --known; the log names {named}"
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Work:
    """Options of submitting workflows, and of where their files go.

    Parameters
    ----------
    output
        The folder to save files into.
    capacity
        How many tasks a server may hold at once; the rest waits in the log, and goes to whichever ends it first.
    extra
        NAME=ENV: send this in extra_data with the value of that environment variable, such as
        api_key_comfy_org=KEY for partner nodes; may be repeated.
    sockets
        Whether a server that refuses sockets is followed by HTTP alone (prefer), or gets nothing (require).
    """

    output: Folder = "."
    capacity: Capacity = None
    extra: Extra = None
    sockets: Sockets = "prefer"


@Parameter(name="*")
@dataclass(frozen=True)
class Access:
    """Credentials that a server wants before it answers, and whom to believe that it is that server.

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
        """Headers for every request."""
        headers = _bearing(self.token_env)
        for name, value in _pairs(self.header, "--header").items():
            if not (value.isascii() and value.isprintable() and _HEADER.fullmatch(name)):
                raise Wrong(f"--header {name}: name or value is what no header may hold; nothing was sent")
            headers[name] = value
        return headers

    @property
    def policy(self) -> Policy:
        return DEFAULT if self.timeout is None else replace(DEFAULT, deadline_seconds=self.timeout)

    def opening(self, servers: list[str], log: str, work: Work) -> Callable[[], Client]:
        """Return a function that opens the client; call it in the loop that will run the client."""
        from comfy_fsm.live.client.client import Client

        settings: dict[str, Any] = {
            "headers": self.headers, "socket_query": _pairs(self.socket_query, "--socket-query"), "ca": self.ca,
            "extra_data": _pairs(work.extra, "--extra"), "policy": self.policy,
            "sockets": work.sockets,
        }  # fmt: skip
        return lambda: Client(servers, log=log, **settings)

    def asking(self, servers: list[str], *, origin: bool = False) -> Callable[[], list[Comfy]]:
        """Return a function that opens the servers without a client; a bad address is reported before any loop runs."""
        from comfy_fsm.live.transport.addresses import address_of
        from comfy_fsm.live.transport.certificates import context_of
        from comfy_fsm.live.transport.comfy import Comfy
        from comfy_fsm.live.transport.timeouts import timeouts

        urls = list(dict.fromkeys(servers))
        for url in urls:
            address_of(url)
        how: dict[str, Any] = {
            "socket_query": _pairs(self.socket_query, "--socket-query"),
            "ssl_context": context_of(self.ca, None), **timeouts(self.policy),
        }  # fmt: skip
        headers = self.headers
        return lambda: [
            Comfy(url, headers=headers | ({"origin": _origin_of(url)} if origin else {}), **how) for url in urls
        ]

    def addressed(self, server: str) -> Addressing:
        """Return the address of a server with what it wants; raises BadServerUrl or ClientError."""
        from comfy_fsm.live.proxy.address_rewriting import Addressing

        return Addressing(server, self.headers, _pairs(self.socket_query, "--socket-query"))

    def trusting(self) -> SSLContext | None:
        """Return the certificates that the user gave, if any."""
        from comfy_fsm.live.transport.certificates import context_of

        return context_of(self.ca, None)


NO_ACCESS = Access()
NONE_ASKED = Asked()
PLAINLY = Work()


def _origin_of(url: str) -> str:
    from comfy_fsm.live.transport.addresses import address_of

    return "/".join(address_of(url)[0].split("/", 3)[:3])


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Return the values of the environment variables in NAME=ENV, by name: a secret must not stand on the command
    line.
    """
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
    """Return the headers that carry the token."""
    if token_env is None:
        return {}
    if token_env not in os.environ:
        raise Wrong(f"the environment has no variable {token_env}; set it to the token")
    if not (os.environ[token_env].isascii() and os.environ[token_env].isprintable()):
        raise Wrong(f"the variable {token_env} holds what no header may, a line end perhaps; nothing was sent")
    return {"Authorization": f"Bearer {os.environ[token_env]}"}
