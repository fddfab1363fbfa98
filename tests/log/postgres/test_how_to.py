"""The page "Ten bots on three hosts, one database" walked: its roles, three bots, a host that dies, a backup."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from comfy_fsm.testing import ThreadedFake
from tests.support import postgres
from tests.support.processes import command

postgres.must_be_had()

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "how-to" / "one-database.md").read_text(encoding="utf-8")
PASSWORDS = dict(re.findall(r"^CREATE USER (\w+) PASSWORD '([^']+)'", PAGE, re.MULTILINE))
GUARD = 90


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Postgres]:
    """A server that was set up as the page says."""
    made = postgres.Postgres()
    try:
        made.fresh()
        roles = subprocess.run([sys.executable, "-m", "comfy_fsm", "ops", "database"], capture_output=True, check=True)
        (users,) = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for _ in range(2):  # after an update of comfy-fsm, again
            made.sql(roles.stdout.decode())
        made.sql(users)
        yield made
    finally:
        made.close()


def address(database: postgres.Postgres, user: str, log: str = "", name: str = "comfy") -> str:
    return f"postgresql://{user}@127.0.0.1:{database.port}/{name}{log and f'?log={log}'}"


def as_user(user: str) -> dict[str, str]:
    return {"PGPASSWORD": PASSWORDS[user]}


def begin_bot(number: int, database: postgres.Postgres, comfy: ThreadedFake, folder: Path) -> subprocess.Popen[str]:
    user = f"host_{number}"
    env = as_user(user) | {
        "DATABASE": address(database, user), "BOT": f"bot-{number}", "COMFYUI": comfy.url,
        "PICTURES": f"pictures-{number}", "PICTURES_WANTED": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "bot.py"], cwd=folder, env=os.environ | env, stdout=subprocess.PIPE, encoding="utf-8"
    )


def test_what_a_dead_host_left_is_taken_up_on_another_and_one_command_shows_all(
    database: postgres.Postgres, tmp_path: Path
) -> None:
    (body,) = re.findall(r"^```python\n# bot\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "bot.py").write_text(body, encoding="utf-8")
    shutil.copy(ROOT / "examples" / "workflow.json", tmp_path)
    with ThreadedFake(step_seconds=0.1) as comfy:
        killed = begin_bot(1, database, comfy, tmp_path)
        assert killed.stdout
        assert killed.stdout.readline() == "submitted bot-1/0\n"
        killed.send_signal(signal.SIGKILL)
        while not comfy.records:  # a bot that saw it run would tell of a deaf socket, for the log cannot know of a kill
            time.sleep(0.01)
        bots = [begin_bot(number, database, comfy, tmp_path) for number in (2, 3)]
        assert [bot.communicate(timeout=GUARD)[0].splitlines()[-1] for bot in bots] == [
            f"bot-{number}/0 pictures-{number}/ComfyUI_0000{place}_.png"
            for number, place in zip((2, 3), _places(tmp_path), strict=True)
        ]
        killed.communicate()
        taken = command(
            "resume", "--known", "--log", address(database, "host_2", "bot-1"), "--output", "taken", cwd=tmp_path,
            env=as_user("host_2"),
        )  # fmt: skip
        assert taken.returncode == 0, taken.stderr
        assert len(list((tmp_path / "taken").iterdir())) == 1
        assert sorted(comfy.runs.values()) == [1, 1, 1]
    shown = command("watch", address(database, "operator"), "--once", cwd=tmp_path, env=as_user("operator"))
    assert "3 completed" in shown.stdout, shown.stderr
    before = replayed(address(database, "operator"), tmp_path)
    assert "PASS  every task is decided: 3 completed" in before
    assert "comfy?log=bot-1" in before
    dump(database, tmp_path)
    after = replayed(address(database, "operator", name="restored"), tmp_path)
    assert after == before.replace("/comfy", "/restored").replace("comfy?log", "restored?log")


def _places(folder: Path) -> list[int]:
    """The numbers that the server gave to the files of the second and the third bot."""
    return [int(next((folder / f"pictures-{n}").iterdir()).stem.split("_")[1]) for n in (2, 3)]


def replayed(log: str, folder: Path) -> str:
    """What a replay says; the names of files in a table are as wide as they need be."""
    told = command(log, "--no-color", cwd=folder, module="replay", env=as_user("operator"))
    assert told.returncode == 0, told.stderr
    return told.stdout


def dump(database: postgres.Postgres, folder: Path) -> None:
    """Back up and restore by the commands of the page."""
    database.sql("CREATE DATABASE restored", database="postgres")
    page = re.findall(r"^    (pg_(?:dump|restore) .*)$", PAGE, re.MULTILINE)
    assert len(page) == 2
    file = database.folder / "comfy.dump"
    for line in page:
        words = line.replace("comfy.dump", str(file)).replace("db.internal", f"127.0.0.1:{database.port}").split()
        database.run(*words, env={"PGPASSWORD": postgres.PASSWORD})


def test_the_roles_may_do_what_the_page_says_and_no_more(database: postgres.Postgres, tmp_path: Path) -> None:
    with ThreadedFake() as comfy:
        run = "run", str(ROOT / "examples" / "workflow.json"), "--server", comfy.url, "--output", "out", "--log"
        done = command(*run, address(database, "host_3", "roles"), cwd=tmp_path, env=as_user("host_3"))
        assert done.returncode == 0, done.stderr
        refused = command(*run, address(database, "operator", "roles"), cwd=tmp_path, env=as_user("operator"))
        assert refused.returncode == 65
        assert "its role may not do this" in refused.stderr
    tried = {
        "host_3": ("DELETE FROM comfy_fsm.entries", "UPDATE comfy_fsm.entries SET line = ''", "DROP SCHEMA comfy_fsm",
                   "DELETE FROM comfy_fsm.logs", "UPDATE comfy_fsm.logs SET name = 'x'",
                   "UPDATE comfy_fsm.schema SET version = 9"),
        "operator": ("INSERT INTO comfy_fsm.entries VALUES (1, 99, '', '')", "UPDATE comfy_fsm.logs SET fence = 9"),
    }  # fmt: skip
    for user, statements in tried.items():
        with psycopg.connect(address(database, user), password=PASSWORDS[user], autocommit=True) as db:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(statement)


def test_a_host_that_may_make_no_tables_says_who_must(database: postgres.Postgres, tmp_path: Path) -> None:
    database.sql("CREATE DATABASE empty", database="postgres")
    told = command(
        "run", str(ROOT / "examples" / "workflow.json"), "--server", "http://127.0.0.1:9", "--log",
        address(database, "host_1", "bot-1", name="empty"), cwd=tmp_path, env=as_user("host_1"),
    )  # fmt: skip
    assert told.returncode == 65
    assert "comfy-fsm ops database" in told.stderr
