"""What every balancer owes, whatever its policy: those that serve live, and the baselines of the simulator."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive import balancer as live
from adaptive.balancer import Balancer, Lane
from adaptive.types import (
    FULL_WEIGHT,
    Cluster,
    ClusterEntry,
    Endpoint,
    Health,
    Member,
    Snapshot,
    Topology,
    Verdict,
    first_snapshot,
)
from replay.baselines.base import Baseline
from replay.policies import POLICIES as SIMULATED

# `adaptive_fast` is the live `adaptive` without the brain that the simulator puts above it.
POLICIES = sorted(set(live.POLICIES) | set(SIMULATED) - {"adaptive_fast"})
# They have one possible pick in each state, but for the choice of the priority.
DETERMINISTIC = {
    "round_robin",
    "haproxy_leastconn",
    "nginx_least_conn",
    "pid_weights",
    "weighted",
    "wrr_a58",
}
# Their sources know no weights.
WEIGHTLESS = {"c3", "c3_ranking", "clairvoyant", "prequal", "prequal_06"}

HEALTHY, DEGRADED, CANARY, EJECTED, DRAINING = (int(h) for h in Health)


class Still:
    """A fleet that stands still, of instances that are all alike."""

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        return 2, 0.04

    def utilisation(self, slot: int, now: float) -> float:
        return 0.5

    def capacity(self, slot: int) -> float:
        return 150.0

    def truths(self, now: float) -> tuple[list[float], set[int]]:
        return [0.04] * 256, set()


def make(of: Cluster, rng: random.Random, previous: Balancer | None = None) -> Balancer:
    if of.policy in live.POLICIES:
        return live.make(of, rng, previous)
    return SIMULATED[of.policy].build(of, rng, previous.lanes if previous is not None else (), Still())


def cluster(policy: str, n: int, weights: Sequence[float] = (), priorities: Sequence[int] = ()) -> Cluster:
    members = tuple(
        Member(Endpoint("api", "::1", 8000 + i), i, weights[i] if weights else 1.0, priorities[i] if priorities else 0)
        for i in range(n)
    )
    return Cluster("api", 0, members, policy)


def snapshot(of: Cluster, at: float = 0.0, panic: bool = False, explore: float = 0.004, **columns: object) -> Snapshot:
    first = first_snapshot(Topology(1, (of,), len(of.members)), at, version=1)
    return dataclasses.replace(first, clusters=[ClusterEntry(panic, False, explore, 0.0)], **columns)  # type: ignore[arg-type]


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def slots(balancer: Balancer, times: int, now: float = 0.0, tried: Sequence[int] = ()) -> Counter[int]:
    """Where picks go that send nothing."""
    picked = [balancer.pick(now, i % 2 == 0, tried) for i in range(times)]
    return Counter(lane.slot for lane in picked if lane is not None)


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_clusters_are_served(policy: str, n: int) -> None:
    of = cluster(policy, n)
    balancer = make(of, random.Random(1))
    assert set(slots(balancer, 64)) == set(range(n))
    assert 0.0 < balancer.propensity <= 1.0
    assert set(slots(balancer, 20, tried=[0])) == {n - 1}


def test_nobody_is_picked_only_when_nobody_may_be(policy: str) -> None:
    of = cluster(policy, 3)
    balancer = make(of, random.Random(1))
    balancer.apply(snapshot(of, health=[EJECTED, DRAINING, EJECTED]))
    assert balancer.pick(0.0, True) is None
    for left in (DEGRADED, CANARY):
        balancer.apply(snapshot(of, health=[EJECTED, left, DRAINING]))
        assert set(slots(balancer, 20)) == {1}
        assert set(slots(balancer, 20, tried=[1])) == {1}
    assert make(cluster(policy, 0), random.Random(1)).pick(0.0, True) is None


@pytest.mark.parametrize("n", [6, 40])
def test_the_ejected_and_the_draining_get_nothing_unless_all_panic(policy: str, n: int) -> None:
    of = cluster(policy, n)
    balancer = make(of, random.Random(2))
    health = [EJECTED, DRAINING] + [HEALTHY] * (n - 2)
    balancer.apply(snapshot(of, health=health))
    for i in range(300):
        lane = balancer.pick(0.0, i % 2 == 0, tried=[i % n])
        assert lane is not None and lane.slot > 1
        balancer.sent(lane, i, 0.0)
    balancer.apply(snapshot(of, panic=True, health=[EJECTED] * n))
    panicked = set()
    for i in range(300, 300 + 40 * n):
        lane = balancer.pick(0.0, i % 2 == 0)
        assert lane is not None
        balancer.sent(lane, i, 0.0)
        panicked.add(lane.slot)
    assert {0, 1} <= panicked and len(panicked) > n // 4


def test_what_was_tried_is_avoided_while_another_is_left(policy: str) -> None:
    for n in (2, 5, 30):
        of = cluster(policy, n, priorities=[i % 2 for i in range(n)] if n == 5 else ())
        balancer = make(of, random.Random(3))
        for left in range(n):
            tried = [i for i in range(n) if i != left]
            assert set(slots(balancer, 10, tried=tried)) == {left}, (n, left)
        assert slots(balancer, 10, tried=list(range(n))).total() == 10


def test_weights_are_respected(policy: str) -> None:
    """1,200 attempts that stay open over weights 1, 2 and 3 settle at 200, 400, 600.

    Round robin is exact to one cycle, the fewest in flight to one attempt; two choices differ by O(log log n), for
    which 2 % of the whole is ample; random picks are binomial, of which 5 σ are 5 · sqrt(1200/4) = 87 attempts. Envoy's
    earliest deadline first takes weight / (in flight + 1) as the weight: with a in flight a lane has waited for
    Σ (k + 1)/w ≈ a²/2w, so that attempts that never end settle at the square roots of the weights, 289, 409 and 502.
    """
    if policy in WEIGHTLESS:
        pytest.skip("it knows no weights")
    of = cluster(policy, 3, weights=[1.0, 2.0, 3.0])
    balancer = make(of, random.Random(4))
    for key in range(1200):
        lane = balancer.pick(0.0, key % 2 == 0)
        assert lane is not None
        balancer.sent(lane, key, 0.0)
    tolerance = {"random": 87, "round_robin": 3, "adaptive": 3}.get(policy, 24)
    settled = (289, 409, 502) if policy.startswith("envoy") else (200, 400, 600)
    for lane, due in zip(balancer.lanes, settled, strict=True):
        assert lane.in_flight == pytest.approx(due, abs=tolerance)


def test_the_snapshots_weights_replace_the_configured_ones(policy: str) -> None:
    of = cluster(policy, 2, weights=[1.0, 9.0])
    balancer = make(of, random.Random(5))
    balancer.apply(snapshot(of, weight=[FULL_WEIGHT, FULL_WEIGHT]))
    for key in range(400):
        lane = balancer.pick(0.0, False)
        assert lane is not None
        balancer.sent(lane, key, 0.0)
    # binomial at worst: 5 σ are 5 · sqrt(400/4) = 50
    assert balancer.lanes[0].in_flight == pytest.approx(200, abs=50)


def test_a_lower_priority_serves_while_the_higher_is_out(policy: str) -> None:
    of = cluster(policy, 4, priorities=[0, 0, 1, 1])
    balancer = make(of, random.Random(6))
    assert set(slots(balancer, 100)) == {0, 1}
    balancer.apply(snapshot(of, health=[EJECTED, DRAINING, HEALTHY, HEALTHY]))
    assert set(slots(balancer, 100)) == {2, 3}


def test_an_old_snapshot_keeps_nobody_out_for_ever(policy: str) -> None:
    of = cluster(policy, 2)
    balancer = make(of, random.Random(7))
    balancer.apply(snapshot(of, at=100.0, health=[EJECTED, EJECTED]))
    assert balancer.pick(109.0, True) is None
    assert set(slots(balancer, 50, now=111.0)) == {0, 1}


def loaded(policy: str, n: int, seed: int, weights: Sequence[float] = (), priorities: Sequence[int] = ()) -> Balancer:
    """A balancer in the middle of its work: loads, failures, latencies, healths at random."""
    rng = random.Random(seed)
    of = cluster(policy, n, weights, priorities)
    balancer = make(of, random.Random(seed + 1))
    health = [rng.choice([HEALTHY, HEALTHY, HEALTHY, DEGRADED, CANARY]) for _ in range(n)]
    balancer.apply(snapshot(of, explore=0.1, health=health))
    for key, lane in enumerate(balancer.lanes):
        for k in range(rng.randrange(3)):
            balancer.sent(lane, (key, k), 0.9 + k / 100)
        if rng.random() < 0.7:
            balancer.sent(lane, key, 0.5)
            verdict = Verdict.FAILURE if rng.random() < 0.2 else Verdict.SUCCESS
            balancer.closed(lane, key, 0.95, rng.choice([0.03, 0.05, 0.3]), verdict)
    return balancer


@pytest.mark.parametrize("case", ["ten", "weights", "priorities", "forty", "tried"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_the_propensity_is_the_probability_of_the_pick(policy: str, case: str, repeatable: bool) -> None:
    """In one and the same state: N/p, summed over the picks of a lane, is N for every lane that can be picked.

    The count of a lane is binomial, so Σ 1/p = count/p has a standard deviation of sqrt(N (1-p)/p); 5 of them pass but
    once in two million. A lane never seen must be one that is seldom picked: the seen propensities sum to 1 but for
    those below 20/N. Some policies have but one possible pick in each state.
    """
    n = 40 if case == "forty" else 10
    weights = [1.0 + i % 3 for i in range(n)] if case == "weights" else ()
    priorities = [i % 2 for i in range(n)] if case == "priorities" else ()
    tried = [1, 2, 3] if case == "tried" else []
    balancer = loaded(policy, n, 11 + n, weights, priorities)
    deterministic = policy in DETERMINISTIC or (case == "weights" and policy.startswith("envoy"))
    picks = 4000
    count: Counter[int] = Counter()
    propensity: dict[int, float] = {}
    for _ in range(picks):
        lane = balancer.pick(1.0, repeatable, tried)
        assert lane is not None
        p = balancer.propensity
        assert 0.0 < p <= 1.0 + 1e-9
        if deterministic:
            if case != "priorities":
                assert p == 1.0
            continue
        assert p == pytest.approx(propensity.setdefault(lane.slot, p))
        count[lane.slot] += 1
    for slot, seen in count.items():
        p = propensity[slot]
        assert seen / p == pytest.approx(picks, abs=5 * math.sqrt(picks * (1 - p) / p) + 1e-6)
    if not deterministic:
        assert 1.0 - n * 20 / picks <= sum(propensity.values()) <= 1.0 + 1e-9


EVENT = st.tuples(st.sampled_from(["pick", "pick", "close", "share", "apply", "wait"]), st.integers(0, 1_000_000))


@settings(max_examples=60)
@given(events=st.lists(EVENT, max_size=120), n=st.sampled_from([1, 2, 5, 20]), name=st.sampled_from(POLICIES))
def test_any_order_of_events_leaves_the_counts_right(events: list[tuple[str, int]], n: int, name: str) -> None:
    of = cluster(name, n)
    balancer = make(of, random.Random(8))
    now, key = 0.0, 0
    open_attempts: list[tuple[Lane, int, float]] = []
    for what, number in events:
        if what == "pick":
            lane = balancer.pick(now, number % 2 == 0, [number % n] if number % 3 == 0 else ())
            if lane is not None:
                assert 0.0 < balancer.propensity <= 1.0 + 1e-9
                key += 1
                balancer.sent(lane, key, now)
                open_attempts.append((lane, key, now))
        elif what == "close" and open_attempts:
            lane, closing, sent_at = open_attempts.pop(number % len(open_attempts))
            latency = now - sent_at if number % 2 else None
            balancer.closed(lane, closing, now, latency, Verdict(number % 3))
        elif what == "share":
            balancer.share([number % (i + 2) for i in range(n)])
        elif what == "apply":
            rng = random.Random(number)
            balancer.apply(
                snapshot(
                    of,
                    at=now,
                    panic=number % 7 == 0,
                    health=[rng.randrange(5) for _ in range(n)],
                    weight=[rng.randint(1, 200) for _ in range(n)],
                    limit=[rng.randrange(4) for _ in range(n)],
                )
            )
        else:
            now += number / 1e5
        for lane in balancer.lanes:
            assert lane.in_flight == len(lane.outstanding) >= 0
            assert balancer.patience(lane, now, number % 2 == 0) >= 0.0
    for lane, closing, _ in open_attempts:
        balancer.closed(lane, closing, now, None, Verdict.IGNORE)
    assert all(lane.in_flight == 0 for lane in balancer.lanes)
    column = getattr(balancer, "reads", [])
    balancer.share([0] * n)
    for lane in getattr(balancer, "ring", []):
        assert column[lane.index] == lane.gate + lane.step
    if isinstance(balancer, Baseline):
        balancer.candidates(now, ())
        assert balancer.column == [balancer.key(lane) for lane in balancer.lanes]


def history(name: str) -> str:
    """A run's picks and propensities, as one line."""
    of = cluster(name, 20, weights=[1 + i % 2 for i in range(20)])
    balancer, rng, now = make(of, random.Random(9)), random.Random(10), 0.0
    balancer.apply(snapshot(of, health=[CANARY] + [HEALTHY] * 19))
    line = []
    still: list[tuple[Lane, str]] = []
    for i in range(300):
        now += 0.005
        lane = balancer.pick(now, i % 2 == 0, [i % 5] if i % 10 == 0 else ())
        assert lane is not None
        line.append(f"{lane.slot}:{balancer.propensity!r}")
        balancer.sent(lane, f"key-{i}", now)
        still.append((lane, f"key-{i}"))
        while len(still) > 12:
            lane, key = still.pop(rng.randrange(len(still)))
            balancer.closed(lane, key, now, rng.random() / 10, Verdict(int(rng.random() < 0.1)))
    return " ".join(line)


