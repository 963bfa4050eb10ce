"""nginx, HAProxy and Linkerd: who gets the next request, who is left out, and how they come back."""

from __future__ import annotations

import random
from math import exp

import pytest

from adaptive.balancer import Lane
from adaptive.types import Cluster, Endpoint, Member, Verdict
from replay.baselines.base import Baseline
from replay.baselines.haproxy import HaproxyLeastconn, ServerSettings
from replay.baselines.linkerd import Breaker, PenaltyPeakEwma, SuccessRate
from replay.baselines.nginx import NginxLeastConn


def cluster(n: int, weights: tuple[float, ...] = ()) -> Cluster:
    members = tuple(Member(Endpoint("c", "h", i), i, weights[i] if weights else 1.0) for i in range(n))
    return Cluster("c", 0, members)


def end(balancer: Baseline, slot: int, now: float, verdict: Verdict, latency: float | None = 0.04) -> None:
    """An attempt that begins and ends at one moment."""
    lane = balancer.lanes[slot]
    balancer.sent(lane, "end", now)
    balancer.closed(lane, "end", now, latency, verdict)


def choose(balancer: Baseline, now: float) -> Lane:
    lane = balancer.pick(now, True)
    assert lane is not None
    return lane


def picks(balancer: Baseline, now: float, times: int = 60) -> set[int]:
    return {choose(balancer, now).slot for _ in range(times)}


# nginx.


