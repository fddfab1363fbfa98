"""Closed vocabularies: each word of ours has its row, so that a misspelled one is found by mypy, not by a user."""

from __future__ import annotations

from typing import get_args

from comfy_fsm.core.findings import CODES, Code
from comfy_fsm.core.fold.board import _COMMANDS
from comfy_fsm.core.observations import CommandName, DamageCode
from comfy_fsm.core.registry.acts import ACTS
from comfy_fsm.core.wire import routes


def test_every_code_has_a_row_and_every_row_a_code() -> None:
    assert list(CODES) == list(Code)
    assert all(row.code is code for code, row in CODES.items())


def test_what_a_reader_reports_as_damage_is_a_finding() -> None:
    assert set(get_args(DamageCode)) <= set(CODES)


def test_every_kind_of_request_has_a_route_and_every_act_its_causes() -> None:
    plain, acts = (get_args(each) for each in get_args(routes.Kind))
    assert {route.kind for route in routes.ROUTES} | {routes.OTHER} == {*plain, *acts}
    assert set(ACTS) == set(acts)


def test_every_command_that_we_write_is_folded_and_no_other() -> None:
    assert set(_COMMANDS) == set(get_args(CommandName))
