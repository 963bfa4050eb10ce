"""The fast loop alone, without a brain, in front of a fleet with faults: beside nginx's rule on the same traffic.

The seeds and with them the severities, times and victims of the faults were not used to choose the constants.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from adaptive.balancer import POLICIES
from adaptive.types import Cluster
from tests.simulation.faults import drawn
from tests.simulation.fleet_model import Model, Result
from tests.simulation.reference_policies import Clairvoyant, NginxLeastConnections

SEEDS = (9001, 9002, 9003)


@cache
def run(policy: str, name: str, seed: int) -> Result:
    """Twenty-six seconds of a scenario; a run takes about half a second."""

    def build(cluster: Cluster, rng: random.Random, model: Model) -> Any:
        if policy == "nginx":
            return NginxLeastConnections(cluster, rng)
        if policy == "clairvoyant":
            return Clairvoyant(cluster, rng, model)
        return POLICIES[policy](cluster, rng, ())

    scenario = drawn(seed)[name] | {"seconds": 26}
    if policy == "nginx":
        return Model(scenario, build, seed, attempt_timeout=0.6, post_timeout=0.6).run()
    return Model(scenario, build, seed, patience=policy == "adaptive").run()


def total_failed(policy: str, name: str) -> int:
    return sum(run(policy, name, seed).failed for seed in SEEDS)


def tail(policy: str, name: str) -> float:
    """p99.9 in milliseconds, the mean over the seeds."""
    return sum(run(policy, name, seed).quantile(0.999) for seed in SEEDS) / len(SEEDS)


# These simulate up to six runs each, half a second a run.


def test_calm_traffic_does_not_notice_the_gates() -> None:
    ours, theirs = run("adaptive", "calm", SEEDS[0]), run("nginx", "calm", SEEDS[0])
    assert ours.failed == theirs.failed == 0
    for q in (0.5, 0.99):
        assert abs(ours.quantile(q) / theirs.quantile(q) - 1.0) < 0.01
    assert ours.attempts <= 1.001 * ours.requests * 26 / 21  # the first 5 s are not counted among the requests


def test_a_hang_costs_few_unrepeatable_requests_and_no_tail() -> None:
    assert total_failed("adaptive", "hang") <= max(3, total_failed("nginx", "hang") // 2)
    assert tail("adaptive", "hang") <= 1.05 * tail("nginx", "hang")


def test_a_slow_instance_stays_out_of_the_tail() -> None:
    assert total_failed("adaptive", "slow_node") == 0
    assert tail("adaptive", "slow_node") < 0.8 * tail("nginx", "slow_node")


def test_a_few_failures_in_a_hundred_are_seen() -> None:
    assert total_failed("adaptive", "gray_10") <= total_failed("nginx", "gray_10") // 2


def test_a_surge_does_not_become_a_storm_of_retries() -> None:
    surge = run("adaptive", "surge", SEEDS[0])
    assert surge.failed == 0
    assert surge.quantile(0.999) < 1000.0


def test_the_model_leaves_nothing_to_lose_for_one_who_knows() -> None:
    known = run("clairvoyant", "hang", SEEDS[0])
    assert known.failed == 0
    assert 0.03 < known.quantile(0.5) / 1e3 < 0.04  # the median of a log-normal of mean 40 ms, σ 0.6, is 33 ms


def test_the_same_seed_gives_the_same_run() -> None:
    first = run("adaptive", "gray_10", SEEDS[0])
    run.cache_clear()
    again = run("adaptive", "gray_10", SEEDS[0])
    assert (first.latencies, first.attempts, first.served) == (again.latencies, again.attempts, again.served)
