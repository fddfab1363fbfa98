"""Measures of the source: `python -m tests.measure_house` prints them; `tests/test_layers.py` and
`tests/test_house.py` hold those that matter.

Folders by modules, the longest files, functions with many parameters, assignments to a task's fields outside its own
files, the modules that a frame, an answer and a submission pass through, and the first words of docstrings.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support import trips

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 6
"""From here on a function has too many of them."""
BESIDE = ("benchmarks", "docs", "examples", "fuzz", "ops")
"""Folders that are not installed; in tests/ the sizes follow from what is tested."""
NO_OPENING = frozenset({
    "a", "all", "an", "another", "any", "because", "both", "by", "each", "either", "every", "few", "for", "from",
    "how", "if", "in", "it", "its", "many", "most", "no", "not", "of", "on", "one", "our", "several", "since", "so",
    "some", "that", "the", "their", "there", "these", "they", "this", "those", "to", "two", "we", "what", "when",
    "where", "whether", "which", "while", "who", "whose", "why", "with", "without", "you", "your",
})  # fmt: skip
"""Words that open no docstring: it begins with a verb, or with the noun for what it is about."""
TASK, PARTS = "comfy_fsm/core/registry/task.py", "comfy_fsm/core/registry/task_parts.py"
_CALLED = {"task", "asked", "known", "adopted", "bound", "lost", "older", "other", "former", "first", "running"}
"""Names that a task goes by in the core where nothing annotates it."""


@cache
def modules(folders: tuple[str, ...] = ("comfy_fsm", "replay")) -> dict[str, ast.Module]:
    """Return every module in these folders, by its path from the root."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions(module: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield each function, and whether it is a method."""
    methods = {id(each) for node in ast.walk(module) if isinstance(node, ast.ClassDef) for each in node.body}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, id(node) in methods


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> int:
    """Return how many a caller sees: `self` does not count."""
    named = function.args
    return len(named.posonlyargs) + len(named.args) + len(named.kwonlyargs) - method


def is_command(path: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether its parameters are options of a command line."""
    return path.endswith("__main__.py") or "Parameters\n---" in (ast.get_docstring(function) or "")


def crowded(path: str, module: ast.Module) -> list[str]:
    """Return functions with too many parameters; a constructor and a command name what their callers choose from."""
    found = []
    for function, method in functions(module):
        count = parameters(function, method=method)
        if count >= PARAMETERS and function.name != "__init__" and not is_command(path, function):
            found.append(f"{function.name} ({count})")
    return found


def fields(module: ast.Module, name: str) -> dict[str, str]:
    """Return the fields of a record, each with its annotation."""
    (record,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        each.target.id: ast.unparse(each.annotation)
        for each in record.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def task_fields(source: dict[str, ast.Module]) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """Return the fields of a task, and those of each of its parts."""
    task = fields(source[TASK], "Task")
    records = {node.name for node in source[PARTS].body if isinstance(node, ast.ClassDef)}
    parts = {name: kind.removeprefix("task_parts.") for name, kind in task.items()}
    return frozenset(task), {
        name: frozenset(fields(source[PARTS], kind)) for name, kind in parts.items() if kind in records
    }


def foreign_writes(source: dict[str, ast.Module]) -> dict[str, list[int]]:
    """Return the lines outside its own files that assign to a field of a task, or of a part of one."""
    own, parts = task_fields(source)
    found: dict[str, list[int]] = {}
    for path, module in source.items():
        if path in (TASK, PARTS):
            continue
        arguments = (node for node in ast.walk(module) if isinstance(node, ast.arg))
        called = {
            each.arg
            for each in arguments
            if each.annotation and ast.unparse(each.annotation) in ("Task", "Task | None")
        }
        called |= _CALLED if path.startswith("comfy_fsm/core") else {"task"}
        for node in ast.walk(module):
            if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
                continue
            holder = node.value
            of_task = isinstance(holder, ast.Name) and holder.id in called and node.attr in own
            of_part = isinstance(holder, ast.Attribute) and node.attr in parts.get(holder.attr, ())
            if of_task or of_part:
                found.setdefault(path, []).append(node.lineno)
    return found


def crowds(source: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return the functions with too many parameters, by module."""
    return {path: found for path, module in source.items() if (found := crowded(path, module))}


def openings(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the name of each module, class and function with a docstring, and the first word of that."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split()
            if words:
                yield getattr(node, "name", "module"), words[0]


def misleading(source: dict[str, ast.Module]) -> list[str]:
    """Return the docstrings that open with neither a verb nor a noun."""
    return [
        f"{path}: {name} opens with {word}"
        for path, module in source.items()
        for name, word in openings(module)
        if word.strip("`,.:").lower() in NO_OPENING
    ]


def lengths(source: dict[str, ast.Module]) -> Counter[str]:
    """Return the lines of each file."""
    return Counter({path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in source})


def folders_of(source: dict[str, ast.Module]) -> Counter[str]:
    """Return how many modules each folder has."""
    return Counter(str(Path(path).parent) for path in source if not path.endswith("__init__.py"))


def main() -> None:
    source = modules()
    whole = source | modules(BESIDE)
    print("modules a folder:", ", ".join(f"{folder} {count}" for folder, count in folders_of(whole).most_common(5)))
    print("lines a file:", ", ".join(f"{path} {count}" for path, count in lengths(whole).most_common(5)))
    many = crowds(source)
    print(f"functions of {PARAMETERS} parameters or more:", sum(map(len, many.values())))
    for path, found in many.items():
        print(f"  {path}: {', '.join(found)}")
    writes = foreign_writes(source)
    print("assignments to a task's fields outside its own files:", sum(map(len, writes.values())))
    for path, lines_of in writes.items():
        print(f"  {path}: lines {', '.join(map(str, lines_of))}")
    frame, answer = trips.of_fold()
    print(f"a frame that ends its task: {frame}; a record that does: {answer}")
    print(f"a submission: {asyncio.run(trips.of_submit())}")
    bad = misleading(source)
    print("docstrings that open with neither verb nor noun:", len(bad))
    print("".join(f"  {each}\n" for each in bad), end="")
    first = Counter(word for module in source.values() for _, word in openings(module))
    print("docstrings open with:", ", ".join(f"{word} {count}" for word, count in first.most_common(25)))


if __name__ == "__main__":
    main()
