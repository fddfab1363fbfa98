"""All scenarios, and the table that tells how they went."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from tests.faults import answers, clocks, commanding, lies, posts, sockets
from tests.faults.rig import SCENARIOS, Row, Scenario

__all__ = ["SCENARIOS", "Row", "Scenario", "draw", "write"]
ROOMS = (sockets, posts, answers, lies, clocks, commanding)


def draw(servers: str, rows: list[Row], scale: float) -> str:
    """Markdown: a line for each scenario, then how many are right."""
    head = [
        "| scenario | what goes wrong | the truth | told | in the log at the end | runs | deliveries "
        "| seconds after the truth | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines = [_line(row) for row in rows]
    right = [row for row in rows if not row.wrong]
    after = [row.after for row in right if row.after is not None]
    median = f"; the verdict comes {statistics.median(after):.2f} s after the truth at the median" if after else ""
    late = sum(row.late for row in right)
    pace = "" if scale == 1.0 else f" Every time was {1 / scale:g} times shorter, and is told here as it would be."
    said = f"{servers}: {len(right)} of {len(rows)} come out right{median}; {late} of them later than wanted.{pace}"
    return "\n".join([said, "", *head, *lines])


def _line(row: Row) -> str:
    played = row.scenario
    after = "" if row.after is None else f"{row.after:.1f}"
    if played.within is not None and after:
        after += f" (of {played.within:g})"
    verdict = "; ".join(row.wrong) if row.wrong else "late" if row.late else "right"
    final = row.final if row.final != row.outcome else ""
    cells = (played.name, played.fault, played.truth, row.outcome, final, row.runs, row.deliveries, after, verdict)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def write(page: str, servers: str, drawn: str) -> None:
    """Put it into its place on the page: between the marks of these servers."""
    path = Path(page)
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {servers} -->", f"<!-- end of {servers} -->"
    block = f"{begin}\n{drawn}\n{end}"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = found.sub(lambda _: block, text) if found.search(text) else f"{text.rstrip()}\n\n{block}\n"
    path.write_text(text, encoding="utf-8")
