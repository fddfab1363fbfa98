"""Withholding: leaves inputs out of the log entry of a waiting job that hold a secret, by their names or content.

The rest of its workflow is logged, since otherwise nothing could post it after a crash. Nothing here awaits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from comfy_fsm.live.redaction.scrubber import REDACTED
from comfy_fsm.live.redaction.secret_encodings import unescaped

__all__ = ["is_credential", "withheld"]

_CREDENTIAL = frozenset({
    "apikey", "apitoken", "auth", "authorization", "bearer", "cookie", "cookies", "credential", "credentials", "jwt",
    "key", "keys", "login", "passphrase", "passwd", "password", "passwords", "pat", "pwd", "secret", "secrets",
    "session", "sig", "signature", "token", "tokens", "code", "pass",
})  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LOGIN = re.compile(r"://[^\s/?#]*@")
_PARAMETER = re.compile(r"[?&;#]([^\s=?&;#]+)=[^\s&;#]")


def is_credential(name: str) -> bool:
    """Return whether an input or URL parameter of this name usually holds a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return not _CREDENTIAL.isdisjoint(words) or "".join(words) in _CREDENTIAL


def withheld(workflow: Mapping[str, Any], hides: Callable[[str], bool]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the workflow as it may be logged, and the inputs that were left out, as `node.input`."""
    names: dict[str, None] = {}

    def kept(value: object, input: str, secret: bool) -> object:
        if isinstance(value, dict):
            return {key: kept(item, input, secret or is_credential(str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [kept(item, input, secret) for item in value]
        if isinstance(value, str) and value and (secret or hides(value) or _names_a_secret(value)):
            names[input] = None
            return REDACTED
        return value

    written: dict[str, Any] = {}
    for node_id, node in workflow.items():
        written[node_id] = dict(node)
        inputs = node.get("inputs")
        if isinstance(inputs, Mapping):
            written[node_id]["inputs"] = {
                name: value if _is_link(value, workflow) else kept(value, f"{node_id}.{name}", is_credential(name))
                for name, value in inputs.items()
            }
    return written, tuple(names)


def _is_link(value: object, workflow: Mapping[str, Any]) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in workflow


def _names_a_secret(text: str) -> bool:
    """Return whether an address in the text has a login, or a parameter named like a secret."""
    if "://" not in text and "%" not in text and "\\" not in text:
        return False
    plain = unescaped(text)
    if "://" not in plain:
        return False
    return _LOGIN.search(plain) is not None or any(map(is_credential, _PARAMETER.findall(plain)))
