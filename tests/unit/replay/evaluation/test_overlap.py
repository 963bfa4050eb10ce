"""Refusals of off-policy estimates: each with its figures."""

from __future__ import annotations

import numpy as np

from replay.evaluation import estimators
from replay.evaluation.estimators import Logged
from replay.evaluation.intervals import Resampling, block_ids
from replay.evaluation.overlap import refusals


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


EVEN = np.full(2000, 0.25)


def test_random_picks_can_answer_for_a_slightly_different_policy() -> None:
    pick = rng(1).integers(4, size=2000)
    target = np.tile([0.3, 0.3, 0.2, 0.2], (2000, 1))
    found = refusals(
        EVEN, target[np.arange(2000), pick], slot=pick, target_all=target, logged_all=np.full((2000, 4), 0.25)
    )
    assert found == []


def test_missing_propensities_are_counted() -> None:
    some = np.where(np.arange(2000) < 100, np.nan, 0.25)
    (reason,) = refusals(some, EVEN)
    assert "100 of 2000" in reason


def test_a_policy_without_chance_cannot_answer() -> None:
    (reason,) = refusals(np.ones(2000), EVEN)
    assert "nothing to chance in 100.0%" in reason


def test_few_effective_decisions_are_refused() -> None:
    propensity, target = np.full(5000, 0.999), np.full(5000, 0.001)
    propensity[0], target[0] = 0.0002, 1.0
    assert any("5000 decisions are worth 1 " in reason for reason in refusals(propensity, target))


def test_picks_without_a_chance_show_in_the_mean_weight() -> None:
    """Logged evenly over two of four instances, the target over all four: half its picks were never made."""
    reasons = refusals(np.full(2000, 0.5), np.full(2000, 0.25))
    assert ["average 0.50" in reason and "50%" in reason for reason in reasons] == [True]


def test_picks_without_a_chance_are_counted_where_all_probabilities_are_known() -> None:
    logged, target = np.tile([0.5, 0.5, 0.0], (100, 1)), np.tile([0.4, 0.4, 0.2], (100, 1))
    reasons = refusals(np.full(100, 0.5), np.full(100, 0.4), target_all=target, logged_all=logged)
    assert ["20.0%" in reason for reason in reasons] == [True]


def test_propensities_of_other_picks_are_noticed() -> None:
    (reason,) = refusals(np.full(2000, 0.1), EVEN)
    assert "do not belong" in reason


def test_sending_everything_to_one_instance_was_never_seen() -> None:
    pick = rng(2).integers(4, size=2000)
    target = np.tile([1.0, 0.0, 0.0, 0.0], (2000, 1))
    (reason,) = refusals(EVEN, target[np.arange(2000), pick], slot=pick, target_all=target)
    assert "100% of all requests to instance 0" in reason


def test_an_empty_log_is_refused() -> None:
    assert refusals(np.zeros(0), np.zeros(0)) == ["no decisions were recorded"]


def fleet(send_to_one: bool, n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four instances at a load of 0.7, the first a fifth faster; picks at random, or all to the first."""
    chance = rng(3)
    gaps, work, picks = chance.exponential(1.0 / 2.8, n), chance.exponential(1.0, n), chance.integers(4, size=n)
    due, latency, free = np.cumsum(gaps), np.empty(n), [0.0] * 4
    if send_to_one:
        picks[:] = 0
    for i, (at, pick) in enumerate(zip(due.tolist(), picks.tolist(), strict=True)):
        free[pick] = max(free[pick], at) + work[i] * (0.8 if pick == 0 else 1.0)
        latency[i] = free[pick] - at
    return due, latency, picks


def test_sending_everything_to_one_looks_good_offline_is_terrible_online_and_is_refused() -> None:
    """Interference: the weights are right, the overlap is ample, yet the queue that the policy makes was never seen."""
    due, latency, picks = fleet(send_to_one=False)
    target = np.tile([1.0, 0.0, 0.0, 0.0], (len(due), 1))
    log = Logged(
        latency, np.full(len(due), 0.25), target[np.arange(len(due)), picks], block_ids(due, float(due[-1]) / 50)
    )
    offline = estimators.snips(log, Resampling(50, rng(4), 300))
    assert offline.interval.high < latency.mean()  # it promises less latency than what was recorded, and is sure of it
    assert fleet(send_to_one=True)[1].mean() > 100.0 * offline.interval.high
    reasons = refusals(log.propensity, log.target, slot=picks, target_all=target)
    assert ["100% of all requests to instance 0" in reason for reason in reasons] == [True]
