"""Tests of logs by their names: a path leads to a file, and what needs no database says so."""

import asyncio
from pathlib import Path

import pytest

from comfy_fsm.log import opening
from comfy_fsm.log.log import Log
from tests.support.lines import fill

ADDRESS = "postgresql://u:hush@db/comfy?log=a"


def test_a_path_is_shown_as_it_is_and_an_address_without_its_password() -> None:
    assert opening.shown(Path("a/b.log")) == "a/b.log"
    assert opening.shown(ADDRESS) == "postgresql://u@db/comfy?log=a"


@pytest.mark.parametrize(("name", "secrets"), [(None, ()), ("bot.log", ()), (ADDRESS, ("hush",))])
def test_the_secrets_of_a_name_are_those_of_an_address(name: str | None, secrets: tuple[str, ...]) -> None:
    assert opening.secrets_of(name) == secrets


def test_a_path_stands_for_itself_and_is_opened_read_and_followed_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bot.log"
    fill(path, b"a", b"b")
    assert opening.logs_of(path) == [str(path)]
    assert opening.is_log(path)
    assert opening.is_written(path) is False
    assert [row.line for row in opening.read(path, 1)] == [b"b"]
    following = opening.follow(path)
    assert (following.title, following.is_written()) == ("bot.log", False)
    assert [row.line for row in following.read()] == [b"a", b"b"]
    following.close()

    async def story() -> None:
        log = await opening.open_log(path)
        assert isinstance(log, Log)
        assert await log.append(b"c") == 3
        await log.close()

    asyncio.run(story())
    with pytest.raises(IsADirectoryError):
        opening.is_log(tmp_path)
