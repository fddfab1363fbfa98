"""`comfy-replay diff A [B]`: which tasks are judged otherwise by two traces, two policies or two releases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from comfy_fsm.exits import Wrong
from replay.options import Format, source

if TYPE_CHECKING:
    from comfy_fsm.core.policy import Policy
    from replay.comparison.difference import Difference, Pairing, Report

__all__ = ["diff"]

_SAME, _OTHERWISE = 0, 1


def diff(
    one: Annotated[str, Parameter(name="A")],
    other: Annotated[str | None, Parameter(name="B")] = None,
    /,
    *,
    policy: Annotated[list[str] | None, Parameter(name="--policy", negative="")] = None,
    python: Annotated[list[str] | None, Parameter(name="--python", negative="")] = None,
    format: Format = "text",
) -> int:
    """Compare how tasks are judged: by two traces of one scenario, under two policies, or by two installed releases.

    Parameters
    ----------
    one
        A trace, log or capture.
    other
        Another one; without it, the same under --policy or by --python.
    policy
        NAME=VALUE of a policy, such as absences=1; may be repeated. The other side is judged by it.
    python
        A Python that has another release installed. Given twice, the first judges A, and the second the other side.
    format
        Text to read, or json (version 1) to process.
    """
    from replay.comparison.difference import differences, pair

    a, b = source(one), source(other if other is not None else one)
    _refuse(a, b, other, policy, python or [])
    left, right = _reports(a, b, policy or [], python or [])
    pairing = pair(left.tasks, right.tasks)
    found = differences(pairing, same_lines=other is None)
    if format == "json":
        _print_json(found, pairing)
    else:
        _tell(found, pairing)
    return _OTHERWISE if found else _SAME


def _reports(a: str, b: str, policy: list[str], pythons: list[str]) -> tuple[Report, Report]:
    from replay.comparison.reports import report_by, report_of

    left = report_by(pythons[0], a) if len(pythons) > 1 else report_of(a)
    if pythons:
        return left, report_by(pythons[-1], b)
    return left, report_of(b, _policy(policy, left.trace.policy or {}) if policy else None)


def _refuse(a: str, b: str, other: str | None, policy: list[str] | None, pythons: list[str]) -> None:
    if other is None and not policy and not pythons:
        raise Wrong("name two traces, or one with --policy NAME=VALUE or --python PATH")
    if a == "-" or b == "-":
        raise Wrong("diff reads its traces more than once, or in another process: name files, not standard input")
    if len(pythons) > 2:
        raise Wrong("--python may be given once or twice: one for each side")
    if policy and pythons:
        raise Wrong("--policy and --python change one thing each; compare one after the other")


def _policy(pairs: list[str], stated: dict[str, float]) -> Policy:
    """Return the policy that a log states, with these changes."""
    import msgspec

    from comfy_fsm.core.policy import DEFAULT

    changes: dict[str, float | int] = {name: value for name, value in stated.items() if hasattr(DEFAULT, name)}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in DEFAULT.__struct_fields__:
            raise Wrong(f"--policy {pair!r} is no NAME=VALUE of a policy; docs/reference/policy.md lists the names")
        changes[name] = _number(name, value)
    return msgspec.structs.replace(DEFAULT, **changes)


def _number(name: str, value: str) -> float | int:
    import msgspec

    from comfy_fsm.core.policy import DEFAULT

    kind = type(getattr(DEFAULT, name))
    try:
        return msgspec.convert(value, int if kind is int else float, strict=False)
    except msgspec.ValidationError:
        raise Wrong(f"--policy {name}={value!r} is no number of that kind") from None


def _print_json(found: list[Difference], pairing: Pairing) -> None:
    import msgspec

    told = {"diff": 1, "paired_by": pairing.by, "pairs": len(pairing.pairs), "tasks": found}
    text = msgspec.json.encode(told).decode()
    print(text if text.isascii() else text.encode("ascii", "backslashreplace").decode())


def _tell(found: list[Difference], pairing: Pairing) -> None:
    from comfy_fsm.display import harmless, plural

    how = "by prompt id" if pairing.by == "id" else "by the order in which each window submitted them: no id is common"
    print(f"{plural(len(pairing.pairs), 'task')}, paired {how}; {len(found) or 'none'} judged otherwise")
    for each in found:
        print(f"task {harmless(each.prompt_id or '(no id)', 60)}  {each.kind}: {_value(each.a)} | {_value(each.b)}")
        if each.first is not None:
            first = each.first
            print(f"  first: {_signal(first.line, first.signal)} | {_signal(first.other_line, first.other_signal)}")
    sys.stdout.flush()


def _value(value: object) -> str:
    from comfy_fsm.display import harmless

    if isinstance(value, list | tuple):
        return harmless(", ".join(map(str, value)) or "none", 200)
    return harmless("none" if value is None else value, 200)


def _signal(line: int | None, signal: str | None) -> str:
    return "nothing more" if signal is None else f"line {line} {signal}"
