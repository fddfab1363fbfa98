"""Measures of the source: `python -m tests.measure_house` prints them; `tests/test_layers.py` holds those that matter.

Folders by modules, the longest files, functions with many parameters, assignments to a task's fields outside
`task.py`, and the first words of docstrings.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 6
"""From here on a function has too many of them."""
TASK = "comfy_fsm/core/registry/task.py"


def modules() -> dict[str, ast.Module]:
    """Every module of both packages, by its path from the root."""
    paths = [path for package in ("comfy_fsm", "replay") for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions(module: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Each function, and whether it is a method."""
    methods = {id(each) for node in ast.walk(module) if isinstance(node, ast.ClassDef) for each in node.body}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, id(node) in methods


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> int:
    """How many a caller sees: `self` does not count."""
    named = function.args
    return len(named.posonlyargs) + len(named.args) + len(named.kwonlyargs) - method


def crowded(module: ast.Module) -> list[str]:
    """Functions with too many parameters; a constructor and a command name what their callers choose from."""
    found = []
    for function, method in functions(module):
        count = parameters(function, method=method)
        if count >= PARAMETERS and function.name != "__init__":
            found.append(f"{function.name} ({count})")
    return found


def task_fields(module: ast.Module) -> frozenset[str]:
    (task,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Task")
    return frozenset(
        each.target.id for each in task.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    )


def foreign_writes(module: ast.Module, fields: frozenset[str]) -> list[int]:
    """Lines that assign to a field of a task, as far as the name of the variable shows that it is one."""
    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr in fields
        and isinstance(node.value, ast.Name)
        and node.value.id in ("task", "asked", "older", "other", "former")
    ]


def openings(module: ast.Module) -> Iterator[str]:
    """The first word of each docstring."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split()
            if words:
                yield words[0]


def main() -> None:
    source = modules()
    folders = Counter(str(Path(path).parent) for path in source if not path.endswith("__init__.py"))
    print("modules a folder:", ", ".join(f"{folder} {count}" for folder, count in folders.most_common(5)))
    lines = Counter({path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in source})
    print("lines a file:", ", ".join(f"{path} {count}" for path, count in lines.most_common(5)))
    crowds = {path: found for path, module in source.items() if (found := crowded(module))}
    print(f"functions of {PARAMETERS} parameters or more:", sum(map(len, crowds.values())))
    for path, found in crowds.items():
        print(f"  {path}: {', '.join(found)}")
    fields = task_fields(source[TASK])
    writes = {
        path: found for path, module in source.items() if path != TASK and (found := foreign_writes(module, fields))
    }
    print("assignments to a task's fields outside its file:", sum(map(len, writes.values())))
    for path, found in writes.items():
        print(f"  {path}: lines {', '.join(map(str, found))}")
    first = Counter(word for module in source.values() for word in openings(module))
    print("docstrings open with:", ", ".join(f"{word} {count}" for word, count in first.most_common(25)))


if __name__ == "__main__":
    main()
