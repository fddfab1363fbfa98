"""A PostgreSQL server of a test's own, from the packages of the system: begun, killed, restarted, and thrown away.

It listens on a socket and on loopback, in a temporary directory, as a user who is not root. Where it cannot be had, the
tests that need it are skipped with a loud line; `COMFY_FSM_REQUIRES` makes that a failure, as in CI.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

PASSWORD = "s3cret:/?#@ %canary"
"""Of every server here; a test may look for it where it must not be."""
GUARD = 60.0
_SETTINGS = "shared_buffers=16MB max_connections=60 max_wal_size=256MB log_min_messages=fatal"


def programs() -> Path | None:
    """The newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    known = shutil.which("postgres")
    return Path(known).parent if known else None


def _user() -> pwd.struct_passwd:
    """Who runs it: we, unless we are root, whom the server refuses."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("no user but root")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Postgres:
    """One server, whose superuser is `owner`."""

    def __init__(self, *, env: dict[str, str] | None = None, settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="comfy-fsm-pg-"))
        self.data = self.folder / "data"
        self._bin = programs()
        assert self._bin is not None
        self._user = _user()
        self._env = os.environ | {"LC_ALL": "C.UTF-8"} | (env or {})
        self._settings = f"{_SETTINGS} {settings}".split()
        self._process: subprocess.Popen[bytes] | None = None
        if not os.geteuid():
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        self.run("initdb", "-D", self.data, "-U", "owner", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
                 "--no-sync")  # fmt: skip
        self.port = _free_port()
        self.start()

    def run(self, program: str, *arguments: object, env: dict[str, str] | None = None) -> str:
        """Run a program of the server's, as its user."""
        done = subprocess.run(
            [str(self._bin / program), *map(str, arguments)], env=self._env | (env or {}), cwd=self.folder,
            capture_output=True, text=True, timeout=GUARD, **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _as_user(self) -> dict[str, object]:
        if os.geteuid():
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def start(self, *settings: str, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        options = [word for setting in (*self._settings, *settings) for word in ("-c", setting)]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1",
                 "-k", str(self.folder), *options],
                env=self._env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **self._as_user(),
            )  # fmt: skip
        until = time.monotonic() + GUARD
        while wait and not self.answers():
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes connections."""
        asked = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, env=self._env, check=False).returncode == 0

    def kill(self) -> None:
        """Kill -9 every process of it, as a power cut would."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Shut it down, ending every session."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(GUARD)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(GUARD)
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(
        self, log: str | None = "bot-1", *, database: str = "comfy", user: str = "owner", port: int = 0, more: str = ""
    ) -> str:
        """The address of a log, with the password in it."""
        query = "&".join(filter(None, (f"log={log}" if log else "", more)))
        login = f"{user}:{quote(PASSWORD, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{database}{'?' + query if query else ''}"

    def connect(self, database: str = "comfy") -> psycopg.Connection:
        """A session of the superuser."""
        login = {"host": "127.0.0.1", "port": self.port, "user": "owner", "password": PASSWORD, "dbname": database}
        return psycopg.connect(**login, autocommit=True)

    def wait_for(self, count: str) -> None:
        """Wait until a query answers more than nothing."""
        until = time.monotonic() + GUARD
        while not self.sql(count)[0][0]:
            assert time.monotonic() < until, count
            time.sleep(0.05)

    def standby(self) -> Postgres:
        """A second server that follows this one."""
        made = Postgres.__new__(Postgres)
        made.__dict__ |= self.__dict__ | {"folder": Path(tempfile.mkdtemp(prefix="comfy-fsm-pg-")), "_process": None}
        made.data = made.folder / "data"
        if not os.geteuid():
            os.chown(made.folder, self._user.pw_uid, self._user.pw_gid)
        login = f"host=127.0.0.1 port={self.port} user=owner password='{PASSWORD}'"
        made.run("pg_basebackup", "-D", made.data, "-R", "-c", "fast", "-d", login)
        made.port = _free_port()
        made.start()
        return made

    def speak_tls(self) -> Path:
        """Restart it, reached by TLS alone; return its certificate, which is for localhost and signed by itself."""
        self.stop()
        key, certificate = self.data / "server.key", self.data / "server.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        key.chmod(0o600)
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n", encoding="ascii")
        for file in (key, certificate) if not os.geteuid() else ():
            os.chown(file, self._user.pw_uid, self._user.pw_gid)
        self.start("ssl=on")
        return certificate

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-D", self.data)

    def sql(self, *statements: str, database: str = "comfy") -> list[tuple]:
        """Run statements as the superuser, and return the rows of the last one that has some."""
        rows: list[tuple] = []
        with self.connect(database) as db:
            for statement in statements:
                cursor = db.execute(statement)
                rows = cursor.fetchall() if cursor.description else rows
        return rows

    def fresh(self) -> None:
        """Drop the database, and make an empty one."""
        self.sql(
            "DROP DATABASE IF EXISTS comfy WITH (FORCE)", "CREATE DATABASE comfy",
            database="postgres",
        )  # fmt: skip


def lacking() -> str:
    """Why there can be no server here; nothing where there can."""
    if os.name != "posix" or programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    try:
        _user()
    except LookupError:
        return f"{getpass.getuser()} may not run PostgreSQL, and there is no other user"
    return ""


def must_be_had() -> None:
    """Skip the tests of a module where there can be no server, loudly; fail where one is required."""
    why = lacking()
    if not why:
        return
    if "postgres" in os.environ.get("COMFY_FSM_REQUIRES", "").split():
        pytest.fail(f"{why}, and is required here", pytrace=False)
    pytest.skip(f"NOT TESTED: no log in a database: {why}", allow_module_level=True)


@functools.cache
def server() -> Postgres:
    """The server that the tests of this process share, with an empty database; it ends with the process."""
    made = Postgres()
    atexit.register(made.close)
    made.fresh()
    return made
