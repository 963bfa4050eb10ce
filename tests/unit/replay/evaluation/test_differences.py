"""Differences in Q beside closed forms: what it finds that a plain difference of means misses."""

from __future__ import annotations

import numpy as np
import pytest

from replay.evaluation.differences import backlog, differences, queue_features
from replay.evaluation.intervals import Resampling, block_ids

LOAD, SERVICE = 0.7, (1.0, 0.9)
# M/M/1, either policy alone: mean sojourn m / (1 - λ m).
TRUTH = SERVICE[1] / (1.0 - LOAD * SERVICE[1]) - SERVICE[0] / (1.0 - LOAD * SERVICE[0])


def queue(seed: int, n: int, chance_of: str = "fair") -> tuple[np.ndarray, ...]:
    """One server, first in first out; requests of policy 1 need a tenth less work. Arrival, latency, policy."""
    rng = np.random.default_rng([seed])
    gaps = rng.exponential(1.0 / LOAD, n)
    if chance_of == "fair":
        second = rng.random(n) < 0.5
    else:
        second = np.arange(n) // 1000 % 2 == 1  # long turns: each policy meets the queues that it made
    work = rng.exponential(1.0, n) * np.where(second, SERVICE[1], SERVICE[0])
    walk = np.concatenate([[0.0], np.cumsum(work[:-1] - gaps[1:])])
    return np.cumsum(gaps), walk - np.minimum.accumulate(walk) + work, second


def found(seed: int, n: int, **options: str):
    due, latency, second = queue(seed, n, **options)
    ids = block_ids(due, float(due[-1]) / 50)
    features = queue_features(backlog(due, due, due + latency, np.zeros(n, int), 1)[0])
    return differences(latency, second, features, ids, Resampling(50, np.random.default_rng([seed, 1]), 300))


def test_differences_in_q_sees_what_requests_do_to_each_other() -> None:
    """12 runs of 100,000 requests. One run's standard error is 0.26 (over 40 other seeds), that of their mean 0.075.

    To first order DQ is the derivative of the mean sojourn of M/G/1 by the share of policy 1, at one half: -0.84. The
    plain difference is that of the service times alone, -0.1.
    """
    runs = [found(seed, 100_000) for seed in range(12)]
    dq, naive = (float(np.mean([getattr(one, name).estimate for one in runs])) for name in ("dq", "naive"))
    assert abs(dq - TRUTH) < 0.06 + 3.0 * 0.075
    assert abs(naive - TRUTH) > 0.75
    covered = [sum(getattr(r, name).low <= TRUTH <= getattr(r, name).high for r in runs) for name in ("dq", "naive")]
    assert covered[0] >= 9  # of 12 at 95 %: fewer once in 5,000 times
    assert covered[1] == 0
    assert not any(one.warnings for one in runs)


def test_without_interference_both_agree() -> None:
    """Rewards that depend on nothing but the policy: states are noise, and the effect is 1."""
    rng = np.random.default_rng([5])
    second = rng.random(20_000) < 0.5
    reward = second + rng.normal(size=20_000)
    both = differences(reward, second, rng.normal(size=(20_000, 3)), np.arange(20_000) // 500, Resampling(40, rng, 300))
    assert both.dq.estimate == pytest.approx(1.0, abs=4 * 2 / 20_000**0.5)
    assert both.dq.low < 1.0 < both.dq.high
    assert both.naive.low < 1.0 < both.naive.high


def test_policies_in_long_turns_are_noticed() -> None:
    assert any("were not given to a policy by chance" in text for text in found(1, 100_000, chance_of="turns").warnings)


def test_a_policy_that_hardly_served_is_an_error() -> None:
    second = np.arange(1000) < 20
    with pytest.raises(ValueError, match="served 980 and 20 requests"):
        differences(
            np.ones(1000), second, np.ones((1000, 1)), np.zeros(1000, int), Resampling(1, np.random.default_rng([1]))
        )


def test_backlog_is_the_time_until_attempts_under_way_end() -> None:
    sent, done = np.array([0.0, 1.0, 2.0, 9.0]), np.array([5.0, 3.0, 4.0, 10.0])
    last, every = backlog(np.array([0.0, 1.0, 2.0, 3.5, 9.0]), sent, done, np.array([0, 1, 0, 0]), 2)
    assert last.tolist() == [[0, 0], [4, 0], [3, 1], [1.5, 0], [0, 0]]
    assert every.tolist() == [[0, 0], [4, 0], [3, 1], [2, 0], [0, 0]]
