"""Credentials in the headers of requests: which headers can be sent, and which of their values are secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextlib import suppress

from comfy_fsm.errors import ClientError
from comfy_fsm.live.redaction.secret_encodings import MIN_SECRET

__all__ = ["clean_headers", "credentials_in"]

_HARMLESS = frozenset({"accept", "accept-language", "user-agent", "referer", "origin", "cache-control", "host"})
"""Headers whose values are no secret."""


def clean_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by lower-case name; raises ClientError for what cannot be sent."""
    for name, value in headers.items():
        if not (name.isascii() and value.isascii() and f"{name}{value}".isprintable()):
            raise ClientError(f"the header {name!r} holds what no header may hold: only printable ASCII can be sent")
    return {name.lower(): value for name, value in headers.items()}


def credentials_in(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of headers, whole and in parts, and the password of a login: none may ever be logged."""
    values = [value for name, value in headers.items() if name not in _HARMLESS]
    found = [piece for value in values for piece in (value, *re.split(r'[\s;,="]+', value))]
    for piece in list(found):
        with suppress(ValueError):  # a login, whose padding went with the split
            name, _, password = base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True).decode().partition(":")
            found.append(password or name)
    return tuple(dict.fromkeys(piece for piece in found if len(piece) >= MIN_SECRET))
