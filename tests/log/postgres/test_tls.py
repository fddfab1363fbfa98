"""A database that speaks TLS: the sslmode of an address is obeyed, and a certificate that is not trusted is named."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.errors import LogUnreachable
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.database import Database
from comfy_fsm.log.postgres.log import PostgresLog
from tests.support import postgres

postgres.must_be_had()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    made = postgres.Postgres()
    try:
        made.fresh()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def certificate(server: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of the server, which is reached by TLS alone."""
    return Path(shutil.copy(server.speak_tls(), tmp_path_factory.mktemp("tls") / "server.crt"))


async def write(address: str) -> None:
    async with await PostgresLog.open(address) as log:
        await log.append(b"{}")


def is_encrypted(address: str) -> bool:
    with closing(Database(Address.of(address))) as database:
        return database.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]


def test_with_its_certificate_and_its_name_a_log_is_written_and_read_by_tls(
    server: postgres.Postgres, certificate: Path
) -> None:
    address = server.address("safe", more=f"sslmode=verify-full&sslrootcert={certificate}")
    address = address.replace("@127.0.0.1:", "@localhost:")
    asyncio.run(write(address))
    assert is_encrypted(address)


def test_without_a_word_about_it_a_server_that_wants_tls_gets_it(server: postgres.Postgres, certificate: Path) -> None:
    asyncio.run(write(server.address("plain")))
    assert is_encrypted(server.address("plain"))


@pytest.mark.parametrize(
    ("mode", "root", "cause", "cure"),
    [
        ("verify-full", "server", "does not match host name", "sslrootcert"),
        ("verify-full", "another", "certificate verify failed", "sslrootcert"),
        ("verify-ca", "another", "certificate verify failed", "sslrootcert"),
        ("verify-full", "missing", "does not exist", "sslrootcert"),
        ("disable", "server", "no encryption", "sslmode=verify-full"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_cause(
    server: postgres.Postgres, certificate: Path, mode: str, root: str, cause: str, cure: str
) -> None:
    roots = {"server": certificate, "another": another(certificate), "missing": certificate.with_name("none.crt")}
    with pytest.raises(LogUnreachable, match=cause) as caught:
        asyncio.run(write(server.address("refused", more=f"sslmode={mode}&sslrootcert={roots[root]}")))
    assert cure in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_server_without_tls_is_told_as_such() -> None:
    with pytest.raises(LogUnreachable, match="speaks no TLS"):
        asyncio.run(write(postgres.server().address("refused", more="sslmode=require")))


def another(certificate: Path) -> Path:
    """The certificate of somebody else."""
    made = certificate.with_name("another.crt")
    if not made.exists():
        words = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=another",
            "-keyout",
            "/dev/null",
            "-out",
        ]
        subprocess.run(["openssl", *words, made], check=True, capture_output=True)
    return made
