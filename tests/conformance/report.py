"""The page of how it went: which scenarios against which servers, with what result."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from tests.conformance.scenario import Scenario

PAGE = """\
# Conformance

How a ComfyUI server behaves is written down in this project as facts with numbers, P1, P2 and so on, which the code cites. Here each
fact is played against servers: real ones, and the fake that the tests of this project, and of those who embed it, run against. So the
fake is known to behave as the real one does. The scenarios are in [tests/conformance](../tests/conformance); they speak HTTP and
WebSocket to the server by themselves, without the client on top of it.

## Servers

{servers}

## Scenarios

| sign | meaning |
|---|---|
| yes | it did as the sentence says |
| **no** | it did not |
| – | not played: the sentence holds for newer servers only, or this one lacks what it needs (the model, a second server) |

{scenarios}

Not played, since built-in nodes or a server that lives on cannot show them: a client that stops reading (P6), a killed server (P8, and
the rest of P27), expansion (P17), blocked outputs (P19), a stale status (P24), proxies (P33), a dead worker (P34).

## Again

Without a real server, against the fakes alone, this is part of every test run. Against real ones:

1. Start one or two that nobody else uses: the scenarios clear the queue, interrupt what runs and empty the history. No GPU is needed:

   ```
   python tests/conformance/tiny_model.py COMFYUI/models/diffusion_models
   python main.py --cpu --listen 127.0.0.1 --port 8188 --disable-all-custom-nodes --disable-api-nodes --preview-method latent2rgb
   ```

   The first line writes a model of noise, for progress and previews; without it, or without the preview method, those are not shown.

2. Play. Without the last variable no page is written:

   ```
   COMFYUI_URLS=http://127.0.0.1:8188,http://127.0.0.1:8189 COMFYUI_CONFORMANCE_REPORT=docs/conformance.md \\
       python -m pytest tests/conformance
   ```
"""
SIGNS = {"passed": "yes", "failed": "**no**", "skipped": "–"}


class About(NamedTuple):
    """Which server it is, in words for a reader."""

    name: str
    version: str
    machine: str


@dataclass
class Row:
    """How one scenario ended at one server."""

    scenario: Scenario
    place: str
    about: About = About("unreachable", "", "")
    result: str = "failed"


def table(head: list[str], lines: list[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def page(rows: list[Row], rooms: dict[str, list[Scenario]]) -> str:
    places = {row.place: row.about for row in rows}
    results = {(row.scenario, row.place): row.result for row in rows}
    day = datetime.now(UTC).date().isoformat()
    counts = {place: Counter(row.result for row in rows if row.place == place) for place in places}
    servers = [
        [about.name, about.machine, day, *(str(counts[place][result]) for result in ("passed", "failed"))]
        for place, about in places.items()
    ]
    parts = []
    for room, scenarios in rooms.items():
        lines = [
            [
                scenario.sentence,
                " ".join(scenario.facts),
                *(SIGNS[results.get((scenario, place), "skipped")] for place in places),
            ]
            for scenario in scenarios
        ]
        parts.append(f"### {room}\n\n" + table(["what is so", "facts", *(a.name for a in places.values())], lines))
    head = ["server", "on", "date", "yes", "no"]
    return PAGE.format(servers=table(head, servers), scenarios="\n\n".join(parts))
