"""A worker that dies takes nothing with it: its chunk is judged again, and a trace that is fatal is told alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the extra 'corpus' is not installed")

from replay.corpora import discovery
from replay.corpora.executors import WorkerDied
from replay.corpora.folder import Folder
from replay.corpora.run import run
from replay.corpora.worker import Part
from tests.support.corpora import fill, written


class Mortal:
    """Workers of this process, which die of some traces, and of the first few chunks whatever is in them."""

    room = 2

    def __init__(self, fatal: str = "", deaths: int = 0) -> None:
        self.fatal, self.deaths = fatal, deaths
        self.in_flight = self.most = 0

    def submit(self, work: partial[Part]) -> Future[Part]:
        future: Future[Part] = Future()
        self.deaths -= 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        chunk, fatal = work.args[-2:]
        dies = self.deaths >= 0 or any(unit.name == self.fatal and unit.url not in fatal for unit in chunk.units)
        if dies:
            future.set_exception(WorkerDied())
        else:
            future.set_result(work())
        return future

    def result(self, future: Future[Part]) -> Part:
        self.in_flight -= 1
        return future.result()

    @contextmanager
    def start(self) -> Iterator[Mortal]:
        yield self


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[discovery.Unit]:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "traces", 20)
    return discovery.find(["traces"]).units


@pytest.mark.parametrize("deaths", [1, 3, 8])
def test_however_often_workers_die_the_tables_are_the_same(units: list[discovery.Unit], deaths: int) -> None:
    run("run", units, Folder("calm"), Mortal().start)
    assert run("run", units, Folder("wild"), Mortal(deaths=deaths).start).failed == 0
    assert written(Path("wild")) == written(Path("calm"))


def test_a_trace_of_which_each_worker_dies_is_a_row_and_its_neighbours_are_judged(units: list[discovery.Unit]) -> None:
    totals = run("run", units, Folder("out"), Mortal(fatal=units[3].name).start)
    assert (totals.traces, totals.failed) == (20, 1)
    [error] = [error for _, error in Folder("out").rows("traces", ("trace", "error")) if error is not None]
    assert "a worker died of it" in error


def test_no_more_is_asked_at_once_than_the_workers_have_room_for(units: list[discovery.Unit]) -> None:
    workers = Mortal()
    done: list[int] = []
    run("cover", [*units] * 10, Folder("many"), workers.start, lambda traces, _: done.append(traces))
    assert workers.most == workers.room
    assert done == sorted(done)
    assert (done[0], done[-1], len(done) > 10) == (0, 200, True)
