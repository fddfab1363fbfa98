"""Table of all scenarios and their results."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from tests.faults import answers, clocks, commanding, lies, posts, sockets
from tests.faults.rig import SCENARIOS, Row, Scenario

__all__ = ["SCENARIOS", "Row", "Scenario", "draw", "write"]
ROOMS = (sockets, posts, answers, lies, clocks, commanding)


HEAD = (
    "| scenario | what goes wrong | the truth | told | in the log at the end | runs | deliveries "
    "| seconds after the truth | |",
    "|---|---|---|---|---|---|---|---|---|",
)


def draw(servers: str, rows: list[Row], scale: float) -> str:
    """Markdown: how many are right, then a line for each scenario."""
    pace = "" if scale == 1.0 else f" Every time was {1 / scale:.3g} times shorter, and is told here as it would be."
    return _headed(servers, [_line(row) for row in rows], pace)


def _headed(servers: str, lines: list[str], pace: str) -> str:
    cells = [[cell.strip() for cell in line.replace("\\|", "").split("|")] for line in lines]
    right = [each for each in cells if each[-2] in ("right", "late")]
    after = [float(each[-3].split()[0]) for each in right if each[-3]]
    median = f"; the verdict comes {statistics.median(after):.1f} s after the truth at the median" if after else ""
    late = sum(each[-2] == "late" for each in right)
    said = f"{servers}: {len(right)} of {len(lines)} come out right{median}; {late} of them later than wanted.{pace}"
    return "\n".join([said, "", *HEAD, *lines])


def _line(row: Row) -> str:
    played = row.scenario
    after = "" if row.after is None else f"{row.after:.1f}"
    if played.within is not None and after:
        after += f" (of {played.within:g})"
    verdict = "; ".join(row.wrong) if row.wrong else "late" if row.late else "right"
    final = row.final if row.final != row.outcome else ""
    cells = (played.name, played.fault, played.truth, row.outcome, final, row.runs, row.deliveries, after, verdict)
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"


def write(page: str, servers: str, rows: list[Row], scale: float) -> None:
    """Put them into their place on the page, between the marks of these servers; lines of others there stay."""
    path = Path(page)
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {servers} -->", f"<!-- end of {servers} -->"
    found = re.compile(re.escape(begin) + "(.*?)" + re.escape(end), re.DOTALL)
    before = found.search(text)
    drawn = draw(servers, rows, scale)
    if before is not None:
        told = before[1].strip().splitlines()
        lines = {_name(line): line for line in told[4:]} | {row.scenario.name: _line(row) for row in rows}
        names = [played.name for played in SCENARIOS if played.name in lines]
        pace = told[0].partition("later than wanted.")[2]
        drawn = _headed(servers, [lines[name] for name in names], pace)
    block = f"{begin}\n{drawn}\n{end}"
    text = found.sub(lambda _: block, text) if before is not None else f"{text.rstrip()}\n\n{block}\n"
    path.write_text(text, encoding="utf-8")


def _name(line: str) -> str:
    return line.split("|")[1].strip()
