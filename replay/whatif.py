"""`comfy-replay whatif TRACE`: what would have come of a trace with one fault more, or with each of all faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from comfy_fsm.exits import Wrong
from replay.options import Format, note, source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from replay.faults.consequences import Consequence, Effect
    from replay.faults.faults import Fault
    from replay.faults.sweep import Swept
    from replay.lines.reading import Line

__all__ = ["effects", "whatif"]

_NOTHING, _SOMETHING = 0, 1
_MANY = 20
"""Faults with consequences that are told in text; as JSON all are."""
_At = Annotated[int | None, Parameter(validator=validators.Number(gte=1))]
_KINDS = {
    "drop": "a frame dropped", "double": "a frame doubled", "cut": "a socket cut for 1 s before a frame",
    "lose": "an answer lost", "forget": "a server that forgets before an answer",
}  # fmt: skip
_ASKED_AGAIN = "a live client asks again, which no trace shows"


@Parameter(name="*")
@dataclass(frozen=True)
class _Chosen:
    """Fault that is done to a line of the trace.

    Parameters
    ----------
    sweep
        Try every single fault: each frame dropped, doubled, its socket cut before it; each answer lost, its server
        forgetful. --delay and --swap are not among them: how late a line comes is for you to say.
    drop
        Leave out this line.
    double
        Let this line come twice.
    delay
        Let this line come later, by --seconds; a frame holds up those behind it.
    swap
        Let this line and the next one of its socket, or of its window's exchanges, change places.
    cut
        Cut the socket of this line just before it, for --seconds.
    lose
        Lose this answer: the request times out.
    forget
        Let the server of this line forget everything just before it.
    seconds
        How late a line comes, or how long a socket is away.
    """

    sweep: Annotated[bool, Parameter(name="--sweep", negative="", show_default=False)] = False
    drop: Annotated[_At, Parameter(name="--drop")] = None
    double: Annotated[_At, Parameter(name="--double")] = None
    delay: Annotated[_At, Parameter(name="--delay")] = None
    swap: Annotated[_At, Parameter(name="--swap")] = None
    cut: Annotated[_At, Parameter(name="--cut")] = None
    lose: Annotated[_At, Parameter(name="--lose")] = None
    forget: Annotated[_At, Parameter(name="--forget")] = None
    seconds: Annotated[float, Parameter(name="--seconds", validator=validators.Number(gt=0))] = 1.0


_NONE = _Chosen()


def whatif(
    trace: Annotated[str, Parameter(name="TRACE")], /, *, chosen: _Chosen = _NONE, format: Format = "text"
) -> int:
    """Tell how a trace would have been judged with one fault more: which tasks, errors and warnings would differ.

    Parameters
    ----------
    trace
        The trace, log or capture; - for standard input.
    format
        Text to read, or json (version 1) to process.
    """
    from replay.faults.faults import MOST_LINES
    from replay.lines.reading import read

    path = source(trace)
    fault = _fault(chosen)
    whole = read(path)
    for each in whole.notes:
        note(each)
    if fault is None and len(whole.lines) > MOST_LINES:
        raise Wrong(
            f"--sweep replays a trace for each fault, and {len(whole.lines):,} lines would take hours; "
            f"cut out at most {MOST_LINES:,} that matter"
        )
    found = _swept(whole.lines) if fault is None else [_single(fault, whole.lines, path)]
    if format == "json":
        _print_json(found, whole.lines, single=fault is not None)
    elif fault is None:
        _tell_sweep(found, whole.lines, path)
    else:
        _tell(found[0], whole.lines)
    return _SOMETHING if any(not each.consequence.is_nothing for each in found) else _NOTHING


def _fault(chosen: _Chosen) -> Fault | None:
    """Return the fault with the number of its line as its index; None for all faults."""
    from replay.faults.faults import Fault, Kind

    named: dict[Kind, int | None] = {
        "drop": chosen.drop, "double": chosen.double, "delay": chosen.delay, "swap": chosen.swap, "cut": chosen.cut,
        "lose": chosen.lose, "forget": chosen.forget,
    }  # fmt: skip
    faults = [Fault(kind, line, chosen.seconds) for kind, line in named.items() if line is not None]
    if len(faults) + chosen.sweep != 1:
        raise Wrong("name one fault, such as --drop LINE, or --sweep for every single one")
    return faults[0] if faults else None


def _single(fault: Fault, lines: Sequence[Line], path: str) -> Swept:
    import msgspec

    from replay.faults.consequences import compare, judge
    from replay.faults.faults import apply, is_possible, observed
    from replay.faults.sweep import Swept

    index = next((n for n, line in enumerate(lines) if line.number == fault.index), None)
    if index is None:
        raise Wrong(f"{path} has no line {fault.index}, or it is blank or a comment")
    placed, seen = msgspec.structs.replace(fault, index=index), observed(lines)
    if not is_possible(placed, seen):
        needs = {"lose": "an answer", "cut": "a frame", "swap": "a line with a next one", "forget": "a server's line"}
        raise Wrong(f"--{fault.kind} {fault.index}: that line is not {needs[fault.kind]}")
    return Swept(placed, compare(judge(seen), judge(apply(placed, seen))))


def _swept(lines: Sequence[Line]) -> list[Swept]:
    from replay.faults.sweep import sweep

    return sorted(sweep(lines), key=lambda swept: (swept.fault.index, swept.fault.kind))


def _print_json(found: list[Swept], lines: Sequence[Line], *, single: bool) -> None:
    import msgspec

    from replay.faults.faults import words

    told = [
        {
            "fault": words(swept.fault, lines),
            "kind": swept.fault.kind,
            "line": lines[swept.fault.index].number,
            "tasks": [
                {"prompt_id": key[1], "before": one, "after": other} for key, one, other in swept.consequence.tasks
            ],
            "findings_added": swept.consequence.added,
            "findings_gone": swept.consequence.gone,
        }
        for swept in found
        if single or not swept.consequence.is_nothing
    ]
    tried = Counter(swept.fault.kind for swept in found)
    text = msgspec.json.encode({"whatif": 1, "tried": tried, "faults": told}).decode()
    print(text if text.isascii() else text.encode("ascii", "backslashreplace").decode())


def _tell(swept: Swept, lines: Sequence[Line]) -> None:
    from comfy_fsm.display import harmless
    from replay.faults.faults import words

    print(harmless(words(swept.fault, lines), 400))
    for line in _consequences(swept.consequence):
        print(f"  {line}")
    if swept.fault.kind == "lose" and swept.consequence.is_grave:
        print(f"  ({_ASKED_AGAIN})")


def _consequences(consequence: Consequence) -> list[str]:
    from comfy_fsm.display import harmless

    lines = [
        f"task {harmless(key[1] or '(no id)', 60)}: {one or 'not there'} → {other or 'not there'}"
        for key, one, other in consequence.tasks
    ]
    lines += [f"+ {code}" for code in consequence.added] + [f"- {code}" for code in consequence.gone]
    return lines or ["nothing changes"]


def _tell_sweep(found: list[Swept], lines: Sequence[Line], path: str) -> None:
    from comfy_fsm.display import harmless, plural

    print(f"{harmless(path, 200)}: {plural(len(found), 'single fault')}")
    for line in effects(Counter((swept.fault.kind, swept.consequence.effect) for swept in found)):
        print(line)
    print(fill(_survives([swept for swept in found if swept.fault.kind == "drop"], lines), 80))
    if any(swept.fault.kind == "lose" and swept.consequence.is_grave for swept in found):
        print(f"Where an answer is lost, {_ASKED_AGAIN}.")
    _tell_grave([swept for swept in found if swept.consequence.is_grave], lines)


def effects(counted: Mapping[tuple[str, Effect | None], int]) -> Iterator[str]:
    """Yield a table of how many faults of each kind there were, and what changed at most."""
    from replay.faults.consequences import EFFECTS

    yield f"{'tried':>9}{'a task':>9}{'an error':>10}{'a warning':>11}  changed at most, by"
    for kind, name in _KINDS.items():
        task, error, warning, nothing = (counted.get((kind, effect), 0) for effect in (*EFFECTS, None))
        if tried := task + error + warning + nothing:
            yield f"{tried:9,}{task:9,}{error:10,}{warning:11,}  {name}"


def _tell_grave(found: list[Swept], lines: Sequence[Line]) -> None:
    """Tell what changes a task or an error; faults of one kind with the same consequence stand together."""
    groups: dict[tuple[str, Consequence], list[int]] = {}
    for swept in found:
        groups.setdefault((swept.fault.kind, swept.consequence), []).append(lines[swept.fault.index].number)
    for (kind, consequence), numbers in list(groups.items())[:_MANY]:
        print(
            fill(f"{_KINDS[kind]}, at line{'s' * (len(numbers) > 1)} {_listed(numbers)}", 80, subsequent_indent="    ")
        )
        for told in _consequences(consequence):
            print(f"  {told}")
    if len(groups) > _MANY:
        print(f"and {len(groups) - _MANY} more; --format json tells all")


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MANY]))
    return shown if len(numbers) <= _MANY else f"{shown} and {len(numbers) - _MANY} more"


def _survives(drops: list[Swept], lines: Sequence[Line]) -> str:
    fatal = [lines[swept.fault.index].number for swept in drops if swept.consequence.is_grave]
    if not drops:
        return "It has no frame that could be lost."
    if not fatal:
        return "It survives the loss of any single frame."
    named = "line" if len(fatal) == 1 else "those of lines"
    return f"It survives the loss of any single frame but {named} {_listed(fatal)}."
