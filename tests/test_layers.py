"""Rules of the source tree: floors, doors, purity and sizes, read from the source of every module.

A wall exists when a test fails on crossing it. A new module gets its floor in `HOUSE` before it gets code; a new
library gets its door in `DOORS`; what `core/` may import stands in `PURE`. The rest of this file reads these tables.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.measure_house import crowds, foreign_writes
from tests.measure_house import modules as parsed

ROOT = Path(__file__).resolve().parents[1]

# The storeys, from the ground up, each with its folders side by side; within a folder its floors, from the ground up.
# Imports go strictly downwards: to a lower storey, or within a folder to a lower floor. No folder imports another of
# its storey, and no module another of its floor. A folder stands on one storey; only one that holds other folders may
# have modules of its own below and above them. A new storey is a new line, and renumbers nothing.
HOUSE: list[dict[str, list[str]]] = [
    {"comfy_fsm": ["display errors mime_types", "exits", "tab_completion"]},
    {"comfy_fsm.workflow": ["png shape", "files", "graph"]},
    {"comfy_fsm.core": ["findings machine observations policy", "effects", "updates"]},
    {
        "comfy_fsm.core.wire": [
            "codec results routes",
            "fieldwise refusals status",
            "bodies",
            "histories queues",
        ],
        "comfy_fsm.core.scheduling": ["backlog breaker durations makespan", "scheduler"],
    },
    {
        "comfy_fsm.core.registry": [
            "elapsed_time ending server_identity",
            "task_parts",
            "task",
            "counters unreachable_spans",
            "servers",
            "registry",
            "oddities socket_images window_acts",
        ]
    },
    {
        "comfy_fsm.core.fold": [
            "deafness",
            "settlement",
            "absence adoption resubmission",
            "silence",
            "sockets",
        ]
    },
    {"comfy_fsm.core.fold.frames": ["handlers", "attribution"]},
    {
        "comfy_fsm.core.fold": [
            "submissions",
            "responses",
            "resume",
            "commands",
            "board",
        ]
    },
    {
        "comfy_fsm.core.explain": ["context", "facts", "rules", "diagnosis"],
        "comfy_fsm.core.metrics": ["catalogue summary", "alerts"],
        "comfy_fsm.core.recovery": ["probes", "verdicts"],
    },
    {
        "comfy_fsm.log": [
            "chain lock sqlite_file trace",
            "append_queue creation reader store",
            "memory writer",
            "log",
        ],
        "comfy_fsm.live.redaction": ["secret_encodings urls", "scrubber", "job_inputs messages"],
        "comfy_fsm.anonymity": ["vocabulary", "pseudonyms", "anonymizer"],
    },
    {"comfy_fsm.log.postgres": ["address schema", "database", "reader", "farm writer", "log"]},
    {"comfy_fsm.log": ["opening"]},
    {"comfy_fsm.captures": ["capture", "frame_dump har", "server_log", "detection", "reading"]},
    {
        "comfy_fsm.live.transport": [
            "arrivals connection_errors retry_after",
            "addresses certificates cookies credentials redirects streaming timeouts",
            "requests",
        ],
        "comfy_fsm.report": [
            "notebook progress_bar sources time_format",
            "excerpt player",
            "diagnosis_text json_report recovery_text selection",
            "text",
        ],
    },
    {"comfy_fsm.live.transport.websocket": ["connection handshake_errors", "reconnection"]},
    {"comfy_fsm.live.transport": ["comfy"]},
    {
        "comfy_fsm.watch": [
            "keyboard snapshot task_details",
            "browsing rows",
            "projection sections",
            "follower terminal",
        ]
    },
    {"comfy_fsm.serve": ["web_page"]},
    {
        "comfy_fsm.report.formats": ["junit markdown"],
        "comfy_fsm.report.picture": ["thinning words", "scene", "collector html_page perfetto"],
    },
    {
        "comfy_fsm.live.engine": [
            "answers closing frame_lines responsiveness steady_clock",
            "ingest",
            "exchange listener",
            "absence_confirmation cancellation poller",
            "runner",
        ]
    },
    {"comfy_fsm.live.saving": ["safe_names", "atomic_files"]},
    {
        "comfy_fsm.live.recovery": ["prober", "recovery", "session"],
        "comfy_fsm.live.doctor": ["check", "database_checks server_checks", "local_checks"],
        "comfy_fsm.live.proxy": [
            "address_rewriting body_copies entries peer websocket_messages",
            "http_entries socket_entries",
            "forwarding",
            "recording",
        ],
    },
    {
        "comfy_fsm.live.client": [
            "companion image_spool progress tags",
            "outputs update_queue",
            "callbacks",
            "task_handle",
            "handles window",
            "client",
        ]
    },
    {
        "comfy_fsm.live.dispatch": ["capacity health_checks waiting_jobs", "dispatcher"],
        "comfy_fsm.live.extras": ["alarm prometheus tracing"],
    },
    {"comfy_fsm.live.blocking": ["outputs", "task_handle", "window", "client", "dispatcher"]},
    # The front door stands above all that it names, though it loads live/ only when that is asked for: what is below
    # cannot come in by it.
    {"comfy_fsm": ["__init__"]},
    {
        "comfy_fsm.cli": ["options stderr"],
    },
    {"comfy_fsm.cli.runs": ["display session"]},
    {"comfy_fsm.cli": ["diagnose doctor export metrics record recover run serve watch", "tail"]},
    # The fake ComfyUI knows nothing of our client, and our client nothing of it.
    {"comfy_fsm.testing": ["faults profiles", "sockets"]},
    {"comfy_fsm.testing.strategies": ["scripted", "arbitrary runs troubles", "__init__"]},
    {
        "comfy_fsm.testing.execution": [
            "pictures",
            "nodes",
            "shared_state validation",
            "prompt_executor",
            "worker",
            "jobs_api",
        ]
    },
    {"comfy_fsm.testing.playback": ["source", "script", "playback"]},
    {
        "comfy_fsm.testing": [
            "assertions middleware workflows",
            "routes",
            "server",
            "balancer threaded",
            "__init__",
            "__main__ plugin",
        ]
    },
    {"replay.lines": ["reading", "order"]},
    {
        "replay.reduction": [
            "delta_debugging goal short_names",
            "generated_test line_removal",
            "line_shortening",
            "reduction",
        ]
    },
    {
        "replay.faults": ["board_copies consequences faults", "incremental_fold", "sweep"],
        "replay.comparison": ["coverage difference", "reports"],
    },
    {
        "replay.corpora": [
            "discovery parquet",
            "chunks",
        ]
    },
    {"replay.corpora.analyses": ["analysis", "coverage faults verdicts", "catalogue"]},
    {
        "replay.corpora": [
            "worker",
            "executors folder",
            "baseline run",
        ]
    },
    {
        "comfy_fsm": ["__main__"],
        "replay": [
            "__init__ options",
            "inputs",
            "cover diff importing min picture show whatif",
            "anonymize corpus",
            "__main__",
        ],
    },
]


def _floors() -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Each module that is listed, with its folder, its storey and its floor."""
    for storey, folders in enumerate(HOUSE):
        for folder, floors in folders.items():
            for floor, names in enumerate(floors):
                for name in names.split():
                    yield (folder if name == "__init__" else f"{folder}.{name}"), folder, (storey, floor)


