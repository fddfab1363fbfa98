"""Client process to be killed or suspended: submits one workflow, and prints each delivery.

python -m tests.faults.worker LOG URL SCALE GRAPH
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from comfy_fsm import Policy
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from tests.faults.rig import quickened, scaled


async def work(log: str, url: str, scale: float, graph: dict[str, Any]) -> None:
    with quickened(scale):
        async with Client(url, log=log, policy=scaled(Policy(), scale)) as client:
            task = await client.window().submit(graph)
            try:
                state = (await task).state
            except TaskError as error:
                state = error.result.state
            print(state, flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3]), json.loads(Path(sys.argv[4]).read_text("utf-8"))))
