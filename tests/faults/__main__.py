"""Table of faults: plays every scenario, at the servers in COMFYUI_URLS or at fakes, and prints Markdown.

python -m tests.faults [NAME…] [--scale 0.05] [--at-once 8] [--write docs/explanation/faults.md]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from tests.faults import table
from tests.faults.rig import Row, play_all, play_at
from tests.faults.table import SCENARIOS


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Every fault, and what came of it.")
    parser.add_argument("names", nargs="*", help="words of the scenarios' names; all if none")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how much shorter every time is; 1 is the default policy"
    )
    parser.add_argument("--at-once", type=int, default=12, help="scenarios played at a time, each at a fake of its own")
    parser.add_argument("--version", default="0.3.64", help="which ComfyUI the fakes are")
    parser.add_argument("--write", help="the page that is to hold the table; lines of others stay")
    given = parser.parse_args(words)
    logging.disable(logging.ERROR)
    chosen = [each for each in SCENARIOS if not given.names or any(name in each.name for name in given.names)]
    urls = [url for url in os.environ.get("COMFYUI_URLS", "").split(",") if url]
    servers, rows = asyncio.run(_play(chosen, urls, given))
    drawn = table.draw(servers, rows, given.scale)
    print(drawn)
    if given.write:
        table.write(given.write, servers, rows, given.scale)
    return int(any(row.wrong for row in rows))


async def _play(chosen: list[table.Scenario], urls: list[str], given: argparse.Namespace) -> tuple[str, list[Row]]:
    if not urls:
        return f"fake {given.version}", await play_all(chosen, given.scale, given.at_once, given.version)
    return await play_at(urls, chosen, given.scale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