FLOORS = {module: floor for module, _, floor in _floors()}
FOLDERS = {module: folder for module, folder, _ in _floors()}

# Where one may await: whole folders, and single modules.
AWAIT = {
    "comfy_fsm.live.transport", "comfy_fsm.live.engine", "comfy_fsm.live.recovery", "comfy_fsm.live.client",
    "comfy_fsm.live.blocking", "comfy_fsm.live.dispatch", "comfy_fsm.live.extras", "comfy_fsm.testing",
    "comfy_fsm.log.append_queue", "comfy_fsm.log.log", "comfy_fsm.log.memory", "comfy_fsm.log.store",
    "comfy_fsm.log.opening", "comfy_fsm.log.postgres.log",
    "comfy_fsm.serve.web_page", "comfy_fsm.cli.runs.session",
    "comfy_fsm.live.doctor.server_checks", "comfy_fsm.live.proxy",
}  # fmt: skip

# One library, one door: to replace it is to rewrite one file. gzip is here as zstandard's twin.
DOORS = {
    "PIL": {"comfy_fsm.live.client.outputs"},
    "hypothesis": {
        "comfy_fsm.testing.strategies.arbitrary",
        "comfy_fsm.testing.strategies.runs",
        "comfy_fsm.testing.strategies.troubles",
    },
    "aiohttp": {
        "comfy_fsm.serve.web_page",
        "comfy_fsm.testing.balancer",
        "comfy_fsm.testing.middleware",
        "comfy_fsm.testing.routes",
        "comfy_fsm.testing.server",
    },
    "pytest": {"comfy_fsm.testing.plugin"},
    "transitions": {"comfy_fsm.core.machine"},
    "aiosqlite": {"comfy_fsm.log.log"},
    "psycopg": {"comfy_fsm.log.postgres.database"},
    "anyio": {"comfy_fsm.live.transport.comfy"},
    "h11": {"comfy_fsm.live.proxy.peer"},
    "httpx": {"comfy_fsm.live.transport.comfy"},
    "websockets": {
        "comfy_fsm.live.proxy.websocket_messages",
        "comfy_fsm.live.transport.websocket.connection",
        "comfy_fsm.live.transport.websocket.reconnection",
    },
    "ijson": {"comfy_fsm.captures.frame_dump", "comfy_fsm.captures.har", "comfy_fsm.live.transport.streaming"},
    "cyclopts": {
        "comfy_fsm.__main__",
        "comfy_fsm.tab_completion",
        "comfy_fsm.cli.options",
        "comfy_fsm.cli.record",
        "comfy_fsm.testing.__main__",
        "replay.__main__",
        "replay.anonymize",
        "replay.corpus",
        "replay.cover",
        "replay.diff",
        "replay.importing",
        "replay.min",
        "replay.options",
        "replay.picture",
        "replay.inputs",
        "replay.show",
        "replay.whatif",
    },
    "rich": {
        "comfy_fsm.watch.sections",
        "comfy_fsm.watch.terminal",
        "comfy_fsm.cli.runs.display",
        "comfy_fsm.cli.stderr",
        "comfy_fsm.report.text",
        "comfy_fsm.report.progress_bar",
    },
    "distributed": {"replay.corpora.executors"},
    "fsspec": {"replay.corpora.discovery"},
    "pyarrow": {"replay.corpora.parquet"},
    "prometheus_client": {"comfy_fsm.live.extras.prometheus"},
    "opentelemetry": {"comfy_fsm.live.extras.tracing"},
    "zstandard": {"comfy_fsm.log.trace"},
    "gzip": {"comfy_fsm.log.trace"},
}
NO_DOOR = {"msgspec"}  # the observations are its Structs: it is our vocabulary, not a tool behind a wall

