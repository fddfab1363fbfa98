"""`doctor`: what would not work here, and the cure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from comfy_fsm.cli.options import NO_ACCESS, NONE_ASKED, Access, Asked, Format, LogFile
from comfy_fsm.exits import UNREACHABLE

if TYPE_CHECKING:
    from comfy_fsm.live.doctor.check import Check

__all__ = ["doctor"]

_WIDTH = 80
_MARGIN = 20


def doctor(
    *,
    asked: Asked = NONE_ASKED,
    log: LogFile = "comfy-fsm.log",
    format: Format = "text",
    access: Access = NO_ACCESS,
) -> int:
    """Check this machine, a log and servers: what would not work, and the cure. Nothing is posted.

    Parameters
    ----------
    asked
        The servers that may be asked.
    log
        The log that is to be used; it need not be there.
    format
        Text to read, or json (version 1) to process.
    access
        What a server wants before it answers.
    """
    from comfy_fsm import __version__
    from comfy_fsm.live.doctor import local_checks, server_checks

    urls = asked.urls(log if asked.known else None) if asked.server or asked.known else []
    here = list(local_checks.checks(log, __version__))
    there = server_checks.checks(access.asking(urls), access.asking(urls, origin=True)) if urls else {}
    if format == "json":
        rows = [("", here), *there.items()]
        print(msgspec.json.encode({
            "doctor": 1, "checks": [
                {"server": url or None, **msgspec.structs.asdict(check)} for url, checks in rows for check in checks
            ],
        }).decode())  # fmt: skip
    else:
        print("\n".join(_lines(here, there)))
    if there and all(checks[0].level == "problem" for checks in there.values()):
        return UNREACHABLE
    return int(any(check.level == "problem" for checks in (here, *there.values()) for check in checks))


def _lines(here: list[Check], there: dict[str, list[Check]]) -> Iterator[str]:
    from comfy_fsm.display import harmless

    yield "This machine"
    for check in here:
        yield from _told(check)
    for url, checks in there.items():
        yield ""
        yield harmless(url)
        for check in checks:
            yield from _told(check)
    if not there:
        yield ""
        yield "No server was asked; name some by --server, or those of the log by --known."


def _told(check: Check) -> Iterator[str]:
    from comfy_fsm.display import harmless

    lead = f"{check.level:8} {check.subject:10} "
    wrap = textwrap.TextWrapper(_WIDTH, subsequent_indent=" " * _MARGIN, break_on_hyphens=False)
    yield from wrap.wrap(lead + harmless(check.found, 600))
    if check.cure:
        yield from wrap.wrap(" " * _MARGIN + harmless(check.cure, 600))
