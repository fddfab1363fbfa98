"""Report of the conformance run: which scenarios against which servers, with what result."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from tests.conformance.scenario import Scenario

PAGE = """\
# Conformance

This project describes the behaviour of ComfyUI as [numbered facts](protocol.md), P1, P2 and so on, which the code
cites. Here each fact is tested as a scenario, against real servers and against the fake (`comfy_fsm.testing`) that our
tests and those of our users run against. So you see that the facts are true of real servers, and that the fake behaves
like them. The scenarios are in [tests/conformance](../../tests/conformance). They talk to the server over HTTP and
WebSocket directly, without our client.

## Servers

{servers}

## Scenarios

| sign | meaning |
|---|---|
| yes | the server did what the sentence says |
| **no** | it did not |
| – | not played: it is about newer or older servers, or something is missing here (the model, a second server) |

{scenarios}

These facts are not played, since built-in nodes or one healthy server cannot show them: a client that stops reading
(P6), a server that is killed or restarted (P8, P27), expansion (P17), blocked outputs (P19), a stale status (P24, P40),
proxies (P33), a dead worker (P34), replaced classes (P48), intermediate outputs (P50), assets (P53, P54). `latest`
follows files newer than 0.33.0, which were only read: no such server was run, so that column shows only that the fake
follows our facts.

## Run it yourself

Every test run plays the scenarios against the fakes. To play them against real servers as well:

1. Start one or two servers that nobody else uses: the scenarios clear the queue, interrupt what runs and empty the
   history. No GPU is needed. The first line gives them a model that computes noise; without it, the scenarios about
   progress and previews are left out:

   ```
   python tests/conformance/tiny_model.py COMFYUI/models/diffusion_models
   python main.py --cpu --listen 127.0.0.1 --port 8188 --disable-all-custom-nodes --preview-method latent2rgb
   ```

2. Play the scenarios, and write this page:

   ```
   export COMFYUI_URLS=http://127.0.0.1:8188,http://127.0.0.1:8189
   COMFYUI_CONFORMANCE_REPORT=docs/reference/conformance.md python -m pytest tests/conformance
   ```
"""
SIGNS = {"failed": "**no**", "passed": "yes", "skipped": "–"}  # the first that any server of a name has is that name's


class About(NamedTuple):
    """Which server it is, in words for a reader."""

    name: str
    version: str = ""
    machine: str = ""


@dataclass
class Row:
    """How one scenario ended at one server."""

    scenario: Scenario
    about: About
    result: str = "failed"


def page(rows: list[Row], rooms: dict[str, list[Scenario]]) -> str:
    names = list(dict.fromkeys(row.about.name for row in rows))
    servers = [_server([row for row in rows if row.about.name == name]) for name in names]
    parts = [
        f"### {title}\n\n"
        + _table(["what is so", "facts", *names], [_line(rows, scenario, names) for scenario in room])
        for title, room in rooms.items()
    ]
    head = ["server", "on", "played on", "yes", "no"]
    return PAGE.format(servers=_table(head, servers), scenarios="\n\n".join(parts))


def _server(rows: list[Row]) -> list[str]:
    counts = Counter(row.result for row in rows)
    day = datetime.now(UTC).date().isoformat()
    return [rows[0].about.name, rows[0].about.machine, day, str(counts["passed"]), str(counts["failed"])]


def _line(rows: list[Row], scenario: Scenario, names: list[str]) -> list[str]:
    results = [{row.result for row in rows if row.scenario is scenario and row.about.name == name} for name in names]
    signs = [next((sign for result, sign in SIGNS.items() if result in found), "–") for found in results]
    return [scenario.sentence, " ".join(scenario.facts), *signs]


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