# What `core/` may import. We name what is pure, not what is not: the standard library has too many clocks, disks and
# dice (`time`, `datetime`, `asyncio`, `os`, `pathlib`, `socket`, `ssl`, `sqlite3`, `logging`, `random`, `uuid`, …) to
# list, and each release adds some. A name lets in what is below it, so `urllib`, which has sockets, is not here.
PURE = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "shlex", "statistics", "string",
    "struct", "types", "typing", "unicodedata", "urllib.parse", "zlib",
    "comfy_fsm", "msgspec", "transitions",
}  # fmt: skip
IMPURE_BUILTINS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}

# What it must not cost to embed the core. `logging` is not here because `transitions` loads it. asyncio, socket and ssl
# would come with any import of `transitions.extensions`, which draws the diagram: import it where it is drawn.
NOT_LOADED = {
    "asyncio", "selectors", "socket", "sqlite3", "ssl", "subprocess",
    "aiosqlite", "cyclopts", "httpx", "ijson", "opentelemetry", "PIL", "prometheus_client", "psycopg", "rich",
    "websockets", "zstandard",
}  # fmt: skip

# A module named like one of the standard library hides it from whoever runs a file of that folder. `trace` is the word
# of our format, and nobody runs a file of `log/` by its path.
NAMED_LIKE_STDLIB = {"trace"}
NO_ROOM = {"base", "common", "helpers", "manager", "misc", "utils"}  # names that would take in anything

