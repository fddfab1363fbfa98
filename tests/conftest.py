"""Configuration of all tests: how hard Hypothesis tries, which tests wait for `--long`, and the recordings."""

import asyncio
import gc
import inspect
import json
import signal
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "fixtures"

# No deadline and no complaint about slowness in either: both measure the machine, which may be shared, and not the
# code. `ci` draws the same examples every time, since a change must not fail for what was wrong before it; `long` looks
# for new ones, and keeps what it found in .hypothesis. A test with a `max_examples` of its own is not raised by `long`.
# `differing_executors` would refuse a contract that is written once and run by a subclass for each thing it binds.
UNASKED = [HealthCheck.too_slow, HealthCheck.differing_executors]
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=UNASKED)
settings.register_profile("long", max_examples=5_000, deadline=None, suppress_health_check=UNASKED, print_blob=True)

# Modules that take ten seconds or more, most of them waiting: begun first, so that none is left over for one worker at
# the end, while the others have nothing to do.
LONGEST = (
    "tests/faults/test_scenarios.py",
    "tests/test_readme.py",
    "tests/campaigns/test_campaigns.py",
    "tests/test_guides.py",
    "tests/cli/test_recover.py",
    "tests/cli/test_run.py",
    "tests/live/recovery/test_recovery.py",
    "tests/log/postgres/test_faults.py",
    "tests/live/test_failure_modes.py",
    "tests/live/engine/test_closing.py",
    "tests/live/client/test_client.py",
    "tests/testing/test_how_to.py",
    "tests/replay/test_min.py",
    "tests/conformance/test_client.py",
)


@dataclass(frozen=True)
class Recording:
    """One real recording, and the verdicts that a replay of it must reach."""

    trace: Path
    expectations: Path

    def __str__(self) -> str:
        return f"{self.trace.parent.name}/{self.trace.name.partition('.jsonl')[0]}"

    @cached_property
    def expected(self) -> dict:
        return json.loads(self.expectations.read_text(encoding="utf-8"))


def find_recordings() -> list[Recording]:
    return [
        Recording(trace, trace.with_name(trace.name.partition(".jsonl")[0] + ".expected.json"))
        for trace in sorted((FIXTURES / "recordings").glob("*/*.jsonl*"))
    ]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long campaigns too, and many more Hypothesis examples")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "ci")
    # A shell without a terminal has its background jobs ignore Ctrl-C, and each process that is begun inherits that:
    # here it is as on a terminal again, so that the commands under test can be told to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `recording` runs once for each."""
    if "recording" in metafunc.fixturenames:
        recordings = find_recordings()
        assert recordings, f"no recordings under {FIXTURES}"  # else every such test would be skipped, and all be green
        metafunc.parametrize("recording", recordings, ids=str)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep what is collected from it: the tests are no garbage, and to
    visit them all again and again takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ranks = {ROOT / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
    if config.getoption("--long"):
        return
    waiting = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in waiting]
    config.hook.pytest_deselected(items=waiting)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in an event loop of its own, as an application would."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES
