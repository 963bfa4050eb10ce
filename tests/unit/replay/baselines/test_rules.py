"""Latency ejection, the gates, and the comparison of all lanes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from adaptive.balancer import Lane
from adaptive.types import Cluster, Endpoint, Member, Verdict
from replay.baselines.base import Baseline, LeastRequestAll
from replay.baselines.gates import PROBE, Gates
from replay.baselines.latency import LatencyEjection


def cluster(n: int) -> Cluster:
    return Cluster("c", 0, tuple(Member(Endpoint("c", "h", i), i) for i in range(n)))


def choose(balancer: Baseline, now: float, repeatable: bool = True) -> Lane:
    lane = balancer.pick(now, repeatable)
    assert lane is not None
    return lane


def end(balancer: Baseline, slot: int, now: float, latency: float | None, verdict: Verdict = Verdict.SUCCESS) -> None:
    lane = balancer.lanes[slot]
    balancer.sent(lane, "end", now - (latency or 0.0))
    balancer.closed(lane, "end", now, latency, verdict)


def test_the_fewest_of_all_serves_with_ties_at_random() -> None:
    balancer = LeastRequestAll(cluster(4), random.Random(1))
    balancer.sent(balancer.lanes[2], "a", 0.0)
    count = Counter(choose(balancer, 0.0).slot for _ in range(3000))
    assert set(count) == {0, 1, 3} and balancer.propensity == pytest.approx(1 / 3)
    # 5 σ are 5 · sqrt(3000 · 2/9) = 129
    assert all(seen == pytest.approx(1000, abs=129) for seen in count.values())


# Latency ejection.


def warmed(n: int, slow: float, slow_hosts: int = 1, samples: int = 101) -> LatencyEjection:
    """So many samples of 0.04 s everywhere, but for the first hosts, which get theirs first."""
    balancer = LatencyEjection(cluster(n), random.Random(1))
    for k in range(samples):
        for slot in range(n):
            end(balancer, slot, 1.0 + k / 100, slow if slot < slow_hosts else 0.04)
    return balancer


@pytest.mark.parametrize(("slow", "ejected"), [(0.119, []), (0.125, [0])])
def test_three_times_the_median_ejects(slow: float, ejected: list[int]) -> None:
    assert [lane.slot for lane in warmed(10, slow).out] == ejected


def test_a_hundred_samples_and_three_hosts_are_needed() -> None:
    assert warmed(10, 1.0, samples=99).out == []
    assert warmed(2, 1.0).out == []
    # 3 hosts: 30 % of three is less than one, so that none may go.
    assert warmed(3, 1.0).out == []
    assert [lane.slot for lane in warmed(4, 1.0).out] == [0]


def test_ten_times_a_median_of_a_millisecond_is_no_outlier() -> None:
    balancer = LatencyEjection(cluster(10), random.Random(1))
    for k in range(200):
        for slot in range(10):
            end(balancer, slot, 1.0 + k / 100, 0.001 if slot else 0.010)
    assert balancer.out == []


def test_no_more_than_three_of_ten_go_and_all_alike_none() -> None:
    assert len(warmed(10, 1.0, slow_hosts=4).out) == 3
    assert warmed(10, 1.0, slow_hosts=10).out == []


def test_an_ejected_lane_comes_back_after_thirty_seconds_and_needs_new_samples_to_go_again() -> None:
    balancer = warmed(10, 1.0)
    assert {choose(balancer, 31.0).slot for _ in range(400)} == set(range(1, 10))
    assert 0 in {choose(balancer, 33.0).slot for _ in range(400)}
    for k in range(99):
        end(balancer, 0, 33.0 + k / 100, 1.0)
    assert balancer.out == []
    end(balancer, 0, 34.0, 1.0)
    assert [lane.slot for lane in balancer.out] == [0]
    assert 0 not in {choose(balancer, 93.0).slot for _ in range(400)}  # a minute this time
    assert 0 in {choose(balancer, 94.1).slot for _ in range(400)}


# Gates.


def ready(n: int) -> Gates:
    """Everybody answered in 0.04 s."""
    balancer = Gates(cluster(n), random.Random(1))
    for slot in range(n):
        for k in range(5):
            end(balancer, slot, 1.0 + k / 100, 0.04)
    return balancer


def test_a_failure_gates_a_post_for_longer_than_a_get() -> None:
    balancer = ready(4)
    end(balancer, 0, 2.0, 0.002, Verdict.FAILURE)
    for key in range(3):  # all others are busier
        for slot in (1, 2, 3):
            balancer.sent(balancer.lanes[slot], (slot, key), 2.0)
    assert choose(balancer, 2.0, repeatable=False).slot != 0
    # 0.5 falls below 0.3 after 2.6 s, and below 0.12 after 7.2 s
    for slot in (1, 2, 3):
        for key in range(3):
            balancer.closed(balancer.lanes[slot], (slot, key), 2.05, 0.05, Verdict.SUCCESS)
            balancer.sent(balancer.lanes[slot], (slot, key), 4.7)
    assert choose(balancer, 4.7).slot == 0
    assert choose(balancer, 4.7, repeatable=False).slot != 0
    for slot in (1, 2, 3):
        for key in range(3):
            balancer.closed(balancer.lanes[slot], (slot, key), 4.75, 0.05, Verdict.SUCCESS)
            balancer.sent(balancer.lanes[slot], (slot, key), 9.3)
    assert choose(balancer, 9.3, repeatable=False).slot == 0


def test_two_attempts_without_an_end_are_a_stall_and_one_is_not() -> None:
    """Seven typical latencies over two in flight are 140 ms."""
    balancer = ready(3)
    for slot, attempts in ((0, 2), (1, 1), (2, 1)):
        for key in range(attempts):
            balancer.sent(balancer.lanes[slot], key, 2.0)
    for slot in (1, 2):
        for key in range(1, 6):
            balancer.sent(balancer.lanes[slot], key, 2.12)
            balancer.closed(balancer.lanes[slot], key - 1, 2.12, 0.04, Verdict.SUCCESS)
    for slot in (1, 2):
        balancer.sent(balancer.lanes[slot], "more", 2.13)
        balancer.sent(balancer.lanes[slot], "again", 2.13)
    assert choose(balancer, 2.139).slot == 0
    assert choose(balancer, 2.15).slot != 0


def test_slowness_multiplies_the_load_above_a_quarter() -> None:
    balancer = Gates(cluster(3), random.Random(1))
    for slot, latency in ((0, 0.04), (1, 0.048), (2, 0.08)):
        for k in range(20):
            end(balancer, slot, 1.0 + k / 100, latency)
    balancer.pick(2.0, True)
    # The median is 0.048: 0.08 is 1.67 of it, and 0.04 is ordinary.
    assert balancer.column == [pytest.approx(1.0), pytest.approx(1.0), pytest.approx(0.08 / 0.048)]


def test_gets_probe_a_gated_idle_lane_and_posts_do_not() -> None:
    balancer = ready(3)
    for _ in range(3):
        end(balancer, 0, 2.0, 0.002, Verdict.FAILURE)
    probes = 0
    for _ in range(20000):
        lane = choose(balancer, 2.0)
        assert balancer.explored == (lane.slot == 0)
        assert balancer.propensity == pytest.approx(PROBE if balancer.explored else (1 - PROBE) / 2)
        probes += balancer.explored
    # 80 are due; 5 σ are 45
    assert probes == pytest.approx(80, abs=45)
    assert {choose(balancer, 2.0, repeatable=False).slot for _ in range(2000)} == {1, 2}
