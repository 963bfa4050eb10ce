"""What the demo computes from its results."""

from __future__ import annotations

import math

import pytest

from adaptive.demo.figures import PATIENCE, Move, Results, Second, Warned, quantile, summarise, warned

LEAK = (1, 10.0, 30.0)  # instance 1 leaks from 10 s and crashes at 30 s
LEVEL = 0.6


def move(at: float, after: str, instance: int = 1, reason: str = "slow") -> Move:
    return Move(at, instance, "any", after, reason)


@pytest.mark.parametrize(("q", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_quantile_is_a_value_that_was_measured(q: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], q) == value


def test_the_quantile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.5))


def test_failed_requests_count_as_the_longest_wait() -> None:
    row = summarise([0.02] * 98, failed=2)
    assert (row.requests, row.failed) == (100, 2)
    assert (row.p50, row.p99, row.p999) == (0.02, PATIENCE, PATIENCE)


def test_one_failure_in_a_thousand_moves_only_what_lies_above_it() -> None:
    row = summarise([0.02] * 999, failed=1)
    assert (row.p99, row.p999) == (0.02, 0.02)


def test_results_add_up_over_the_seconds_and_now_is_the_last_five() -> None:
    results = Results()
    for second in range(10):
        results.add(Second(second, 1 if second < 5 else 0, [0.01 * (second + 1)] * 10))
    assert (results.summary().requests, results.summary().failed) == (105, 5)
    rate, now = results.now()
    assert (rate, now.failed, now.p50) == (10.0, 0, pytest.approx(0.08))


def test_the_results_of_nothing_are_no_figures() -> None:
    rate, now = Results().now()
    assert (rate, now.requests) == (0.0, 0)
    assert math.isnan(now.p99)


def test_a_crash_that_nobody_saw_coming() -> None:
    assert warned([], [], LEAK, LEVEL) == Warned(None, "", 0.0, None)


def test_the_first_lowering_counts_and_the_time_away_until_the_crash() -> None:
    moves = [move(20.0, "DEGRADED", reason="first"), move(22.0, "HEALTHY"), move(25.0, "CANARY"), move(26.0, "EJECTED")]
    seen = warned(moves, [], LEAK, LEVEL)
    assert (seen.lowered, seen.reason) == (10.0, "first")
    assert seen.away == pytest.approx((2.0 + 5.0) / 10.0)


def test_what_came_before_the_leak_or_after_the_crash_is_no_foresight() -> None:
    moves = [move(5.0, "DEGRADED"), move(9.0, "HEALTHY"), move(30.0, "DEGRADED")]
    assert warned(moves, [(5.0, 0.9), (30.5, 0.9)], LEAK, LEVEL) == Warned(None, "", 0.0, None)


def test_other_instances_moves_say_nothing_of_this_one() -> None:
    assert warned([move(20.0, "EJECTED", instance=2)], [], LEAK, LEVEL).lowered is None


def test_the_models_warning_is_the_first_time_it_reaches_the_level() -> None:
    predictions = [(8.0, 0.9), (12.0, 0.3), (18.0, 0.6), (19.0, 0.2), (25.0, 0.9)]
    assert warned([], predictions, LEAK, LEVEL).predicted == 12.0
