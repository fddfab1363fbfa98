"""Coverage of each trace: what it reaches of the state machine and of the findings: `corpus cover`."""

from __future__ import annotations

from comfy_fsm.report.player import replay
from replay.comparison.coverage import reached
from replay.corpora.analyses.analysis import Analysis, Answer

__all__ = ["COVER", "COVERAGE"]

COVERAGE = "coverage"


def _ask(path: str) -> Answer:
    found = replay(path)
    rows, codes = reached(found)
    moves = [(row.state, row.signal, row.next, None) for row in rows]
    return Answer((len(found.tasks), len(rows), len(codes)), {COVERAGE: moves + [(None, None, None, c) for c in codes]})


COVER = Analysis(
    name="cover",
    traces={"tasks": int, "rows": int, "findings": int},
    others={COVERAGE: dict.fromkeys(("state", "signal", "next", "code"), str)},
    ask=_ask,
)
