"""Tests of capacities and weights: of every server, of some, and of none that the client does not have."""

from typing import Any

import pytest

from comfy_fsm.core.scheduling.breaker import Breaker
from comfy_fsm.errors import BadServerUrl, ClientError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.capacity import loads_of

ONE, TWO = "http://127.0.0.1:1", "http://127.0.0.1:2"


def loads(capacity: Any, weights: Any = None) -> list[tuple[str, int, float]]:
    given = loads_of(Client([ONE, TWO]), capacity, weights or {}, Breaker())
    return [(load.url, load.capacity, load.weight) for load in given]


def test_one_number_is_that_of_every_server() -> None:
    assert loads(3) == [(ONE, 3, 1.0), (TWO, 3, 1.0)]


def test_a_server_that_is_not_named_has_two_places_and_the_weight_of_one() -> None:
    assert loads({f"{TWO}/": 5}, {ONE: 0.5}) == [(ONE, 2, 0.5), (TWO, 5, 1.0)]


@pytest.mark.parametrize("setting", [(3, {"http://127.0.0.1:3": 1.0}), ({"http://127.0.0.1:3": 1}, {})])
def test_a_server_that_the_client_does_not_have_is_named(setting: tuple[Any, Any]) -> None:
    with pytest.raises(BadServerUrl, match=r"127\.0\.0\.1:3 is not among the servers"):
        loads(*setting)


@pytest.mark.parametrize("setting", [(0, {}), ({ONE: -1}, {}), (1, {ONE: 0.0}), (1, {TWO: float("nan")})])
def test_nothing_below_one_place_and_no_weight_of_nothing_opens_a_dispatcher(setting: tuple[Any, Any]) -> None:
    with pytest.raises(ClientError, match="no dispatcher was opened"):
        loads(*setting)


def test_each_server_has_a_breaker_of_its_own() -> None:
    first, second = loads_of(Client([ONE, TWO]), 1, {}, Breaker())
    assert first.breaker is not second.breaker
