"""Write the tables of docs/ that follow from the code: `python -m docs.render`.

    cyclopts apps              ─► reference/command-line.md   every command with its options and exit statuses
    comfy_fsm/core/policy.py   ─► reference/policy.md         every threshold with unit, default and reason
    comfy_fsm/core/machine.py  ─► reference/machine.md        the diagram, and every move with its reason
    comfy_fsm/errors.py        ─► reference/errors.md         every error and whose fault it is
    comfy_fsm/core/findings.py ─► reference/findings.md       every code of a report
    comfy_fsm/testing/faults.py ─► reference/testing.md       every knob of the fake

Each table stands between two markers, `<!-- name -->` and `<!-- /name -->`; the prose around them is written by hand.
A test holds the pages against what this writes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cyclopts import App

from comfy_fsm import CODES, TABLE, ComfyFsmError, Policy, TaskError, errors
from comfy_fsm.__main__ import app as commands
from comfy_fsm.core.machine import diagram
from comfy_fsm.exits import STATUSES
from comfy_fsm.testing.__main__ import app as fake
from comfy_fsm.testing.faults import Knob, knobs
from replay.__main__ import app as replay

REFERENCE = Path(__file__).resolve().parent / "reference"


def table(*heads: str, rows: Iterable[Iterable[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(cell, row))} |\n" for row in cells)


def cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(text.split()))


def plain(text: str) -> str:
    """Documentation of the code as a user reads it: without the numbers of protocol facts and of failure modes."""
    return re.sub(r" \([PFR]\d+(?:, [PFR]\d+)*\)", "", " ".join(text.split()))


def attribute_docs(kind: type) -> dict[str, str]:
    """The string after each attribute of a class, which Python does not keep."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: ast.literal_eval(told.value)
        for field, told in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(told, ast.Expr)
        and isinstance(told.value, ast.Constant)
    }  # fmt: skip


# the command line


def every_command() -> list[tuple[str, str, App]]:
    """Heading, command and app of each command, in the order of the help."""
    named = [(name, f"{commands.name[0]} {name}", commands[name]) for name in commands if not name.startswith("-")]
    parts = [(f"replay {name}", f"{replay.name[0]} {name}", app) for name, app in below(replay)]
    return [*named, ("replay", replay.name[0], replay), *parts, ("The fake ComfyUI", fake.name[0], fake)]


def below(app: App) -> Iterator[tuple[str, App]]:
    """The commands of a command; of one that has some of its own, those."""
    for name in app:
        if not name.startswith("-"):
            nested = list(below(app[name]))
            yield from [(f"{name} {each}", command) for each, command in nested] or [(name, app[name])]


def command_line() -> str:
    told = table("exit status", "means", rows=STATUSES.items())
    parts = ["## Exit statuses\n", told, *(section(*each) for each in every_command())]
    return "\n".join(parts)


def section(heading: str, command: str, app: App) -> str:
    arguments = [each for each in app.assemble_argument_collection(parse_docstring=True) if each.show]
    usage = (app.usage or "").removeprefix("Usage: ") or " ".join([command, *needed(arguments)])
    rows = [[f"`{spelled(each)}`", defaulted(each), plain(each.parameter.help or "")] for each in arguments]
    about = plain(inspect.cleandoc(app.help or "").partition("\n\nParameters\n")[0])
    options = table("option", "default", "what it does", rows=rows)
    ends = [statuses(app)] if "Exit status: " in str(app.help_epilogue) else []
    return "\n".join([f"## {heading}\n", f"    {usage}\n", f"{about}\n", options, *ends])


def by_place(argument: Any) -> bool:
    return argument.field_info.kind.name != "KEYWORD_ONLY"


def needed(arguments: Iterable[Any]) -> Iterator[str]:
    """What a command line must have, after its options."""
    yield "[OPTIONS]"
    for each in arguments:
        if by_place(each):
            yield each.name.lstrip("-").upper()
        elif each.required:
            yield spelled(each)


def spelled(argument: Any) -> str:
    """An option with what it takes."""
    if not argument.name.startswith("-"):
        return str(argument.name)
    hints = [argument.hint, *get_args(argument.hint)]
    choices = next((get_args(hint) for hint in hints if get_origin(hint) is Literal), ())
    words = {bool: "", int: "N", float: "SECONDS"}
    takes = "|".join(map(str, choices)) or next((words[hint] for hint in hints if hint in words), value(argument))
    several = any(hint is list or get_origin(hint) is list for hint in hints)
    names = ", ".join([*([argument.name.lstrip("-").upper()] if by_place(argument) else []), *argument.names])
    return f"{names} {takes}{'...' if several else ''}".strip()


