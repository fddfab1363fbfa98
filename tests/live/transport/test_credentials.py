"""Tests of credentials: every value of a header that could be one is a secret, and what cannot be sent is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import ClientError
from comfy_fsm.live.transport.credentials import clean_headers, credentials_in


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
