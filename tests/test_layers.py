"""The walls of the house: floors, doors, purity and size, read from the source of every module.

A wall exists when a test fails on crossing it. A new module gets its floor in `HOUSE` before it gets code; a new
library gets its door in `DOORS`; what `core/` may import stands in `PURE`. The rest of this file reads these tables.
"""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The floors, from the ground up: imports go strictly downwards, never along a floor. A new storey is a new line, and
# renumbers nothing. Packages that only hold others are empty, hence on the ground.
HOUSE = [
    {
        "comfy_fsm.commands",
        "comfy_fsm.core",
        "comfy_fsm.errors",
        "comfy_fsm.live",
        "comfy_fsm.workflow",
        "replay.report",
    },
    {"comfy_fsm.workflow.png", "comfy_fsm.workflow.shape"},
    {"comfy_fsm.workflow.files"},
    {"comfy_fsm.workflow.graph"},
    {
        "comfy_fsm.core.addresses",
        "comfy_fsm.core.findings",
        "comfy_fsm.core.machine",
        "comfy_fsm.core.media",
        "comfy_fsm.core.observations",
        "comfy_fsm.core.policy",
        "comfy_fsm.core.routes",
    },
    {
        "comfy_fsm.core.backlog",
        "comfy_fsm.core.clock",
        "comfy_fsm.core.effects",
        "comfy_fsm.core.health",
        "comfy_fsm.core.planning",
        "comfy_fsm.core.wire",
    },
    {"comfy_fsm.core.placement", "comfy_fsm.core.task"},
    {"comfy_fsm.core.fieldwise", "comfy_fsm.core.pauses", "comfy_fsm.core.refusals", "comfy_fsm.core.tally"},
    {"comfy_fsm.core.servers"},
    {"comfy_fsm.core.evidence", "comfy_fsm.core.ledger", "comfy_fsm.core.results"},
    {
        "comfy_fsm.core.acts",
        "comfy_fsm.core.deafness",
        "comfy_fsm.core.histories",
        "comfy_fsm.core.images",
        "comfy_fsm.core.oddities",
        "comfy_fsm.core.queues",
    },
    {"comfy_fsm.core.settling", "comfy_fsm.core.showing"},
    {"comfy_fsm.core.absence", "comfy_fsm.core.frames", "comfy_fsm.core.moving", "comfy_fsm.core.seeking"},
    {"comfy_fsm.core.silence"},
    {"comfy_fsm.core.sockets"},
    {"comfy_fsm.core.hearing"},
    {"comfy_fsm.core.submitting"},
    {"comfy_fsm.core.answers"},
    {"comfy_fsm.core.board"},
    {"comfy_fsm.core.figures", "comfy_fsm.core.metrics", "comfy_fsm.core.recovered", "comfy_fsm.core.surroundings"},
    {"comfy_fsm.core.case"},
    {"comfy_fsm.core.alerts", "comfy_fsm.core.explaining"},
    {"comfy_fsm.core.diagnosis"},
    {"comfy_fsm.live.spelling", "comfy_fsm.live.updates", "comfy_fsm.live.urls"},
    {
        "comfy_fsm.live.addresses",
        "comfy_fsm.live.closing",
        "comfy_fsm.live.connecting",
        "comfy_fsm.live.cookies",
        "comfy_fsm.live.lock",
        "comfy_fsm.live.logfile",
        "comfy_fsm.live.scrubbing",
        "comfy_fsm.live.trust",
    },
    {"comfy_fsm.live.names", "comfy_fsm.live.redirects", "comfy_fsm.live.spool"},
    {"comfy_fsm.live.inbox", "comfy_fsm.live.redact", "comfy_fsm.live.rows", "replay.trace"},
    {
        "comfy_fsm.live.arrivals",
        "comfy_fsm.live.asks",
        "comfy_fsm.live.clock",
        "comfy_fsm.live.companions",
        "comfy_fsm.live.creating",
        "comfy_fsm.live.deadlines",
        "comfy_fsm.live.outputs",
        "comfy_fsm.live.streaming",
        "comfy_fsm.live.view",
    },
    {"comfy_fsm.live.writer"},
    {
        "comfy_fsm.live.comfy",
        "comfy_fsm.live.log",
        "comfy_fsm.live.recorder",
        "comfy_fsm.live.sight",
        "comfy_fsm.live.unreachable",
    },
    {
        "comfy_fsm.live.asking",
        "comfy_fsm.live.ears",
        "comfy_fsm.live.memory",
        "comfy_fsm.live.watcher",
        "comfy_fsm.live.withholding",
    },
    {"comfy_fsm.live.confirming"},
    {"comfy_fsm.live.cancelling", "comfy_fsm.live.looking", "comfy_fsm.live.runner"},
    {"comfy_fsm.live.callbacks", "comfy_fsm.live.recovery", "comfy_fsm.live.tags"},
    {"comfy_fsm.live.desk", "comfy_fsm.live.tasks"},
    {"comfy_fsm.live.hands", "comfy_fsm.live.windows"},
    {"comfy_fsm.live.client"},
    {"comfy_fsm.live.blocking", "comfy_fsm.live.capacity", "comfy_fsm.live.holding", "comfy_fsm.live.patrol"},
    {"comfy_fsm.live.dispatch"},
    {"comfy_fsm.live.alerts", "comfy_fsm.live.errand", "comfy_fsm.live.exporter", "comfy_fsm.live.spans"},
    # The front door stands above all that it names, though it loads live/ only when that is asked for: what is below
    # cannot come in by it.
    {"comfy_fsm"},
    # The fake ComfyUI knows nothing of our client, and our client nothing of it.
    {"comfy_fsm.testing.faults", "comfy_fsm.testing.pictures", "comfy_fsm.testing.profiles"},
    {"comfy_fsm.testing.nodes", "comfy_fsm.testing.publishing", "comfy_fsm.testing.strategies.scripted"},
    {"comfy_fsm.testing.strategies.arbitrary", "comfy_fsm.testing.strategies.runs"},
    {"comfy_fsm.testing.strategies"},
    {"comfy_fsm.testing.graphs", "comfy_fsm.testing.house", "comfy_fsm.testing.workflows"},
    {"comfy_fsm.testing.running"},
    {"comfy_fsm.testing.execution"},
    {"comfy_fsm.testing.hurdles", "comfy_fsm.testing.jobs"},
    {"comfy_fsm.testing.routes"},
    {"comfy_fsm.testing.server"},
    {"comfy_fsm.testing.balancer", "comfy_fsm.testing.threaded"},
    {"comfy_fsm.testing"},
    {"comfy_fsm.testing.__main__", "comfy_fsm.testing.plugin"},
    {"replay.play", "replay.report.harmless"},
    # and the other front door
    {"replay", "replay.report.diagnosed", "replay.report.document", "replay.report.terminal"},
    {"replay.__main__"},
    {"comfy_fsm.dashboard", "comfy_fsm.live.page", "comfy_fsm.recounting", "comfy_fsm.screen"},
    {"comfy_fsm.commands.options", "comfy_fsm.commands.reading"},
    {
        "comfy_fsm.commands.diagnosing",
        "comfy_fsm.commands.measuring",
        "comfy_fsm.commands.printing",
        "comfy_fsm.commands.recovering",
        "comfy_fsm.commands.submitting",
        "comfy_fsm.commands.watching",
    },
    {"comfy_fsm.__main__"},
]
FLOORS = {module: floor for floor, rooms in enumerate(HOUSE) for module in rooms}