def histories() -> str:
    """Of every policy."""
    return " | ".join(history(name) for name in POLICIES)


# Over a second: two interpreters import pytest and hypothesis with this module.
def test_the_same_seed_gives_the_same_picks_whatever_the_hash_seed() -> None:
    code = "from tests.conformance.test_balancer_suite import histories; print(histories())"
    root = Path(__file__).resolve().parents[2]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == histories()


def test_lanes_that_stay_keep_what_they_learned(policy: str) -> None:
    before = make(cluster(policy, 4, weights=[1, 1, 1, 5]), random.Random(12))
    for lane in before.lanes:
        before.sent(lane, "a", 1.0)
        before.sent(lane, "b", 1.0)
        before.closed(lane, "a", 1.5, 0.5, Verdict.SUCCESS)
    members = tuple(dataclasses.replace(m, slot=m.slot + 3) for m in cluster(policy, 5).members[1:])
    after = make(dataclasses.replace(cluster(policy, 0), members=members), random.Random(13), before)
    kept = {lane.member.endpoint.port: lane for lane in before.lanes}
    assert [kept.get(lane.member.endpoint.port) is lane for lane in after.lanes] == [True, True, True, False]
    assert [lane.slot for lane in after.lanes] == [4, 5, 6, 7]
    assert [lane.weight for lane in after.lanes] == [FULL_WEIGHT] * 4
    assert [lane.in_flight for lane in after.lanes] == [1, 1, 1, 0]
    assert after.lanes[0].answered == 1.5
    after.closed(after.lanes[0], "b", 2.0, 1.0, Verdict.SUCCESS)
    before.closed(kept[8000], "b", 2.0, 1.0, Verdict.SUCCESS)  # the removed endpoint's own
    assert after.lanes[0].in_flight == kept[8000].in_flight == 0
