"""Faults done to each trace, one at a time, and what comes of it: `corpus sweep`."""

from __future__ import annotations

from comfy_fsm.errors import TraceError
from replay.corpora.analyses.analysis import Analysis, Answer, Row
from replay.faults.faults import MOST_LINES, words
from replay.faults.sweep import Swept, sweep
from replay.lines.reading import Lines, read

__all__ = ["FAULTS", "SWEEP"]

FAULTS = "faults"


def _ask(path: str) -> Answer:
    whole = read(path)
    if len(whole.lines) > MOST_LINES:
        raise TraceError(
            f"{whole.name}: {len(whole.lines):,} lines, of which a sweep would replay each fault, for hours; "
            f"cut out at most {MOST_LINES:,} that matter"
        )
    found = sorted(sweep(whole.lines), key=lambda swept: (swept.fault.index, swept.fault.kind))
    rows = [_row(swept, whole) for swept in found]
    return Answer((len(whole.lines), len(rows)), {FAULTS: rows})


def _row(swept: Swept, whole: Lines) -> Row:
    fault, consequence = swept.fault, swept.consequence
    ids = [key[1] for key, _, _ in consequence.tasks]
    before, after = [one for _, one, _ in consequence.tasks], [other for _, _, other in consequence.tasks]
    text = None if consequence.is_nothing else words(fault, whole.lines)
    line = whole.lines[fault.index].number
    return (fault.kind, line, consequence.effect, text, ids, before, after, consequence.added, consequence.gone)


SWEEP = Analysis(
    name="sweep",
    traces={"lines": int, "faults": int},
    others={
        FAULTS: {"kind": str, "line": int, "effect": str, "text": str}
        | dict.fromkeys(("tasks", "before", "after", "findings_added", "findings_gone"), list[str])
    },
    ask=_ask,
    fewest=1,
)