# One library, one door: to replace it is to rewrite one file. gzip is here as zstandard's twin.
DOORS = {
    "aiohttp": {
        "comfy_fsm.live.page",
        "comfy_fsm.testing.balancer",
        "comfy_fsm.testing.hurdles",
        "comfy_fsm.testing.routes",
        "comfy_fsm.testing.server",
    },
    "hypothesis": {"comfy_fsm.testing.strategies.arbitrary", "comfy_fsm.testing.strategies.runs"},
    "pytest": {"comfy_fsm.testing.plugin"},
    "transitions": {"comfy_fsm.core.machine"},
    "aiosqlite": {"comfy_fsm.live.log"},
    "httpx": {"comfy_fsm.live.comfy"},
    "websockets": {"comfy_fsm.live.comfy", "comfy_fsm.live.connecting"},
    "ijson": {"comfy_fsm.live.streaming"},
    "cyclopts": {
        "comfy_fsm.__main__",
        "comfy_fsm.commands.options",
        "comfy_fsm.testing.__main__",
        "replay.__main__",
    },
    "rich": {"comfy_fsm.dashboard", "comfy_fsm.screen", "replay.report.terminal"},
    "PIL": {"comfy_fsm.live.outputs"},
    "prometheus_client": {"comfy_fsm.live.exporter"},
    "opentelemetry": {"comfy_fsm.live.spans"},
    "zstandard": {"replay.trace"},
    "gzip": {"replay.trace"},
}
NO_DOOR = {"msgspec"}  # the observations are its Structs: it is our vocabulary, not a tool behind a wall