MODULES_PER_FOLDER = 12
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 40
MANY_PARAMETERS = 4
"""Functions with six parameters or more: commands and requests, which name what their callers choose from."""


@cache
def modules() -> dict[str, Path]:
    paths = sorted(path for package in ("comfy_fsm", "replay") for path in (ROOT / package).rglob("*.py"))
    dotted = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in dotted.items()}


@cache
def tree(module: str) -> ast.Module:
    return parsed()[str(modules()[module].relative_to(ROOT))]


def sources(module: str, node: ast.ImportFrom) -> set[str]:
    """What `from … import …` reaches: the module named, or below it those of our modules that are imported by name."""
    package = module.split(".") if modules()[module].name == "__init__.py" else module.split(".")[:-1]
    parts = package[: len(package) - node.level + 1] if node.level else []
    origin = ".".join([*parts, *(node.module or "").split(".")]).strip(".")
    return {f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in modules() else origin for alias in node.names}


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(module)))


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that this one imports, inside functions and under TYPE_CHECKING too: a wall is a wall."""
    found: set[str] = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found |= sources(module, node)
    return frozenset(found)


def libraries(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def names(module: str) -> set[str]:
    """Every bare or dotted name that the code mentions, by its last part."""
    return {
        *(node.id for node in nodes(module) if isinstance(node, ast.Name)),
        *(node.attr for node in nodes(module) if isinstance(node, ast.Attribute)),
        *(alias.name for node in nodes(module) if isinstance(node, ast.ImportFrom) for alias in node.names),
    }


def awaits(module: str) -> list[int]:
    """The lines where it awaits, or defines what must be awaited."""
    kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    loops = [node.target.lineno for node in nodes(module) if isinstance(node, ast.comprehension) and node.is_async]
    return loops + [node.lineno for node in nodes(module) if isinstance(node, kinds)]


def functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function, by its qualified name and the line it begins in: a setter has the name of its getter."""
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{within}{child.name}:{child.lineno}."
            yield name, child
        elif isinstance(child, ast.ClassDef):
            name = f"{within}{child.name}."
        yield from functions(child, name)


def core() -> list[str]:
    return [name for name in modules() if name.startswith("comfy_fsm.core")]


def breaches(rule: Callable[[str], object], among: Iterable[str] | None = None) -> dict[str, object]:
    """What the rule finds wrong in each module, where it finds anything.

    One test looks at all modules: as a test for each module and rule these were three thousand, whose collection took
    longer than the rest of the file.
    """
    return {module: found for module in (modules() if among is None else among) if (found := rule(module))}


@cache
def floored() -> set[str]:
    """All modules but the door plates: what an `__init__` holds that imports and defines nothing."""
    return {name for name, path in modules().items() if path.name != "__init__.py" or len(tree(name).body) > 1}


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    listed = sorted(module for module, _, _ in _floors())  # FLOORS would hide a second listing
    assert sorted(floored()) == listed, "a new module gets a floor in HOUSE first; one that is gone loses it"


