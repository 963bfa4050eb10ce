"""Weights are whole, at least 1, and equal in calm."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adaptive.policy.ladder import Rung
from adaptive.policy.weights import by_hand, full, weigh
from adaptive.types import Health


@given(st.sampled_from(list(Health)), st.floats(0.001, 100), st.floats(0, 1), st.integers(1, 1000))
def test_every_weight_is_whole_and_between_one_and_full(
    health: Health, configured: float, doubt: float, before: int
) -> None:
    weight = weigh(Rung(health=health), configured, doubt, before, 100.0)
    assert isinstance(weight, int)
    assert 1 <= weight <= full(configured)
    assert 1 <= by_hand(health, configured) <= full(configured)


@given(st.floats(0, 0.49), st.integers(1, 100))
def test_a_healthy_endpoint_has_its_full_weight_whatever_the_noise(doubt: float, before: int) -> None:
    assert weigh(Rung(), 1.0, doubt, before, 100.0) == 100


def test_the_worse_the_state_the_lower_the_weight() -> None:
    order = [Health.HEALTHY, Health.DEGRADED, Health.CANARY, Health.EJECTED]
    weights = [weigh(Rung(health=health), 1.0, 0.5, 100, 100.0) for health in order]
    assert all(a > b for a, b in pairwise(weights))


def test_a_lowered_endpoint_has_two_steps_with_hysteresis() -> None:
    rung = Rung(health=Health.DEGRADED)
    assert [weigh(rung, 1.0, 0.7, before, 0.0) for before in (50, 25)] == [50, 25]
    assert weigh(rung, 1.0, 0.85, 50, 0.0) == 25
    assert weigh(rung, 1.0, 0.5, 25, 0.0) == 50


def test_a_return_takes_three_steps() -> None:
    rung = Rung(returned=10.0)
    assert [weigh(rung, 1.0, 0.0, 1, at) for at in (10.0, 11.0, 12.0, 13.0, 500.0)] == [25, 50, 75, 100, 100]


def test_a_return_takes_no_steps_where_the_rest_is_overloaded_without_it() -> None:
    assert weigh(Rung(returned=10.0), 1.0, 0.0, 2, 10.1) < weigh(Rung(returned=10.0), 1.0, 0.0, 2, 10.1, True) == 100