# What `core/` may import. We name what is pure, not what is not: the standard library has too many clocks, disks and
# dice (`time`, `datetime`, `asyncio`, `os`, `pathlib`, `socket`, `ssl`, `sqlite3`, `logging`, `random`, `uuid`, …) to
# list, and each release adds some. A name lets in what is below it, so `urllib`, which has sockets, is not here.
PURE = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "enum", "functools",
    "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "shlex", "statistics", "string", "struct",
    "types", "typing", "unicodedata", "urllib.parse", "zlib",
    "comfy_fsm", "msgspec", "transitions",
}  # fmt: skip
IMPURE_BUILTINS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}

# What it must not cost to embed the core. `logging` is not here because `transitions` loads it. asyncio, socket and ssl
# would come with any import of `transitions.extensions`, which draws the diagram: import it where it is drawn.
NOT_LOADED = {
    "asyncio", "selectors", "socket", "sqlite3", "ssl", "subprocess",
    "aiosqlite", "cyclopts", "httpx", "ijson", "opentelemetry", "PIL", "prometheus_client", "rich", "websockets",
    "zstandard",
}  # fmt: skip

# A module named like one of the standard library hides it from whoever runs a file of that folder. `trace` is the word
# of our format, and nobody runs a file of `replay/` by its path.
NAMED_LIKE_STDLIB = {"trace"}
NO_ROOM = {"base", "common", "helpers", "manager", "misc", "utils"}  # names that would take in anything

LINES_PER_FILE = 400
LINES_PER_FUNCTION = 40


@cache
def modules() -> dict[str, Path]:
    paths = sorted(path for package in ("comfy_fsm", "replay") for path in (ROOT / package).rglob("*.py"))
    dotted = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in dotted.items()}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def sources(module: str, node: ast.ImportFrom) -> set[str]:
    """What `from … import …` reaches: the module named, or below it those of our modules that are imported by name."""
    package = module.split(".") if modules()[module].name == "__init__.py" else module.split(".")[:-1]
    parts = package[: len(package) - node.level + 1] if node.level else []
    origin = ".".join([*parts, *(node.module or "").split(".")]).strip(".")
    return {f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in modules() else origin for alias in node.names}


