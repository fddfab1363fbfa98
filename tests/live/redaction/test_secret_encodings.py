"""Tests of the spellings of a secret: however it is written, it is found, and ordinary text is not."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.redaction.secret_encodings import MIN_SECRET, Spellings, unescaped

SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=MIN_SECRET, max_size=20)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str, "JSON": lambda s: json.dumps(s)[1:-1], "URL": quote, "form": quote_plus, "HTML": html.escape,
    "escapes": lambda s: "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in s),
    "hex": lambda s: s.encode().hex(), "HEX": lambda s: s.encode().hex().upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of a URL": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "within a login": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "JSON in a URL": lambda s: quote(json.dumps(s)[1:-1]), "URL twice": lambda s: quote(quote(s)),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=st.from_regex(rf"[A-Za-z0-9+/=%& äß✓]{{{MIN_SECRET},20}}", fullmatch=True).map(str.strip))
def test_a_secret_is_found_in_every_spelling(spelling: str, secret: str) -> None:
    if len(secret) >= MIN_SECRET and len(unescaped(secret)) >= MIN_SECRET:
        assert Spellings([secret]).hides(f"before {SPELLINGS[spelling](secret)} behind")


@given(SECRETS, st.text(max_size=30))
def test_what_is_taken_out_as_it_stands_is_gone(secret: str, around: str) -> None:
    assert secret not in Spellings([secret]).without(around + secret + around, "…") or secret in around * 2 + "…"


@pytest.mark.parametrize("text", ["", "status", '{"type":"executing","data":{"node":"5"}}', "a%20b", "\\u0041"])
def test_ordinary_text_hides_nothing(text: str) -> None:
    assert not Spellings(["the secret of the house"]).hides(text)
    assert not Spellings().hides(text)


@given(st.from_regex(r"[A-Za-z0-9]{8,20}", fullmatch=True), st.sampled_from(["as it is", "URL", "hex", "HEX"]))
def test_a_line_that_holds_one_is_always_suspected(secret: str, spelling: str) -> None:
    assert Spellings([secret]).suspects(f'{{"data":"x{SPELLINGS[spelling](secret)}"}}'.encode())


@given(st.text())
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    assert isinstance(unescaped(text), str)