def test_nginx_takes_the_fewest_connections_and_turns_among_equals() -> None:
    balancer = NginxLeastConn(cluster(3), random.Random(1))
    order = []
    for key in range(9):
        lane = choose(balancer, 0.0)
        balancer.sent(lane, key, 0.0)
        order.append(lane.slot)
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == [0, 1, 2]
    balancer.closed(balancer.lanes[1], order.index(1), 0.1, 0.1, Verdict.SUCCESS)
    assert choose(balancer, 0.2).slot == 1
    idle = NginxLeastConn(cluster(3), random.Random(1))
    assert [choose(idle, 0.0).slot for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_nginx_counts_connections_for_the_weight() -> None:
    balancer = NginxLeastConn(cluster(2, (1.0, 3.0)), random.Random(1))
    for key in range(40):
        lane = choose(balancer, 0.0)
        balancer.sent(lane, key, 0.0)
    assert [lane.in_flight for lane in balancer.lanes] == [10, 30]


def test_nginx_leaves_a_peer_out_after_max_fails_and_tries_it_after_fail_timeout() -> None:
    balancer = NginxLeastConn(cluster(3), random.Random(1))
    for _ in range(2):
        end(balancer, 0, 1.0, Verdict.FAILURE)
    assert 0 in picks(balancer, 1.0)
    end(balancer, 0, 1.5, Verdict.FAILURE)
    assert picks(balancer, 6.5) == {1, 2}  # 5 s after the last failure it is still out: the source says <=
    assert 0 in picks(balancer, 6.6, 3)
    assert picks(balancer, 6.6) == {1, 2}  # one try, and then it is out for another 5 s, unless the try succeeds
    end(balancer, 0, 6.7, Verdict.SUCCESS)
    assert 0 in picks(balancer, 6.8)
    assert balancer.fails == [0, 0, 0]


def test_nginx_keeps_failures_that_are_younger_than_the_last_try() -> None:
    balancer = NginxLeastConn(cluster(2), random.Random(1))
    end(balancer, 0, 1.0, Verdict.FAILURE)
    end(balancer, 0, 2.0, Verdict.SUCCESS)
    end(balancer, 0, 3.0, Verdict.FAILURE)
    assert balancer.fails[0] == 2


def test_nginx_forgets_all_failures_when_nobody_is_left_but_fails_that_request() -> None:
    balancer = NginxLeastConn(cluster(2), random.Random(1))
    for slot in (0, 1):
        for _ in range(3):
            end(balancer, slot, 1.0, Verdict.FAILURE)
    assert balancer.pick(1.1, True) is None
    assert picks(balancer, 1.1) == {0, 1}


# HAProxy.


def test_haproxy_takes_the_fewest_and_of_equals_the_one_that_waited_longest() -> None:
    balancer = HaproxyLeastconn(cluster(3), random.Random(1))
    assert [choose(balancer, 0.0).slot for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    for key in range(3):
        balancer.sent(balancer.lanes[0], key, 0.0)
    assert picks(balancer, 0.0) == {1, 2}


def test_haproxy_marks_a_server_down_after_errors_in_a_row_and_two_good_checks_bring_it_back() -> None:
    balancer = HaproxyLeastconn(cluster(3), random.Random(1))
    for _ in range(4):
        end(balancer, 1, 1.0, Verdict.FAILURE)
    end(balancer, 1, 1.0, Verdict.SUCCESS)
    for _ in range(4):
        end(balancer, 1, 1.0, Verdict.FAILURE)
    assert 1 in picks(balancer, 1.0)
    end(balancer, 1, 1.0, Verdict.FAILURE)
    assert picks(balancer, 1.0) == {0, 2}
    balancer.checked(1, True, 1.5)
    balancer.checked(1, False, 2.0)
    balancer.checked(1, True, 2.5)
    assert picks(balancer, 2.5) == {0, 2}
    balancer.checked(1, True, 3.0)
    assert 1 in picks(balancer, 3.0)
    balancer.checked(1, False, 3.5)  # it is in full health again: one failed check is borne
    assert 1 in picks(balancer, 6.5)


def test_haproxy_takes_down_what_fails_two_checks_and_fails_when_all_are_down() -> None:
    balancer = HaproxyLeastconn(cluster(2), random.Random(1))
    balancer.checked(0, False, 1.0)
    balancer.checked(0, True, 1.5)
    balancer.checked(0, False, 2.0)
    assert picks(balancer, 2.0) == {0, 1}
    balancer.checked(0, False, 2.5)
    assert picks(balancer, 2.5) == {1}
    for at in (3.0, 3.5):
        balancer.checked(1, False, at)
    assert balancer.pick(3.5, True) is None


def test_haproxys_default_counts_ten_errors_as_one_failed_check() -> None:
    class Default(HaproxyLeastconn):
        settings = ServerSettings()

    balancer = Default(cluster(2), random.Random(1))
    for _ in range(20):
        end(balancer, 0, 1.0, Verdict.FAILURE)
    assert 0 in picks(balancer, 1.0)
    for _ in range(10):
        end(balancer, 0, 1.0, Verdict.FAILURE)
    assert picks(balancer, 1.0) == {1}


def test_haproxy_without_checks_lets_a_server_in_after_two_intervals_and_slowly() -> None:
    balancer = HaproxyLeastconn(cluster(2), random.Random(1))
    for _ in range(5):
        end(balancer, 0, 1.0, Verdict.FAILURE)
    for key in range(4):
        balancer.sent(balancer.lanes[1], key, 1.0)
    assert picks(balancer, 1.9) == {1}
    # Back at 2.0 s, it has a tenth of its weight after 0.3 s: one request there weighs 2/0.1 = 20, four here weigh 5.
    assert choose(balancer, 2.3).slot == 0  # idle it costs nothing
    balancer.sent(balancer.lanes[0], "a", 2.3)
    assert choose(balancer, 2.3).slot == 1
    assert choose(balancer, 5.1).slot == 0


# Linkerd.


def test_linkerds_success_rate_is_exact_over_ten_seconds() -> None:
    rate = SuccessRate()
    for _ in range(4):
        rate.add(False, 0.5)
    assert not rate.low()  # four are too few
    rate.add(False, 0.6)
    assert rate.low()
    edge = SuccessRate()
    for ok in (True, True, True, True, False):
        edge.add(ok, 0.5)
    assert not edge.low()  # 80 % are enough
    rate.add(True, 9.9)
    assert rate.sums == (1, 6)
    rate.add(True, 10.0)  # the first second has left the window
    assert rate.sums == (2, 2) and not rate.low()
    rate.add(True, 1000.0)
    assert rate.sums == (1, 1)


def test_linkerds_breaker_backs_off_from_one_second_to_a_minute_with_jitter() -> None:
    breaker = Breaker()
    waits = []
    for _ in range(8):
        breaker.trip(100.0, 0.0)
        waits.append(breaker.reopens - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    jittered = Breaker()
    jittered.trip(100.0, 0.5)
    assert jittered.reopens == 101.25
    jittered.trips = 9
    jittered.trip(100.0, 0.99)
    assert jittered.reopens == 160.0


def test_linkerds_breaker_opens_after_seven_failures_or_a_low_rate_and_then_lets_one_probe_through() -> None:
    balancer = PenaltyPeakEwma(cluster(3), random.Random(1))
    for k in range(40):
        end(balancer, 0, 1.0 + k / 100, Verdict.SUCCESS)
    for _ in range(6):
        end(balancer, 0, 1.5, Verdict.FAILURE)
    assert not balancer.barred[0]  # 40 of 46 are 87 %
    end(balancer, 0, 1.5, Verdict.FAILURE)
    assert balancer.barred[0]
    for k in range(5):
        end(balancer, 1, 1.5, Verdict.SUCCESS if k % 2 else Verdict.FAILURE)
    assert balancer.barred[1]  # two of five
    assert picks(balancer, 1.6) == {2}
    assert 0 not in picks(balancer, 2.4)
    balancer.pick(3.1, True)  # 1 s and at most half as long again
    assert not balancer.barred[0]
    balancer.sent(balancer.lanes[0], "probe", 3.1)
    assert balancer.barred[0]
    balancer.closed(balancer.lanes[0], "probe", 3.2, 0.1, Verdict.FAILURE)
    assert balancer.barred[0]
    balancer.pick(5.1, True)  # 2 s at least
    assert balancer.barred[0]
    balancer.pick(6.3, True)
    balancer.sent(balancer.lanes[0], "probe", 6.3)
    balancer.closed(balancer.lanes[0], "probe", 6.4, 0.1, Verdict.SUCCESS)
    assert not balancer.barred[0] and balancer.breakers[0].trips == 0


def test_linkerd_fails_requests_when_all_breakers_are_open() -> None:
    balancer = PenaltyPeakEwma(cluster(2), random.Random(1))
    for slot in (0, 1):
        for _ in range(5):
            end(balancer, slot, 1.0, Verdict.FAILURE)
    assert balancer.pick(1.1, True) is None


def test_linkerd_records_five_seconds_for_a_failing_response_and_the_time_taken_for_none() -> None:
    balancer = PenaltyPeakEwma(cluster(2), random.Random(1))
    assert balancer.peaks[0].value == 0.03
    end(balancer, 0, 1.0, Verdict.FAILURE, latency=0.002)
    assert balancer.peaks[0].value == 5.0
    lane = balancer.lanes[1]
    balancer.sent(lane, "a", 1.0)
    balancer.closed(lane, "a", 1.6, None, Verdict.FAILURE)
    assert balancer.peaks[1].value == pytest.approx(0.6)
    assert choose(balancer, 1.6).slot == 1
    for k in range(7):
        balancer.sent(lane, k, 1.6)
    # 0.6 · 8 = 4.8 against 5 · e^-0.06 = 4.71, which has been falling for 0.6 s
    assert 5.0 * exp(-0.06) < 0.6 * 8
    assert choose(balancer, 1.6).slot == 0
