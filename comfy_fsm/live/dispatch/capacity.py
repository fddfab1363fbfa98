"""Capacities and weights of servers, as a dispatcher is given them, by address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_fsm.core.scheduling.breaker import Breaker
from comfy_fsm.core.scheduling.scheduler import ServerLoad
from comfy_fsm.errors import BadServerUrl, ClientError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.addresses import address_of

__all__ = ["loads_of", "must_be_positive"]


def loads_of(
    client: Client, capacity: int | Mapping[str, int], weights: Mapping[str, float], fresh: Breaker
) -> list[ServerLoad]:
    """Return the load of each server of the client, with its capacity and weight."""
    capacities = dict.fromkeys(client.servers, 2) | _by_server(client, capacity)
    weighed = dict.fromkeys(client.servers, 1.0) | _by_server(client, weights)
    must_be_positive(**{f"the capacity of {url}": value for url, value in capacities.items()})
    must_be_positive(**{f"the weight of {url}": value for url, value in weighed.items()})
    return [ServerLoad(url, capacities[url], weighed[url], replace(fresh)) for url in client.servers]


def _by_server(client: Client, given: Any) -> dict[str, Any]:
    """Return a setting by address; raises BadServerUrl for an address that is not one of the client's servers."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(client.servers, given)
    named = {address_of(url)[0]: value for url, value in given.items()}
    if strange := named.keys() - set(client.servers):
        raise BadServerUrl(f"{min(strange)} is not among the servers of this client ({', '.join(client.servers)})")
    return named


def must_be_positive(**given: float) -> None:
    for name, value in given.items():
        if not value > 0:
            raise ClientError(f"{name} is {value!r} and must be above 0, so no dispatcher was opened")
