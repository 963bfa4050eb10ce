"""Random picks on top of a balancer: how many, of what, and with which probability they are logged."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from adaptive import balancer
from adaptive.exploring import Exploring
from adaptive.types import Cluster, Endpoint, Health, Member, Topology, first_snapshot

N = 4
PICKS = 20_000


def cluster(share: float) -> Cluster:
    members = tuple(Member(Endpoint("api", "::1", 8000 + i), i) for i in range(N))
    return Cluster("api", 0, members, "least_request", random_picks=share)


def made(share: float) -> balancer.Balancer:
    of = cluster(share)
    found = balancer.make(of, random.Random(7))
    found.apply(first_snapshot(Topology(1, (of,), N), 0.0))
    return found


def test_without_a_share_there_is_nothing_in_between() -> None:
    assert not isinstance(made(0.0), Exploring)


def test_the_share_goes_evenly_to_all_and_is_marked() -> None:
    """Within four standard deviations of a binomial count, about one run in 16,000 outside."""
    one, share = made(0.1), 0.1
    seen: Counter[int] = Counter()
    for _ in range(PICKS):
        lane = one.pick(0.0, True)
        assert lane is not None
        if one.explored:
            seen[lane.slot] += 1
            assert one.propensity == pytest.approx(share / N)
        else:
            # Two of four idle lanes are compared, and the tie is broken by a coin: each wins a quarter.
            assert one.propensity == pytest.approx((1 - share) / N)
    for slot in range(N):
        mean = PICKS * share / N
        assert abs(seen[slot] - mean) < 4 * mean**0.5


def test_what_must_not_be_sent_twice_and_further_attempts_are_never_picked_at_random() -> None:
    one = made(1.0)
    for _ in range(200):
        one.pick(0.0, False)
        assert not one.explored
        one.pick(0.0, True, tried=[0])
        assert not one.explored


def test_nobody_who_is_out_is_tried() -> None:
    one = made(1.0)
    snapshot = first_snapshot(Topology(1, (cluster(1.0),), N), 0.0)
    one.apply(dataclasses.replace(snapshot, health=[Health.HEALTHY, Health.EJECTED, Health.HEALTHY, Health.DRAINING]))
    picked = [one.pick(0.0, True) for _ in range(400)]
    assert {lane.slot for lane in picked if lane is not None} == {0, 2}


def test_a_reload_keeps_what_lanes_have_learned() -> None:
    one = made(0.5)
    lane = one.pick(0.0, True)
    assert lane is not None
    one.sent(lane, "a", 0.0)
    after = balancer.make(cluster(0.5), random.Random(8), one)
    assert sum(x.in_flight for x in after.lanes) == 1
    after.closed(next(x for x in after.lanes if x.in_flight), "a", 1.0, 1.0, 0)
    assert not any(x.in_flight for x in after.lanes)
