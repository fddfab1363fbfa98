"""The policy: waits that grow to their limit, and what a header may change of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from comfy_fsm.core.policy import DEFAULT, IN_HEADER, Policy, differing, from_header, to_header


def test_waits_between_queries_never_shrink_and_end_at_the_limit() -> None:
    waits = [DEFAULT.pause(looks) for looks in range(40)]
    assert waits[0] == 0.0
    assert waits == sorted(waits)
    assert waits[-1] == DEFAULT.look_limit_seconds


@given(st.integers(-5, 10_000), st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_no_wait_is_longer_than_the_limit(looks: int, base: float, limit: float) -> None:
    assert 0.0 <= Policy(look_seconds=base, look_limit_seconds=limit).pause(looks) <= limit


def test_a_header_states_no_limit_on_memory() -> None:
    assert [name for name in IN_HEADER if not name.endswith("_seconds")] == [
        "unreachable_times",
        "absences",
        "resubmits",
    ]


values = st.floats(0.0, 1e6) | st.integers(0, 99)
policies = st.fixed_dictionaries({}, optional=dict.fromkeys(IN_HEADER, values))


@given(policies)
def test_a_policy_is_read_back_as_its_header_states_it(values: dict[str, float]) -> None:
    policy = from_header(DEFAULT, values)
    assert from_header(DEFAULT, to_header(policy)) == policy
    assert from_header(DEFAULT, differing(policy)) == policy
    assert all(type(getattr(policy, name)) is type(getattr(DEFAULT, name)) for name in IN_HEADER)


@pytest.mark.parametrize("odd", [-1, math.nan, math.inf, 1e12, 10**400, "5", None, True, [5], {}])
def test_what_is_no_plausible_value_in_a_header_changes_nothing(odd: object) -> None:
    assert from_header(DEFAULT, {"check_seconds": odd, "jobs": 1, "other": 1}) == DEFAULT


def test_a_policy_differs_from_the_default_in_what_was_changed() -> None:
    assert differing(DEFAULT) == {}
    assert differing(replace(DEFAULT, check_seconds=7.0, jobs=3)) == {"check_seconds": 7.0}
