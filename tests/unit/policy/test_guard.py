"""What the guard refuses, and why."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive.policy import guard
from adaptive.policy.guard import Capacity, Load, Observer, Wish
from adaptive.types import Health

H, D, C, E = Health.HEALTHY, Health.DEGRADED, Health.CANARY, Health.EJECTED


def load(n: int, rate: float = 0.0, capacity: float = 100.0) -> Load:
    return Load([1.0] * n, rate, [capacity] * n)


def test_a_move_that_the_rest_can_bear_is_granted() -> None:
    ruling = guard.rule(load(10, 600.0), [H] * 10, [0.0] * 10, [Wish(3, D, 0.9, False)], "")
    assert ruling.granted == [3]
    assert not ruling.refused


def test_one_that_it_cannot_bear_is_refused_in_words_and_a_useless_endpoint_goes_all_the_same() -> None:
    ruling = guard.rule(load(10, 800.0), [H] * 10, [0.0] * 10, [Wish(3, D, 0.9, False)], "")
    assert ruling.refused == {3: "the rest would be at 89% of what they are known to bear"}
    assert guard.rule(load(10, 800.0), [H] * 10, [0.0] * 10, [Wish(3, D, 2.0, True)], "").granted == [3]


def test_the_worst_goes_first_and_the_least_bad_stays() -> None:
    wishes = [Wish(0, D, 0.6, False), Wish(1, D, 0.9, False)]
    ruling = guard.rule(load(10, 760.0), [H] * 10, [0.0] * 10, wishes, "")
    assert ruling.granted == [1]
    assert list(ruling.refused) == [0]


def test_a_blind_observer_moves_nobody() -> None:
    ruling = guard.rule(load(10), [H] * 10, [0.0] * 10, [Wish(i, D, 2.0, True) for i in range(10)], "it slept")
    assert ruling.granted == []
    assert set(ruling.refused.values()) == {"it slept"}


def test_a_quarter_of_the_weight_moves_in_a_tick_and_one_always_may() -> None:
    wishes = [Wish(i, D, 2.0, True) for i in range(10)]
    assert len(guard.rule(load(10), [H] * 10, [0.0] * 10, wishes, "").granted) == 2
    assert len(guard.rule(load(2), [H] * 2, [0.0] * 2, wishes[:2], "").granted) == 1


@pytest.mark.parametrize("others", [[E] * 4, [C] * 4, [Health.DRAINING] * 4])
def test_the_last_one_that_serves_stays(others: list[Health]) -> None:
    ruling = guard.rule(load(5), [D, *others], [2.0] * 5, [Wish(0, C, 2.0, True)], "")
    assert ruling.refused == {0: "it is the last one that serves"}


def test_when_the_rest_is_overloaded_the_least_bad_lowered_one_is_called_back() -> None:
    health = [D, D, *[H] * 8]
    ruling = guard.rule(load(10, 900.0), health, [0.7, 0.5, *[0.0] * 8], [], "")
    assert ruling.recalled == [1]
    assert guard.rule(load(10, 700.0), health, [0.7, 0.5, *[0.0] * 8], [], "").recalled == []
    useless = [guard.USELESS, guard.USELESS, *[0.0] * 8]
    assert guard.rule(load(10, 900.0), health, useless, [], "").recalled == []


def test_panic_below_half_of_the_weight_by_weight_not_by_count() -> None:
    assert not guard.panics([1.0] * 4, [H, D, C, E], [False] * 4)
    assert guard.panics([1.0] * 4, [H, C, C, E], [False] * 4)
    assert not guard.panics([6.0, 1.0, 1.0, 1.0], [H, E, E, E], [False] * 4)
    assert guard.panics([6.0, 1.0, 1.0, 1.0], [E, H, H, H], [False] * 4)


def test_what_an_operator_took_out_is_no_reason_to_panic_unless_nothing_is_left() -> None:
    assert not guard.panics([1.0] * 3, [H, E, E], [False, True, True])
    assert guard.panics([1.0] * 2, [E, E], [True, True])
    assert not guard.panics([], [], [])


def test_capacity_is_half_as_much_again_as_what_was_borne_well() -> None:
    capacity, slots = Capacity(1), np.array([0])
    assert np.isinf(capacity.estimate(slots)[0])
    capacity.learn(0.0, np.array([100.0]), np.array([0.04]), np.array([False]))
    assert capacity.estimate(slots)[0] == pytest.approx(150.0)
    capacity.learn(0.1, np.array([50.0]), np.array([0.04]), np.array([False]))
    assert capacity.estimate(slots)[0] == pytest.approx(150.0, rel=0.01)


def test_at_overload_capacity_is_what_is_served() -> None:
    capacity, slots = Capacity(1), np.array([0])
    capacity.learn(0.0, np.array([100.0]), np.array([0.04]), np.array([False]))
    capacity.learn(1.0, np.array([120.0]), np.array([0.2]), np.array([False]))
    assert capacity.estimate(slots)[0] == pytest.approx(120.0, rel=0.01)


def test_an_idle_endpoint_is_taken_to_bear_two_at_a_time() -> None:
    capacity = Capacity(1)
    capacity.learn(0.0, np.array([1.0]), np.array([0.04]), np.array([False]))
    assert capacity.estimate(np.array([0]))[0] == pytest.approx(50.0)


def test_failures_teach_nothing_about_capacity() -> None:
    capacity = Capacity(1)
    capacity.learn(0.0, np.array([5000.0]), np.array([0.0001]), np.array([True]))
    assert np.isinf(capacity.estimate(np.array([0]))[0])


def test_an_observer_that_runs_late_or_loses_outcomes_is_blind_for_a_second_more() -> None:
    observer = Observer()
    observer.saw(10.0, 0.1, 0)
    assert observer.blind(10.0) == ""
    observer.saw(10.1, 0.2, 0)
    assert observer.blind(10.1) == "the gateway itself ran 0.30 s late"
    assert observer.blind(11.0) != ""
    assert observer.blind(11.2) == ""
    observer.saw(20.0, 0.0, 7)
    assert observer.blind(20.5) == "7 outcomes were lost"


def test_while_the_whole_cluster_is_slow_only_the_useless_are_lowered() -> None:
    strained = load(10, 100.0)._replace(inflation=2.5)
    wishes = [Wish(0, D, 0.9, False), Wish(1, D, 2.0, True)]
    ruling = guard.rule(strained, [H] * 10, [0.0] * 10, wishes, "")
    assert ruling.granted == [1]
    assert ruling.refused == {0: "the whole cluster is slow, 2.5 times its own best"}


def test_strain_is_the_median_of_latency_by_what_it_was_at_best() -> None:
    capacity, slots, well = Capacity(3), np.arange(3), np.zeros(3, dtype=bool)
    assert capacity.strain(slots) == 1.0
    capacity.learn(0.0, np.full(3, 100.0), np.array([0.04, 0.04, np.nan]), well)
    capacity.learn(0.1, np.full(3, 100.0), np.array([0.12, 0.12, np.nan]), well)
    assert capacity.strain(slots) == pytest.approx(3.0, rel=0.01)
