"""Credentials in web addresses: removes logins, queries, fragments and matrix parameters, whatever they are called.

RFC 3986 says where a credential can stand in an address, but not how it is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["path_of_comfy", "without_credentials"]

_QUERY = frozenset({
    "filename", "limit", "max_items", "offset", "sort_by", "sort_order", "status", "subfolder", "type", "workflow_id",
})  # fmt: skip

_WORD = re.compile(r"[^\s\"'<>`]+")
_SIGN = re.compile(r"[@?&#;%\\]")
_LOGIN = re.compile(r"(?<=://)[^\s?#]*@")
_PART = re.compile(r"(&amp;|[?&;#])([^?&;#=]*)(=?)([^?&;#]*)")


def without_credentials(text: str, unescaped: Callable[[str], str], redacted: str) -> str:
    """Return the text with the values removed from each address in it; an address with escapes is removed whole."""
    if _SIGN.search(text) is None:
        return text

    def shown(match: re.Match[str]) -> str:
        word = match[0]
        if _SIGN.search(word) is None:
            return word
        plain = unescaped(word)
        if _scrubbed(plain, redacted) == plain:
            return word
        direct = _scrubbed(word, redacted)
        bare = unescaped(direct)
        return direct if _scrubbed(bare, redacted) == bare else redacted

    return _WORD.sub(shown, text)


def path_of_comfy(url: str) -> str:
    """Return the path with what ComfyUI reads of a query: gateways take tokens there, under any name."""
    try:
        parts = urlsplit(url)
    except ValueError:  # `//[`
        return url.partition("?")[0]
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] in _QUERY]
    return f"{parts.path}?{urlencode(kept)}" if kept else parts.path


def _scrubbed(word: str, redacted: str) -> str:
    """Scrub one word of a text; a bare path loses what has a name and a value."""
    is_url = "://" in word
    if not is_url and "/" not in word and "?" not in word:
        return word
    word = _LOGIN.sub(f"{redacted}@", word)
    start = next((at for at, sign in enumerate(word) if sign in "?&;#"), len(word))

    def part(match: re.Match[str]) -> str:
        sign, name, equals, value = match.groups()
        if equals:
            return f"{sign}{name}={redacted if value else ''}"
        return f"{sign}{redacted if name and is_url else name}"

    return word[:start] + _PART.sub(part, word[start:])
