"""Tests of a queue: a slow reader misses what is outdated, and neither an end nor an image of a result."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.updates import Update
from comfy_fsm.live.client.update_queue import WAITING, UpdateQueue


async def read(queue: UpdateQueue) -> list[Update]:
    queue.end()
    return [update async for update in queue]


async def test_of_what_waits_no_image_of_a_result_is_replaced_or_makes_room() -> None:
    class Stored:
        lost = ""

        def __init__(self, number: int) -> None:
            self.number = number

        def read(self) -> bytes:
            return b"%d" % self.number

    queue = UpdateQueue()
    for number in range(1_500):
        queue.put(Update("p", "image", 0.0, "9", text=f"{number}"), Stored(number))
        queue.put(Update("p", "progress", 0.0, f"{number}"))
    assert queue.images == 1_500
    queue.end()
    told = [update async for update in queue]
    assert [update.image for update in told if update.name == "image"] == [b"%d" % number for number in range(1_500)]
    assert sum(update.name == "progress" for update in told) == 1_000


@given(st.lists(st.tuples(st.sampled_from(["progress", "executing", "text"]), st.sampled_from("123")), max_size=30))
def test_of_each_node_the_latest_update_of_a_kind_is_read_in_the_order_of_coming(told: list[tuple[str, str]]) -> None:
    queue = UpdateQueue()
    for number, (name, node) in enumerate(told):
        queue.put(Update("p", name, float(number), node))
    latest = {key: float(number) for number, key in enumerate(told)}
    found = asyncio.run(read(queue))
    assert [update.at for update in found] == sorted(latest.values())
    assert {(update.name, update.node): update.at for update in found} == latest


async def test_beyond_the_bound_the_oldest_makes_room() -> None:
    queue = UpdateQueue()
    for number in range(WAITING + 5):
        queue.put(Update("p", "progress", float(number), f"{number}"))
    assert [update.at for update in await read(queue)] == [float(number) for number in range(5, WAITING + 5)]


async def test_a_reader_that_waits_is_woken_by_an_update_and_by_the_end() -> None:
    queue, found = UpdateQueue(), list[Update]()

    async def follow() -> None:
        async for update in queue:
            found.append(update)

    reading = asyncio.create_task(follow())
    await asyncio.sleep(0)
    queue.put(Update("p", "progress", 1.0, "1"))
    await asyncio.sleep(0)
    assert [update.at for update in found] == [1.0]
    queue.end()
    await asyncio.wait_for(reading, 10)