def imports(module: str) -> set[str]:
    """Every module that this one imports, inside functions and under TYPE_CHECKING too: a wall is a wall."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found |= sources(module, node)
    return found


def libraries(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def names(module: str) -> set[str]:
    """Every bare or dotted name that the code mentions, by its last part."""
    nodes = list(ast.walk(tree(module)))
    return {
        *(node.id for node in nodes if isinstance(node, ast.Name)),
        *(node.attr for node in nodes if isinstance(node, ast.Attribute)),
        *(alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names),
    }


def awaits(module: str) -> list[int]:
    """The lines where it awaits, or defines what must be awaited."""
    kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    nodes = list(ast.walk(tree(module)))
    loops = [node.target.lineno for node in nodes if isinstance(node, ast.comprehension) and node.is_async]
    return loops + [node.lineno for node in nodes if isinstance(node, kinds)]


each_module = pytest.mark.parametrize("module", modules())
each_core_module = pytest.mark.parametrize("module", [name for name in modules() if name.startswith("comfy_fsm.core")])


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    listed = sorted(module for rooms in HOUSE for module in rooms)  # FLOORS would hide a second listing
    assert sorted(modules()) == listed, "a new module gets a floor in HOUSE first; one that is gone loses it"


@each_module
def test_imports_go_strictly_downwards(module: str) -> None:
    ours = sorted(name for name in imports(module) if name.partition(".")[0] in ("comfy_fsm", "replay"))
    climbing = {name: FLOORS[name] for name in ours if FLOORS[name] >= FLOORS[module]}
    assert not climbing, f"{module} is on floor {FLOORS[module]} itself"


@each_module
def test_a_library_comes_in_by_its_door_alone(module: str) -> None:
    outside = libraries(module) - sys.stdlib_module_names - {"comfy_fsm", "replay"} - NO_DOOR
    assert outside <= set(DOORS), "a new library gets a door in DOORS first"
    astray = {name for name in libraries(module) & set(DOORS) if module not in DOORS[name]}
    assert not astray, f"{module} is not their door"


def test_what_we_depend_on_is_what_has_a_door() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in ("images", "testing", "serve", "prometheus", "otel") for line in extras[name]]
    declared = [*project["dependencies"], *optional, "hypothesis", "pytest"]  # whose plugins we are
    imported = {  # elsewhere as declared
        "opentelemetry-api": "opentelemetry",
        "pillow": "PIL",
        "prometheus-client": "prometheus_client",
    }
    names = {re.split(r"[^\w-]", line)[0] for line in declared}
    assert {imported.get(name, name) for name in names} == set(DOORS) - sys.stdlib_module_names | NO_DOOR


@each_module
def test_nothing_is_imported_behind_the_back_of_these_tests(module: str) -> None:
    assert "importlib" not in libraries(module)
    assert "__import__" not in names(module)


@each_module
def test_only_live_awaits(module: str) -> None:
    assert module.startswith(("comfy_fsm.live.", "comfy_fsm.testing")) or not awaits(module)


@each_core_module
def test_core_imports_only_what_is_pure(module: str) -> None:
    assert not {name for name in imports(module) if not any(f"{name}.".startswith(f"{pure}.") for pure in PURE)}


@each_core_module
def test_core_neither_reads_nor_prints(module: str) -> None:
    bare = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    assert not {node.id for node in bare} & IMPURE_BUILTINS  # bare, since a socket of ours may well have a field `open`


@each_core_module
def test_core_has_no_any(module: str) -> None:
    assert "Any" not in names(module)


def test_importing_comfy_fsm_loads_no_loop_socket_or_disk() -> None:
    code = "import sys; before = set(sys.modules); import comfy_fsm; print(*set(sys.modules) - before)"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not NOT_LOADED & set(fresh.stdout.split())


@each_module
def test_a_room_is_small(module: str) -> None:
    lines = modules()[module].read_text(encoding="utf-8").count("\n")
    assert lines <= LINES_PER_FILE, "a file over 400 lines holds two rooms"
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert not {name: size for name, size in sizes.items() if size > LINES_PER_FUNCTION}


@each_module
def test_a_room_says_at_its_door_what_lives_in_it(module: str) -> None:
    assert ast.get_docstring(tree(module)), "its first lines say what it holds"


@each_module
def test_a_room_has_a_name_of_its_own(module: str) -> None:
    name = module.rpartition(".")[2]
    assert name not in NO_ROOM
    assert name == "__main__" or name not in sys.stdlib_module_names - NAMED_LIKE_STDLIB
