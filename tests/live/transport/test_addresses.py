"""Tests of addresses: what may be shown of one, what is a secret in it, and what is none at all."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import BadServerUrl
from comfy_fsm.live.transport.addresses import address_of, query_of


@pytest.mark.parametrize(
    ("given", "address"),
    [("http://one:8188", "http://one:8188"), ("http://one:8188/", "http://one:8188"), ("one:8188", "http://one:8188"),
     (" https://one:443/comfy/ ", "https://one/comfy"), ("http://one:80", "http://one"),
     ("http://[::1]:8188/", "http://[::1]:8188"), ("http://ONE:8188", "http://one:8188")],
)  # fmt: skip
def test_an_address_has_one_spelling(given: str, address: str) -> None:
    assert address_of(given) == (address, {})


@pytest.mark.parametrize(
    "url", ["", "one", "ws://one:8188", "ftp://one", "http://", "http://one:port", "http://one/#x", "http://o ne:1",
            "http://one:99999", "localhost"],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadServerUrl, match="nothing was sent"):
        address_of(url)


def test_a_login_and_a_query_are_not_part_of_what_is_shown() -> None:
    url = "https://user:p%40ss@one:8188/comfy?token=abcdef&empty="
    address, login = address_of(url)
    assert address == "https://one:8188/comfy"
    assert base64.b64decode(login["authorization"].removeprefix("Basic ")) == b"user:p@ss"
    assert query_of(url) == {"token": "abcdef", "empty": ""}


@given(st.from_regex(r"[A-Za-z0-9]{6,12}", fullmatch=True))
def test_a_refusal_repeats_no_login_and_no_query(secret: str) -> None:
    with pytest.raises(BadServerUrl) as raised:
        address_of(f"ftp://user:{secret}@one:8188/?token={secret}")
    assert secret not in str(raised.value)
