"""Gate that holds the transactions of a log, so that what waits for one can be looked at."""

import asyncio
import threading


class Gate:
    """Holds every transaction in the connection's thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)
