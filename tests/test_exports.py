"""Tests of exports: what a package or module offers is listed, sorted and there; and what importing it costs."""

import ast
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import comfy_fsm
import replay

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("package", [comfy_fsm, replay], ids=lambda package: package.__name__)
def test_all_is_sorted_whole_and_importable(package: types.ModuleType) -> None:
    found = {name: getattr(package, name) for name in {*package.__all__, *vars(package)} if name[0] != "_"}
    public = [name for name, value in found.items() if not isinstance(value, types.ModuleType)]
    assert package.__all__ == sorted(public, key=order)


MODULES = sorted(path for package in ("comfy_fsm", "replay") for path in (ROOT / package).rglob("[!_]*.py"))


def exported(module: ast.Module) -> list[str] | None:
    """`__all__` as it is written; None where there is none."""
    for node in module.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return None


def defined(module: ast.Module) -> set[str]:
    """The names without an underscore that the module defines at its top level."""
    found: set[str] = set()
    branches = [each for node in module.body if isinstance(node, ast.If) for each in (*node.body, *node.orelse)]
    for node in (*module.body, *branches):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def given(module: ast.Module) -> Iterator[ast.stmt]:
    """Yield its statements, and those that only a type checker sees: a package names so what it loads late."""
    for node in module.body:
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "typing.TYPE_CHECKING":
            yield from node.body


def order(name: str) -> tuple[bool, bool, str]:
    """Constants, classes, functions: the order that ruff's RUF022 writes."""
    return not name.isupper(), name[0].islower(), name


def test_a_module_lists_all_its_public_names_and_the_others_begin_with_an_underscore() -> None:
    wrong = {}
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        ours, names = defined(module), exported(module)
        given_on = {alias.name for node in given(module) if isinstance(node, ast.ImportFrom) for alias in node.names}
        if names is None or not ours <= set(names) <= ours | given_on or names != sorted(names, key=order):
            wrong[str(path.relative_to(ROOT))] = names
    assert wrong == {}, "list the module's public names in __all__, sorted, or begin them with an underscore"


def fresh(code: str) -> str:
    """What this prints in a process of its own."""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def test_every_public_name_comes_from_the_front_door_of_a_fresh_process() -> None:
    each = "import comfy_fsm as c; print(*(n for n in c.__all__ if getattr(c, n).__module__ is None), end='')"
    constants = "CODES", "TABLE", "AnyObservation"
    assert fresh(each.replace("c.__all__", f"c.__all__ if n not in {constants}")) == ""
    assert set(fresh("import comfy_fsm; print(*dir(comfy_fsm))").split()) >= {*comfy_fsm.__all__, "__version__"}


def test_the_front_door_loads_each_name_from_where_a_type_checker_sees_it() -> None:
    module = ast.parse((ROOT / "comfy_fsm" / "__init__.py").read_text(encoding="utf-8"))
    told = [node for node in given(module) if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in told for alias in node.names} == comfy_fsm._MODULE_OF


def test_every_error_is_at_the_front_door() -> None:
    errors = {name for name, value in vars(comfy_fsm.errors).items() if isinstance(value, type) and name[0] != "_"}
    raised = {name for name in errors if issubclass(getattr(comfy_fsm.errors, name), comfy_fsm.ComfyFsmError)}
    assert raised <= set(comfy_fsm.__all__)


@pytest.mark.parametrize("name", ["Clinet", "live_client", "__path", "_loaded_"])
def test_a_name_that_is_not_public_is_missing_at_the_front_door(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'comfy_fsm' has no attribute '{name}'"):
        getattr(comfy_fsm, name)


def seconds(imported: str) -> float:
    """Of a processor, to import this in a fresh process: the least of several, since others work beside us."""
    code = f"import time; t = time.process_time(); import {imported}; print(time.process_time() - t)"
    return min(float(fresh(code)) for _ in range(3))


def test_the_front_door_costs_no_more_than_a_few_times_the_libraries_that_the_core_stands_on() -> None:
    assert seconds("comfy_fsm") < 6 * seconds("msgspec, transitions")


def test_the_client_is_loaded_when_it_is_asked_for() -> None:
    late = "import comfy_fsm, sys; assert 'asyncio' not in sys.modules; comfy_fsm.Client; print('httpx' in sys.modules)"
    assert fresh(late) == "True"


def test_the_version_is_told_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version", "readme", "urls"]
    assert metadata.version("comfy-fsm") == comfy_fsm.__version__