def value(argument: Any) -> str:
    told = argument.parameter.help or ""
    if found := re.match(r"([A-Z]+=[A-Z]+)\b", told):
        return found[1]
    return {"--server": "URL", "--log": "FILE", "--ca": "FILE", "--token-env": "NAME", "--host": "ADDRESS"}.get(
        argument.name, "VALUE"
    )


def defaulted(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required or (argument.field_info.kind.name == "VAR_POSITIONAL" and "[" not in argument.name):
        return "required"
    return "" if default in (None, False, inspect.Parameter.empty, [], "") else f"`{default}`"


def statuses(app: App) -> str:
    told = " ".join(str(app.help_epilogue).split()).partition("Exit status: ")[2].rstrip(".")
    pairs = [re.fullmatch(r"(\d+(?: or \d+)?) (.*)", part.strip()) for part in told.split(" · ")]
    return table("exit status", "means", rows=[[pair[1], pair[2]] for pair in pairs if pair])


# the rest


def policy() -> str:
    docs, default = attribute_docs(Policy), Policy()
    units = {"seconds": "seconds", "bytes": "bytes", "characters": "characters", "times": "times"}
    return table("field", "unit", "default", "what it is for", rows=[
        [f"`{name}`", units.get(name.rpartition("_")[2], "a count"), f"`{getattr(default, name):,}`", plain(docs[name])]
        for name in Policy.__struct_fields__
    ])  # fmt: skip


def every_error() -> list[type[ComfyFsmError]]:
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ComfyFsmError)]


def error_table() -> str:
    faults = dict(re.findall(r"(\w+) .*\(fault: (.*)\)", errors.__doc__ or ""))
    rows = []
    for each in every_error():
        fault = faults.get(each.__name__, "").replace("caller's", "caller").replace("'s", "")
        when = plain(each.__doc__ or "").removeprefix("Raised when ")
        rows.append([f"`{each.__name__}`", f"`{each.__base__.__name__}`", fault, when])
    return table("error", "is a", "at fault", "raised when", rows=rows)


def task_errors() -> str:
    rows = [
        [f"`{each.__name__}`", "yes" if each.safe_to_retry else "no", each.happened, each.again]
        for each in every_error() if issubclass(each, TaskError) and each is not TaskError
    ]  # fmt: skip
    return table("error", "`safe_to_retry`", "the task", "a second run", rows=rows)


def drawing() -> str:
    return f"```mermaid\n{diagram().rstrip()}\n```\n"


def moves() -> str:
    """The moves that lead somewhere; states that share a reason share a row."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in TABLE:
        if row.next is not row.state:
            groups.setdefault((row.signal, row.next, row.why), []).append(f"`{row.state}`")
    rows = [[", ".join(states), f"`{signal}`", f"`{to}`", why] for (signal, to, why), states in groups.items()]
    return table("from", "signal", "to", "because", rows=rows)


def findings() -> str:
    rows = [[f"`{row.code}`", row.severity, row.meaning, row.advice] for row in CODES.values()]
    return table("code", "severity", "means", "what to do", rows=rows)


def knob_table() -> str:
    rows = [[each.group, f"`{each.name}`", takes(each), shown(each.default), each.description] for each in knobs()]
    return table("about", "knob", "takes", "default", "what goes wrong", rows=rows)


def shown(default: object) -> str:
    return f"`{'set()' if default == set() else repr(default)}`"


def takes(knob: Knob) -> str:
    if isinstance(knob.default, dict):
        return "seconds by route" if "Seconds" in knob.description else "counts by route"
    kinds = {bool: "true or false", int: "a count", float: "seconds", set: "types", tuple: "a count, a status"}
    return kinds.get(type(knob.default), "text")


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "command-line.md": {"commands": command_line},
    "policy.md": {"policy": policy},
    "machine.md": {"diagram": drawing, "moves": moves},
    "errors.md": {"errors": error_table, "task errors": task_errors},
    "findings.md": {"findings": findings},
    "testing.md": {"knobs": knob_table},
}


def rendered(page: str) -> str:
    """The page with its tables made anew."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    for name, make in TABLES[page].items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert end, f"{page} has no place for {name}"
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def main() -> None:
    for page in TABLES:
        (REFERENCE / page).write_text(rendered(page), encoding="utf-8")


if __name__ == "__main__":
    main()