def test_a_folder_stands_on_one_storey() -> None:
    storeys = Counter(folder for folders in HOUSE for folder in folders)
    several = {folder for folder, count in storeys.items() if count > 1}
    assert {folder for folder in several if not any(other.startswith(f"{folder}.") for other in storeys)} == set()


def climbing(module: str) -> set[str]:
    """What it imports that stands no lower than itself; a door plate imports nothing of ours."""
    ours = {name for name in imports(module) if name.partition(".")[0] in ("comfy_fsm", "replay")}
    if module not in floored():
        return ours
    storey, floor = FLOORS[module]
    beside = {name for name in ours if FOLDERS.get(name) == FOLDERS[module] and FLOORS[name][0] == storey}
    return {name for name in beside if FLOORS[name][1] >= floor} | {
        name for name in ours - beside if name not in FLOORS or FLOORS[name][0] >= storey
    }


def test_imports_go_strictly_downwards() -> None:
    assert breaches(climbing) == {}


FAKE = "comfy_fsm.testing"
READING = (f"{FAKE}.strategies", f"{FAKE}.playback", f"{FAKE}.assertions")
"""What of the testing kit reads and writes traces, as anybody does: of the client it knows nothing either."""


def across(module: str) -> set[str]:
    """What of the client the fake imports, or of the fake the client."""
    ours = {name for name in imports(module) if name.startswith("comfy_fsm") and not name.startswith(READING)}
    if module.startswith(READING):
        return {name for name in ours if name.startswith("comfy_fsm.live")}
    return {name for name in ours if name.startswith(FAKE) != module.startswith(FAKE)}


def test_the_fake_and_the_client_know_nothing_of_each_other() -> None:
    assert breaches(across) == {}


def test_comfy_fsm_never_imports_replay() -> None:
    assert not [module for module in modules() if module.startswith("comfy_fsm") and "replay" in libraries(module)]


def test_no_folder_has_more_than_a_dozen_modules() -> None:
    files = [*modules().values(), *(ROOT / "benchmarks").rglob("*.py")]
    folders = Counter(path.parent.relative_to(ROOT) for path in files if path.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > MODULES_PER_FOLDER} == {}


def test_every_library_has_a_door() -> None:
    known = sys.stdlib_module_names | {"comfy_fsm", "replay"} | NO_DOOR | set(DOORS)
    assert breaches(lambda module: libraries(module) - known) == {}, "a new library gets a door in DOORS first"


def test_a_library_comes_in_by_its_door_alone() -> None:
    doors = set(DOORS)
    assert breaches(lambda module: {name for name in libraries(module) & doors if module not in DOORS[name]}) == {}


def test_what_we_depend_on_is_what_has_a_door() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [
        line
        for name in ("corpus", "images", "testing", "serve", "postgres", "prometheus", "otel")
        for line in extras[name]
    ]
    declared = [*project["dependencies"], *optional, "hypothesis", "pytest"]  # whose plugins we are
    imported = {  # elsewhere as declared
        "opentelemetry-api": "opentelemetry",
        "pillow": "PIL",
        "prometheus-client": "prometheus_client",
    }
    names = {re.split(r"[^\w-]", line)[0] for line in declared}
    assert {imported.get(name, name) for name in names} == set(DOORS) - sys.stdlib_module_names | NO_DOOR


def hidden(module: str) -> set[str]:
    """What it has that imports by a name made at run time; `importlib.metadata` only reads what is installed, and the
    front door loads what it also names for a type checker, which is what these tests see."""
    ways = {name for name in imports(module) if name.partition(".")[0] == "importlib"} | names(module) & {"__import__"}
    return ways - {"importlib.metadata"} - ({"importlib"} if module == "comfy_fsm" else set())


def test_nothing_is_imported_behind_the_back_of_these_tests() -> None:
    assert breaches(hidden) == {}


