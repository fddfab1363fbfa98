"""Tests of addresses: what may be shown of one, what is a secret in it, and what is none at all."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import BadServerUrl, ClientError
from comfy_fsm.live.transport.addresses import address_of, clean_headers, credentials_in, query_of


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


@given(st.from_regex(r"[A-Za-z0-9]{6,12}", fullmatch=True))
def test_every_part_of_a_header_is_a_secret_and_so_is_the_password_of_a_login(secret: str) -> None:
    basic = "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()
    assert secret in credentials_in({"authorization": f"Bearer {secret}"})
    assert secret in credentials_in({"authorization": basic})
    assert secret in credentials_in({"cookie": f"a=b; session={secret}"})
    assert credentials_in({"user-agent": secret, "accept": secret}) == ()


@pytest.mark.parametrize("header", [{"x": "a\nb"}, {"x": "ä"}, {"ü": "a"}, {"x\r": "a"}])
def test_a_header_that_cannot_be_sent_is_refused(header: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="only printable ASCII"):
        clean_headers(header)


def test_headers_are_known_by_their_names_in_lower_case() -> None:
    assert clean_headers({"X-Token": "Abc"}) == {"x-token": "Abc"}
