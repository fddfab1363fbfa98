"""Address of a log in a database, `postgresql://USER@HOST/DATABASE?log=NAME`: read, and shown without its secrets."""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Self
from urllib.parse import quote, unquote, urlencode

from comfy_fsm.errors import NotALog

__all__ = ["Address", "hide_passwords", "is_address"]

_SCHEMES = ("postgresql://", "postgres://")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN = frozenset({
    "application_name", "connect_timeout", "dbname", "gssencmode", "host", "hostaddr", "load_balance_hosts", "passfile",
    "port", "service", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "user",
})  # fmt: skip
"""What of an address may be shown. Secrets have many names, and more with each release of libpq."""
_IN_TEXT = re.compile(r"(postgres(?:ql)?://)([^\s/?#@]*@)?(\S*)")
_SECRET = re.compile(r"(?i)([?&][^=&\s]*(?:password|secret|token|options)[^=&\s]*=)[^&\s]*")


def is_address(log: object) -> bool:
    """Return whether a log is named by the address of a database, and not by a path."""
    return isinstance(log, str) and log.lower().startswith(_SCHEMES)


def hide_passwords(text: str) -> str:
    """Return a text without the passwords of the addresses in it; whatever is no address stays as it is."""

    def shown(found: re.Match[str]) -> str:
        user = (found[2] or "").partition(":")[0].rstrip("@")
        return found[1] + (f"{user}@" if user else "") + _SECRET.sub(r"\1…", found[3])

    return _IN_TEXT.sub(shown, text)


class Address(NamedTuple):
    """Address of a database and, with `name`, of one log in it."""

    name: str | None
    settings: tuple[tuple[str, str], ...]
    """What libpq is told, by its own words."""

    @classmethod
    def of(cls, text: str | os.PathLike[str]) -> Self:
        """Read an address; raises NotALog, and repeats nothing of it that might be a secret."""
        _, _, rest = os.fspath(text).partition("://")
        rest, _, query = rest.partition("?")
        netloc, _, database = rest.partition("/")
        user, _, hosts = netloc.rpartition("@")
        settings: dict[str, str] = {}
        if user:
            settings["user"], colon, password = (unquote(part) for part in user.partition(":"))
            if colon:
                settings["password"] = password
        if hosts:
            settings |= _hosts(hosts)
        if database:
            settings["dbname"] = unquote(database)
        settings |= _parameters(query)
        name = settings.pop("log", None)
        if name is not None and not _NAME.fullmatch(name):
            raise NotALog(
                f"{name[:80]!r} names no log in a database; give ?log=NAME of letters, digits, dots, hyphens and "
                "underscores, at most 100; nothing was opened"
            )
        return cls(name, tuple(settings.items()))

    def __str__(self) -> str:
        """Write the address without its secrets, so that it can be shown, and opened where the password is known."""
        given = dict(self.settings)
        user, database = given.pop("user", ""), given.pop("dbname", "")
        hosts = ""
        if not given.get("host", "").startswith("/"):
            hosts = _joined(given.pop("host", ""), given.pop("port", ""))
        shown = {key: value for key, value in given.items() if key in _SHOWN}
        query = urlencode(shown | ({"log": self.name} if self.name is not None else {}), safe="/:", quote_via=quote)
        return (
            f"postgresql://{quote(user, safe='') + '@' if user else ''}{hosts}/{quote(database, safe='')}"
            f"{'?' + query if query else ''}"
        )

    def short(self) -> str:
        """Write what tells it from other logs, where many are listed."""
        return f"{dict(self.settings).get('dbname', '')}?log={self.name}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what of the address must be written down nowhere."""
        return tuple(value for key, value in self.settings if key not in _SHOWN and value)

    def whole(self) -> str:
        """Write the address with its secrets, to be opened and not to be shown."""
        query = dict(self.settings) | ({"log": self.name} if self.name is not None else {})
        return f"postgresql:///?{urlencode(query, quote_via=quote)}"

    def of_log(self, name: str) -> Address:
        """Return the address of another log in the same database."""
        return self._replace(name=name)

    def one(self) -> str:
        """Return the name of its log; raises NotALog if it names none."""
        if self.name is None:
            raise NotALog(f"{self} names a database and no log in it, and this takes one log; add ?log=NAME")
        return self.name


def _parameters(query: str) -> dict[str, str]:
    """Read them as libpq does, to which a plus is a plus."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return {unquote(key): unquote(value) for key, _, value in pairs}


def _hosts(netloc: str) -> dict[str, str]:
    """Hosts and ports, several of them for a database with a standby."""
    each = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", host) for host in netloc.split(",")]
    if not all(each):
        raise NotALog(
            "an address of a database has a host that cannot be read; write postgresql://USER@HOST:PORT/DATABASE, a "
            "password's : / ? # @ as %3A %2F %3F %23 %40; nothing was opened"
        )
    hosts = {"host": ",".join(unquote(found[1].strip("[]")) for found in each if found)}
    ports = [found[2] or "" for found in each if found]
    return hosts | ({"port": ",".join(ports)} if any(ports) else {})


def _joined(hosts: str, ports: str) -> str:
    each = hosts.split(",")
    numbers = [*ports.split(","), *[""] * len(each)]
    quoted = (f"[{host}]" if ":" in host else quote(host, safe="") for host in each)
    return ",".join(f"{host}:{port}" if port else host for host, port in zip(quoted, numbers, strict=False))