def test_one_awaits_only_where_it_is_allowed() -> None:
    rooms = tuple(f"{room}." for room in AWAIT)
    assert breaches(awaits, [module for module in modules() if not f"{module}.".startswith(rooms)]) == {}


def test_where_awaiting_is_allowed_somebody_awaits() -> None:
    awaiting = [f"{name}." for name in modules() if awaits(name)]
    assert {room for room in AWAIT if not any(name.startswith(f"{room}.") for name in awaiting)} == set()


def test_core_imports_only_what_is_pure() -> None:
    pure = tuple(f"{name}." for name in PURE)
    assert breaches(lambda module: {each for each in imports(module) if not f"{each}.".startswith(pure)}, core()) == {}


def impure(module: str) -> set[str]:
    """The impure builtins that it names; bare, since a socket of ours may well have a field `open`."""
    bare = [node for node in nodes(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return {node.id for node in bare} & IMPURE_BUILTINS


def test_core_neither_reads_nor_prints() -> None:
    assert breaches(impure, core()) == {}


def test_core_has_no_any() -> None:
    assert not [module for module in core() if "Any" in names(module)]


def test_importing_comfy_fsm_loads_no_loop_socket_or_disk() -> None:
    code = "import sys; before = set(sys.modules); import comfy_fsm; print(*set(sys.modules) - before)"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not NOT_LOADED & set(fresh.stdout.split())


def test_few_functions_have_many_parameters_and_none_in_the_core() -> None:
    many = crowds(parsed())
    assert not [path for path in many if path.startswith("comfy_fsm/core")]
    assert sum(map(len, many.values())) <= MANY_PARAMETERS, many


def test_the_fields_of_a_task_are_written_in_its_own_files_alone() -> None:
    assert not foreign_writes(parsed()), "say what happened, by a method of the task or of its part"


def test_no_file_is_long() -> None:
    lengths = {module: path.read_text(encoding="utf-8").count("\n") for module, path in modules().items()}
    long = {module: lines for module, lines in lengths.items() if lines > LINES_PER_FILE}
    assert long == {}, "a file over 400 lines holds two rooms"


def long_functions(module: str) -> dict[str, int]:
    sizes = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in functions(tree(module))}
    return {name: size for name, size in sizes.items() if size > LINES_PER_FUNCTION}


def test_no_function_is_long() -> None:
    assert breaches(long_functions) == {}


def test_a_room_says_at_its_door_what_lives_in_it() -> None:
    assert not [module for module in modules() if not ast.get_docstring(tree(module))], "say what it holds"


def test_a_room_has_a_name_of_its_own() -> None:
    taken = NO_ROOM | set(sys.stdlib_module_names) - NAMED_LIKE_STDLIB - {"__main__"}
    assert not [module for module in modules() if module.rpartition(".")[2] in taken]


def test_the_type_checker_is_silenced_only_where_it_looks() -> None:
    """An ignore that mypy needs not is an error there; elsewhere nobody would notice."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = tuple(str(ROOT / name) for name in project["tool"]["mypy"]["files"])
    folders = ("benchmarks", "docs", "examples", "fuzz", "tests")
    others = {path for folder in folders for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)}
    unseen = {path for path in others if not str(path).startswith(checked)}
    assert not [path for path in unseen if "# type: ignore" in path.read_text(encoding="utf-8")]


# tests


TESTS = sorted((ROOT / "tests").rglob("*.py"))


def test_no_test_module_is_imported_by_another() -> None:
    """What several tests need lives in tests/support/: a test may be moved, split or deleted, and no other breaks."""
    of_a_test = re.compile(
        r"^\s*(from tests[\w.]*\.test_\w+ import|from tests[\w.]* import test_|import tests[\w.]*\.test_)", re.M
    )
    assert not [path for path in TESTS if of_a_test.search(path.read_text(encoding="utf-8"))]
