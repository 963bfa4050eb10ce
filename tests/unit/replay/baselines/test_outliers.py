"""Envoy's outlier detection: who is ejected, for how long, and how many at most."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from adaptive.types import Cluster, Endpoint, Member, Verdict
from replay.baselines.envoy import EnvoyLeastRequest, EnvoyLeastRequestTuned, PeakEwmaOutlier
from replay.baselines.outliers import Outliers, OutlierSettings


def cluster(n: int, weights: tuple[float, ...] = ()) -> Cluster:
    members = tuple(Member(Endpoint("c", "h", i), i, weights[i] if weights else 1.0) for i in range(n))
    return Cluster("c", 0, members)


def detector(n: int, **changes: object) -> EnvoyLeastRequest:
    class Changed(EnvoyLeastRequest):
        settings = dataclasses.replace(OutlierSettings(), **changes)  # type: ignore[arg-type]

    made = Changed(cluster(n), random.Random(1))
    made.pick(0.0, True)  # the clock of the sweeps begins
    return made


def serve(balancer: Outliers, slot: int, now: float, good: int = 0, bad: int = 0) -> None:
    """So many attempts at one moment, the good ones first."""
    lane = balancer.lanes[slot]
    for k in range(good + bad):
        balancer.sent(lane, k, now)
        balancer.closed(lane, k, now, 0.04, Verdict.SUCCESS if k < good else Verdict.FAILURE)


def out(balancer: Outliers) -> list[int]:
    return [i for i, ejected in enumerate(balancer.ejected) if ejected]


def test_five_failures_in_a_row_eject_and_a_success_between_them_does_not() -> None:
    balancer = detector(10)
    serve(balancer, 3, 1.0, bad=4)
    serve(balancer, 3, 1.1, good=1, bad=4)
    assert out(balancer) == []
    serve(balancer, 3, 1.2, bad=1)
    assert out(balancer) == [3]
    picked = {lane.slot for _ in range(300) if (lane := balancer.pick(1.3, True)) is not None}
    assert picked == set(range(10)) - {3}


def test_an_ejection_lasts_thirty_seconds_times_the_count_and_ends_at_a_sweep() -> None:
    balancer = detector(10)
    serve(balancer, 0, 1.0, bad=5)
    balancer.pick(30.9, True)
    assert out(balancer) == [0]
    balancer.pick(39.9, True)  # 30 s have passed at 31 s, but the next sweep is at 40 s
    assert out(balancer) == [0]
    balancer.pick(40.0, True)
    assert out(balancer) == []
    serve(balancer, 0, 41.0, bad=5)
    balancer.pick(100.0, True)
    assert out(balancer) == [0]
    balancer.pick(110.0, True)  # the second one: 60 s from 41 s on
    assert out(balancer) == []


def test_the_multiplier_falls_with_each_sweep_that_finds_the_host_back() -> None:
    balancer = detector(10)
    serve(balancer, 0, 1.0, bad=5)
    balancer.pick(40.0, True)
    assert balancer.multiplier[0] == 1  # it came back in this sweep
    balancer.pick(50.0, True)
    assert balancer.multiplier[0] == 0
    serve(balancer, 0, 51.0, bad=5)
    balancer.pick(90.0, True)
    assert out(balancer) == []


def test_an_ejection_never_lasts_longer_than_five_minutes() -> None:
    balancer = detector(10)
    now = 1.0
    for _ in range(20):
        serve(balancer, 0, now, bad=5)
        began = now
        while out(balancer):
            now += 10.0
            balancer.pick(now, True)
    assert 300.0 <= now - began <= 320.0


def test_never_more_than_the_share_is_ejected_but_one_always_may_be() -> None:
    for n, most in ((5, 1), (10, 1), (25, 2), (100, 10)):
        balancer = detector(n)
        for slot in range(n):
            serve(balancer, slot, 1.0, bad=5)
        assert len(out(balancer)) == most, n
    strict = detector(5, always_eject_one=False)
    serve(strict, 0, 1.0, bad=5)
    assert out(strict) == []


def test_success_rates_are_compared_by_the_mean_less_1_9_sigma() -> None:
    """50 % beside four times 100 %: mean 90, σ 20, threshold 52; beside four times 100 %, 60 %: 92, 16, 61.6."""
    for rate, ejected in ((50, [4]), (60, [4])):
        balancer = detector(5)
        for slot in range(4):
            serve(balancer, slot, 1.0, good=100)
        for _ in range(25):  # never five failures in a row
            serve(balancer, 4, 1.0, good=2 * rate // 50, bad=4 - 2 * rate // 50)
        balancer.pick(10.0, True)
        assert out(balancer) == ejected
    # Two of ten: z = sqrt(8/2) = 2 > 1.9, so both are outliers, and 10 % lets one go. Three: z = sqrt(7/3) = 1.53.
    for bad, count in ((2, 1), (3, 0)):
        balancer = detector(10)
        for slot in range(10):
            for _ in range(50):
                serve(balancer, slot, 1.0, good=1 + (slot >= bad), bad=int(slot < bad))
        balancer.pick(10.0, True)
        assert len(out(balancer)) == count


def test_success_rates_need_five_hosts_with_a_hundred_requests() -> None:
    for hosts, requests, count in ((5, 100, 1), (5, 99, 0), (4, 100, 0)):
        balancer = detector(10)
        for slot in range(hosts):
            for k in range(requests):
                failed = slot == 0 and k % 2 == 0
                serve(balancer, slot, 1.0, good=int(not failed), bad=int(failed))
        balancer.pick(10.0, True)
        assert len(out(balancer)) == count


def test_a_share_of_failures_ejects_only_where_it_is_enforced() -> None:
    for share, count in ((0.0, 0), (0.85, 5)):
        balancer = detector(
            10, failure_percentage=share, max_ejection=0.5, consecutive_5xx=100, success_rate_request_volume=1000
        )
        for slot in range(10):
            serve(balancer, slot, 1.0, good=60 - 55 * (slot < 6), bad=55 * (slot < 6))
        balancer.pick(10.0, True)
        assert len(out(balancer)) == count


def test_in_panic_everybody_gets_requests() -> None:
    balancer = detector(10, max_ejection=1.0)
    for slot in range(5):
        serve(balancer, slot, 1.0, bad=5)
    assert {lane.slot for _ in range(300) if (lane := balancer.pick(1.1, True))} == set(range(5, 10))
    serve(balancer, 5, 1.2, bad=5)
    assert {lane.slot for _ in range(300) if (lane := balancer.pick(1.3, True))} == set(range(10))


def test_a_good_health_check_ends_an_ejection_and_two_bad_ones_keep_out() -> None:
    balancer = EnvoyLeastRequestTuned(cluster(10), random.Random(1))
    balancer.pick(0.0, True)
    serve(balancer, 2, 1.0, bad=5)
    balancer.checked(2, True, 1.1)
    assert out(balancer) == []
    balancer.checked(2, False, 2.0)
    assert not balancer.barred[2]
    balancer.checked(2, False, 2.5)
    assert balancer.barred[2]
    balancer.checked(2, True, 3.0)
    assert balancer.barred[2]
    balancer.checked(2, True, 3.5)
    assert not balancer.barred[2]
    plain = detector(10)
    for at in (1.0, 2.0, 3.0):
        plain.checked(2, False, at)
    assert not any(plain.barred)


def test_two_draws_with_replacement_leave_the_fullest_its_share() -> None:
    """Of three hosts with 0, 1 and 2 requests the fullest serves where it is drawn twice: 1 of 9."""
    balancer = EnvoyLeastRequest(cluster(3), random.Random(5))
    for slot in range(3):
        for k in range(slot):
            balancer.sent(balancer.lanes[slot], k, 0.0)
    count: Counter[int] = Counter()
    for _ in range(9000):
        lane = balancer.pick(0.0, True)
        assert lane is not None
        count[lane.slot] += 1
        assert balancer.propensity == pytest.approx((5 - 2 * lane.slot) / 9)
    # 5 σ of a binomial are 5 · sqrt(9000 · 1/9 · 8/9) = 149
    assert count[2] == pytest.approx(1000, abs=149)


def test_unequal_weights_serve_by_the_earliest_deadline() -> None:
    """Attempts that end at once leave the weights as they are: 1, 2 and 3 parts of 6."""
    balancer = EnvoyLeastRequest(cluster(3, (1.0, 2.0, 3.0)), random.Random(5))
    count: Counter[int] = Counter()
    for _ in range(600):
        lane = balancer.pick(0.0, True)
        assert lane is not None and balancer.propensity == 1.0
        count[lane.slot] += 1
    assert [count[slot] for slot in range(3)] == [pytest.approx(due, abs=2) for due in (100, 200, 300)]


def test_peak_ewma_prefers_the_fast_and_ejects_the_failing() -> None:
    balancer = PeakEwmaOutlier(cluster(2), random.Random(1))
    balancer.pick(0.0, True)
    for slot, latency in ((0, 0.01), (1, 0.10)):
        lane = balancer.lanes[slot]
        balancer.sent(lane, "a", 0.0)
        balancer.closed(lane, "a", latency, latency, Verdict.SUCCESS)
    for k in range(8):  # 0.01 · 9 < 0.10 · 1
        lane = balancer.pick(0.2, True)
        assert lane is not None and lane.slot == 0
        balancer.sent(lane, k, 0.2)
    for k in range(5):
        balancer.closed(balancer.lanes[0], k, 0.3, None, Verdict.FAILURE)
    assert out(balancer) == [0]
    lane = balancer.pick(0.3, True)
    assert lane is not None and lane.slot == 1
