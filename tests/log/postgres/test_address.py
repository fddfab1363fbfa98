"""Tests of the address of a log in a database: what it says to libpq, and that its secrets are not shown."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import NotALog
from comfy_fsm.log.postgres.address import Address, hide_passwords, is_address


@pytest.mark.parametrize(
    ("text", "settings", "shown"),
    [
        ("postgresql://db/comfy?log=a", {"host": "db", "dbname": "comfy"}, "postgresql://db/comfy?log=a"),
        ("postgres://u@db/comfy?log=a", {"host": "db", "dbname": "comfy", "user": "u"}, "postgresql://u@db/comfy?log=a"),
        (
            "postgresql://u:p%40ss@db:5433/comfy?log=a&sslmode=require",
            {"host": "db", "port": "5433", "dbname": "comfy", "user": "u", "password": "p@ss", "sslmode": "require"},
            "postgresql://u@db:5433/comfy?sslmode=require&log=a",
        ),
        (
            "postgresql://u:a:b@c@one:1,two:2/comfy?log=a&target_session_attrs=read-write",
            {"host": "one,two", "port": "1,2", "password": "a:b@c", "target_session_attrs": "read-write"},
            "postgresql://u@one:1,two:2/comfy?target_session_attrs=read-write&log=a",
        ),
        (
            "postgresql:///comfy?host=/run/postgresql&log=a&password=hush&sslpassword=hush&options=-c%20x%3Dhush",
            {"host": "/run/postgresql", "dbname": "comfy", "password": "hush", "options": "-c x=hush"},
            "postgresql:///comfy?host=/run/postgresql&log=a",
        ),
        ("postgresql://[::1]:5432/comfy?log=a", {"host": "::1", "port": "5432"}, "postgresql://[::1]:5432/comfy?log=a"),
        ("postgresql://db", {"host": "db"}, "postgresql://db/"),
    ],
)  # fmt: skip
def test_an_address_says_what_libpq_is_told_and_shows_no_secret(text: str, settings: dict, shown: str) -> None:
    address = Address.of(text)
    assert settings.items() <= dict(address.settings).items()
    assert str(address) == shown
    assert Address.of(shown).name == address.name
    assert "hush" not in hide_passwords(f"at {text} and after")


SECRETS = st.text(min_size=4, max_size=20).filter(lambda text: "\0" not in text).map("pw{}".format)


@given(SECRETS, st.sampled_from(["postgresql://u:{}@db/comfy?log=a", "postgresql://db/c?log=a&password={}"]))
def test_no_password_is_shown_whatever_is_in_it(secret: str, form: str) -> None:
    text = form.format(quote(secret, safe=""))
    address = Address.of(text)
    assert dict(address.settings)["password"] == secret
    assert address.secrets == (secret,)
    assert str(address) == form.replace("u:{}@", "u@").replace("&password={}", "").replace("/c?", "/c?")
    assert quote(secret, safe="") not in hide_passwords(text)


@pytest.mark.parametrize("text", ["postgresql://u:p:w@ho:st:1/c?log=a", "postgresql://db:port/c?log=a"])
def test_a_host_that_cannot_be_read_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(NotALog, match="has a host that cannot be read") as caught:
        Address.of(text)
    assert "p:w" not in str(caught.value)


def test_a_path_is_no_address() -> None:
    assert not [log for log in ("bot.log", "/postgresql:/x", "postgresql", b"postgresql://db", None) if is_address(log)]
    assert is_address("POSTGRESQL://db/comfy")


def test_an_address_of_a_database_alone_names_no_log() -> None:
    with pytest.raises(NotALog, match="names a database and no log in it"):
        Address.of("postgresql://db/comfy").one()
