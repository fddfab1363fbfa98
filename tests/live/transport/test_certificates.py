"""Tests of which certificates are trusted: those of this machine, those of a file, or a context of the caller's own."""

import ssl
from pathlib import Path

import pytest

from comfy_fsm.core.policy import DEFAULT
from comfy_fsm.errors import ClientError
from comfy_fsm.live.transport.certificates import context_of, trusted
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.timeouts import timeouts


def test_a_file_without_a_certificate_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ClientError, match="give the certificate of the server"):
        context_of(tmp_path / "ca.pem", None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        context_of(tmp_path / "ca.pem", None)


def test_one_of_the_two_is_given_or_none() -> None:
    mine = ssl.create_default_context()
    assert context_of(None, mine) is mine
    assert context_of(None, None) is None
    with pytest.raises(ClientError, match="no client was opened"):
        context_of("ca.pem", mine)


def test_what_this_machine_trusts_is_read_once() -> None:
    assert trusted() is trusted()
    assert trusted().verify_mode is ssl.CERT_REQUIRED


async def test_the_timeouts_of_a_policy_are_options_of_a_server() -> None:
    await Comfy("http://127.0.0.1:1", **timeouts(DEFAULT)).close()
