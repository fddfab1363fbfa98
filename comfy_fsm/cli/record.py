"""Command `record`: a proxy in front of servers that writes what passes into a log."""

from __future__ import annotations

import ipaddress
import os
import re
import socket as sockets
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from comfy_fsm.cli.options import NO_ACCESS, PROGRAM, Access, LogFile, Servers
from comfy_fsm.exits import Unavailable, Wrong

if TYPE_CHECKING:
    from comfy_fsm.live.extras.prometheus import Endpoint, Source
    from comfy_fsm.live.proxy.recording import Front

__all__ = ["Recorded", "record"]

_HERE = "127.0.0.1:8288"
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s/]*):)?(?P<port>\d{1,5})")


@Parameter(name="*")
@dataclass(frozen=True)
class Recorded:
    """Servers that are recorded, and where clients are to find them.

    Parameters
    ----------
    server
        Address of a server that is recorded; may be given several times, and each has an address of its own here.
    listen
        Where to listen: ADDRESS:PORT, or PORT. Several servers take the ports that follow, or one --listen each.
    metrics_port
        Serve the metrics for Prometheus at this port, too; 0 is any that is free.
    """

    server: Servers = None
    listen: Annotated[list[str] | None, Parameter(name="--listen", negative="")] = None
    metrics_port: Annotated[int | None, Parameter(name="--metrics-port")] = None


_NOBODY = Recorded()


def record(
    *,
    recorded: Recorded = _NOBODY,
    log: LogFile = "comfy-fsm.log",
    on_log_failure: Annotated[Literal["pass", "stop"], Parameter(name="--on-log-failure")] = "pass",
    access: Access = NO_ACCESS,
) -> int:
    """Pass on what any client and its ComfyUI say to each other, and record it; ended by Ctrl-C.

    Parameters
    ----------
    recorded
        The servers, and where clients are to find them.
    log
        The log into which everything is recorded; made if there is none.
    on_log_failure
        What becomes of the clients if the log cannot be written any more: they pass on unrecorded, or are stopped.
    access
        What a server wants before it answers, where a client does not bring it.
    """
    if not recorded.server:
        raise Wrong(f"record needs --server; `{PROGRAM} record --help` shows more")
    from comfy_fsm.cli.stderr import complain, complain_of_warnings
    from comfy_fsm.live.proxy import recording
    from comfy_fsm.live.proxy.forwarding import Patience

    complain_of_warnings(complain)
    fronts = _fronts(recorded.server, recorded.listen or [_HERE], access)
    for front in fronts:
        if not _is_loopback(front.listening):
            place = _shown(front.listening)
            complain(f"whoever reaches {place} can use {front.server.url} through it: there is no password")
    outside = recording.Outside(access.trusting(), Patience(access.policy.connect_seconds, access.timeout), complain)

    def ready(running: recording.Recording) -> list[Coroutine[Any, Any, None]]:
        for front in fronts:
            print(f"{_shown(front.listening)} records {front.server.url}", flush=True)
        return [] if recorded.metrics_port is None else [_metrics(running.readings, recorded.metrics_port).run()]

    return recording.run(log, fronts, outside, ready, stops=on_log_failure == "stop")


def _fronts(servers: list[str], listen: list[str], access: Access) -> list[Front]:
    """Open an address for each server; raises Wrong, Unavailable or BadServerUrl."""
    from comfy_fsm.live.proxy.recording import Front

    places = _places(listen, len(servers))
    addressed = [access.addressed(url) for url in servers]
    return [Front(_listen(*place), server) for place, server in zip(places, addressed, strict=True)]


def _metrics(readings: Source, port: int) -> Endpoint:
    from comfy_fsm.live.extras.prometheus import Endpoint

    endpoint = Endpoint(readings, port)
    print(f"{endpoint.url} has the metrics", flush=True)
    return endpoint


def _places(listen: list[str], servers: int) -> list[tuple[str, int]]:
    """Return the address and port for each server; one --listen stands for the ports that follow, too."""
    places = [_place(text) for text in listen]
    if len(places) == 1:
        host, port = places[0]
        places = [(host, port + number if port else 0) for number in range(servers)]
    if len(places) != servers:
        raise Wrong(f"{len(places)} --listen for {servers} --server; give one for all, or one for each")
    if wrong := [port for _, port in places if port > 65_535]:
        raise Wrong(f"there is no port {wrong[0]}; name one from 1 to 65535, or 0 for any that is free")
    return places


def _place(text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise Wrong(f"--listen {text!r} is no address to listen at; write {_HERE}, or a port alone")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


def _listen(host: str, port: int) -> sockets.socket:
    """Return a socket that is bound; raises Unavailable if the port is taken, or the host is not this machine."""
    try:
        family, _, _, _, address = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0]
        return sockets.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # the standard library repeats the address in its own text
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"cannot listen at {host} port {port}: {why}; name another with --listen") from None


def _is_loopback(listening: sockets.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def _shown(listening: sockets.socket) -> str:
    name, port = listening.getsockname()[:2]
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
