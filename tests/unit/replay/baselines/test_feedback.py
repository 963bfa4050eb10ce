"""The baselines that listen to the instances: C3, Prequal, gRPC's weights, the PID and the clairvoyant."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from adaptive.balancer import Lane
from adaptive.types import Cluster, Endpoint, Member, Verdict
from replay.baselines.base import Baseline
from replay.baselines.c3 import C3, Limiter
from replay.baselines.clairvoyant import Clairvoyant
from replay.baselines.grpc import WeightedRoundRobinA58
from replay.baselines.pid import PidWeights
from replay.baselines.prequal import Entry, Prequal
from replay.baselines.weighted import Weighted


class Told:
    """A fleet that says what the test tells it to."""

    def __init__(self, n: int) -> None:
        self.running = [0] * n
        self.latency = [0.04] * n
        self.busy = [0.5] * n
        self.capacities = [150.0] * n
        self.true = [(False, 0.04)] * n

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        return self.running[slot], self.latency[slot]

    def utilisation(self, slot: int, now: float) -> float:
        return self.busy[slot]

    def capacity(self, slot: int) -> float:
        return self.capacities[slot]

    def truths(self, now: float) -> tuple[list[float], set[int]]:
        return [seconds for _, seconds in self.true], {slot for slot, (fails, _) in enumerate(self.true) if fails}


def cluster(n: int) -> Cluster:
    return Cluster("c", 0, tuple(Member(Endpoint("c", "h", i), i) for i in range(n)))


def choose(balancer: Baseline, now: float) -> Lane:
    lane = balancer.pick(now, True)
    assert lane is not None
    return lane


def end(balancer: Baseline, slot: int, now: float, latency: float = 0.04, verdict: Verdict = Verdict.SUCCESS) -> None:
    lane = balancer.lanes[slot]
    balancer.sent(lane, "end", now - latency)
    balancer.closed(lane, "end", now, latency, verdict)


# C3.


def test_c3_ranks_by_the_cube_of_the_queue() -> None:
    """R = S: Ψ = q³·S. Half as fast with nobody waiting is 0.08·1; fast with one in flight is 0.04·2³ = 0.32."""
    fleet = Told(2)
    fleet.latency = [0.04, 0.08]
    balancer = C3(cluster(2), random.Random(1), (), fleet)
    for slot in (0, 1):
        end(balancer, slot, 1.0, fleet.latency[slot])
    assert choose(balancer, 1.0).slot == 0
    balancer.sent(balancer.lanes[0], "a", 1.0)
    assert balancer.column == [pytest.approx(0.32), pytest.approx(0.08)]
    assert choose(balancer, 1.0).slot == 1


def test_c3_averages_with_nine_tenths_on_the_newest_and_counts_only_who_waits() -> None:
    fleet = Told(1)
    balancer = C3(cluster(1), random.Random(1), (), fleet)
    fleet.running, fleet.busy = [3], [0.5]  # six slots
    end(balancer, 0, 1.0, 0.05)
    assert (balancer.response[0], balancer.service[0], balancer.queue[0]) == (0.05, 0.04, 0.0)
    fleet.running, fleet.busy, fleet.latency = [10], [1.0], [0.06]
    end(balancer, 0, 2.0, 0.15)
    assert balancer.response[0] == pytest.approx(0.9 * 0.15 + 0.1 * 0.05)
    assert balancer.service[0] == pytest.approx(0.9 * 0.06 + 0.1 * 0.04)
    assert balancer.queue[0] == pytest.approx(0.9 * 4)


def test_c3_tries_who_never_answered_first_and_goes_on_when_tokens_are_out() -> None:
    balancer = C3(cluster(2), random.Random(1), (), Told(2))
    end(balancer, 0, 1.0)
    for key in range(10):
        assert choose(balancer, 1.0).slot == 1
        balancer.sent(balancer.lanes[1], key, 1.0)
    assert choose(balancer, 1.0).slot == 0  # ten tokens are gone
    for key in range(10, 20):
        balancer.sent(balancer.lanes[0], key, 1.0)
    assert choose(balancer, 1.0).slot == 1  # nobody has one, and the request goes by the ranking
    free = C3(cluster(2), random.Random(1), (), Told(2), rate_control=False)
    end(free, 0, 1.0)
    for key in range(30):
        assert choose(free, 1.0).slot == 1
        free.sent(free.lanes[1], key, 1.0)


def test_c3s_rate_falls_to_a_fifth_and_grows_back_by_the_cubic() -> None:
    limiter = Limiter()
    limiter.received = 1.0  # an answer in 20 ms, while ten may be sent
    limiter.answered(50.0)
    assert (limiter.rate, limiter.peak, limiter.decreased) == (2.0, 10.0, 50.0)
    limiter.received = 5.0
    limiter.window = 5
    limiter.answered(100.0)
    # K = (10 · 0.2 / 4e-6)^(1/3) = 79.37 ms; 4e-6 (50 - 79.37)³ + 10 = 9.899
    assert limiter.rate == pytest.approx(9.899, abs=1e-3)


# Prequal.


def prequal(n: int, fleet: Told) -> Prequal:
    return Prequal(cluster(n), random.Random(1), (), fleet)


def filled(fleet: Told, answers: list[tuple[int, float]]) -> Prequal:
    """A pool with these answers of slots 0, 1, ..., beside 60 older ones with RIFs 0 to 9."""
    balancer = prequal(len(answers), fleet)
    balancer.sorted_rifs = sorted(k % 10 for k in range(60))
    balancer.recent.extend(k % 10 for k in range(60))
    balancer.size = 16
    for slot, (rif, latency) in enumerate(answers):
        fleet.running[slot], fleet.latency[slot] = rif, latency
    balancer.pool = [
        Entry(lane, 1.0, rif, latency, 9) for lane, (rif, latency) in zip(balancer.lanes, answers, strict=True)
    ]
    return balancer


def test_prequal_takes_the_fastest_of_the_cold_and_the_least_loaded_where_all_are_hot() -> None:
    # θ is the 0.84-quantile of 0 to 9: 8.
    assert filled(Told(3), [(9, 0.001), (8, 0.05), (3, 0.09)]).threshold() == 8
    assert choose(filled(Told(3), [(9, 0.001), (8, 0.05), (3, 0.09)]), 1.0).slot == 1
    assert choose(filled(Told(3), [(12, 0.001), (11, 0.05), (13, 0.02)]), 1.0).slot == 1


def test_prequal_counts_its_own_request_on_the_answer_and_uses_it_up() -> None:
    balancer = filled(Told(3), [(8, 0.01), (3, 0.05), (3, 0.09)])
    balancer.pool[1].uses = 1
    oldest = balancer.pool[0]
    assert choose(balancer, 1.0).slot == 0  # and its RIF of 9 makes it hot
    assert oldest.rif == 9
    assert oldest not in balancer.pool  # the query removed the oldest
    assert choose(balancer, 1.0).slot == 1
    assert all(entry.lane.slot != 1 for entry in balancer.pool)


def test_prequals_answers_serve_later_queries_for_a_second() -> None:
    fleet = Told(10)
    balancer = prequal(10, fleet)
    choose(balancer, 0.0)
    assert (len(balancer.pool), len(balancer.travelling)) == (0, 3)
    choose(balancer, 0.1)
    assert len(balancer.pool) == 2  # three came, and the query removed one
    balancer._receive(1.2)
    assert all(entry.at > 0.1 for entry in balancer.pool)
    balancer._receive(3.0)
    assert balancer.pool == []


@pytest.mark.parametrize(("n", "size", "reuse"), [(8, 4, 4.0), (16, 8, 4.0), (20, 10, 4.0), (100, 16, 1.3158)])
def test_prequals_reuse_follows_the_paper(n: int, size: int, reuse: float) -> None:
    balancer = prequal(n, Told(n))
    assert balancer.size == size
    assert balancer.reuse == pytest.approx(reuse, abs=1e-4)


def test_prequal_pools_no_answer_of_an_instance_that_gives_none() -> None:
    fleet = Told(4)
    fleet.latency = [float("nan")] * 4
    balancer = prequal(4, fleet)
    for k in range(20):
        choose(balancer, k / 10)
        assert balancer.propensity == 0.25
    assert balancer.pool == []


# gRPC.


def test_a58s_weight_is_qps_over_utilisation_and_errors() -> None:
    """100/s at 0.5 busy weigh 200; with 20 % errors 100/(0.5 + 0.2) = 142.9. The blackout is 10 s."""
    fleet = Told(2)
    balancer = WeightedRoundRobinA58(cluster(2), random.Random(1), (), fleet)
    for k in range(1300):
        for slot in (0, 1):
            failed = slot == 1 and k % 5 == 0
            end(balancer, slot, k / 100 + 0.001, verdict=Verdict.FAILURE if failed else Verdict.SUCCESS)
        if k == 900:
            assert balancer.weight_of(0, 9.0) == 0.0
    assert balancer.weight_of(0, 13.0) == pytest.approx(200.0, rel=0.02)
    assert balancer.weight_of(1, 13.0) == pytest.approx(100 / 0.7, rel=0.02)
    # Each second begins a new schedule with random deadlines, so the shares are right within 1 in each of 10 seconds.
    count = Counter(choose(balancer, 13.0 + k / 100).slot for k in range(1000))
    assert count[0] == pytest.approx(1000 * 200 / (200 + 100 / 0.7), abs=20)
    assert balancer.weight_of(0, 13.0 + 181.0) == 0.0  # expired
    assert balancer.non_empty_since[0] == float("inf")  # and the blackout begins anew


def test_a58_is_round_robin_while_fewer_than_two_have_a_weight() -> None:
    balancer = WeightedRoundRobinA58(cluster(4), random.Random(1), (), Told(4))
    for k in range(1300):
        end(balancer, 0, k / 100)
    count = Counter(choose(balancer, 13.0).slot for _ in range(400))
    assert all(count[slot] == pytest.approx(100, abs=1) for slot in range(4))


def test_a58_gives_who_has_no_weight_the_mean_of_the_others() -> None:
    fleet = Told(3)
    fleet.busy = [0.25, 0.75, 0.0]
    balancer = WeightedRoundRobinA58(cluster(3), random.Random(1), (), fleet)
    for k in range(1300):
        for slot in range(3):
            end(balancer, slot, k / 100)
    balancer.pick(13.0, True)
    ratio = [weight / balancer.weights[0] for weight in balancer.weights]
    assert ratio == [1.0, pytest.approx(1 / 3, rel=0.02), pytest.approx(2 / 3, rel=0.02)]


# Static weights.


def test_static_weights_are_as_the_capacities_and_stay_so_whatever_happens() -> None:
    fleet = Told(3)
    fleet.capacities = [50.0, 100.0, 150.0]
    balancer = Weighted(cluster(3), random.Random(1), (), fleet)
    for quarter in range(4):
        count = Counter(choose(balancer, quarter * 10.0 + k / 100).slot for k in range(300))
        fleet.busy = [1.0, 0.0, 0.0]
        fleet.true = [(True, 9.0)] * 3
        assert [count[slot] for slot in range(3)] == [pytest.approx(due, abs=1) for due in (50, 100, 150)]


# The PID.


def test_the_pid_evens_utilisation_out_over_unequal_capacities() -> None:
    """Capacities 1:2:3: utilisation is share / capacity, and is even when the weights are as the capacities."""
    capacity = (1.0, 2.0, 3.0)
    fleet = Told(3)
    balancer = PidWeights(cluster(3), random.Random(1), (), fleet)
    for second in range(40):
        count: Counter[int] = Counter()
        for k in range(300):
            now = second + k / 300
            lane = choose(balancer, now)
            count[lane.slot] += 1
            balancer.sent(lane, k, now)
            took = 0.003 / capacity[lane.slot]  # as of a node that is so much faster
            balancer.closed(lane, k, now + took, took, Verdict.SUCCESS)
        fleet.busy = [count[slot] / 75 / capacity[slot] for slot in range(3)]
    # A new schedule a second gives each node its share within one.
    assert [count[slot] for slot in range(3)] == [pytest.approx(due, abs=8) for due in (50, 100, 150)]
    assert max(fleet.busy) / (sum(fleet.busy) / 3) < 1.1


def test_the_pid_takes_weight_from_a_node_that_is_stuck_and_says_nothing() -> None:
    balancer = PidWeights(cluster(3), random.Random(1), (), Told(3))
    balancer.pick(0.0, True)
    for key in range(5):
        balancer.sent(balancer.lanes[2], key, 0.1)
    for k in range(50):
        for slot in (0, 1):
            lane = balancer.lanes[slot]
            balancer.sent(lane, "a", 0.1 + k / 100)
            balancer.closed(lane, "a", 0.104 + k / 100, 0.004, Verdict.SUCCESS)
    balancer.pick(1.0, True)
    assert balancer.learned[2] < 0.8
    assert balancer.learned[0] == pytest.approx(balancer.learned[1]) and balancer.learned[0] > 1.0


# The clairvoyant.


def test_the_clairvoyant_goes_where_nothing_fails_and_the_answer_comes_first() -> None:
    fleet = Told(4)
    fleet.true = [(True, 0.06), (False, 0.08), (False, 0.05), (False, 0.05)]
    balancer = Clairvoyant(cluster(4), random.Random(1), (), fleet)
    assert {choose(balancer, 0.0).slot for _ in range(50)} == {2, 3}
    assert balancer.propensity == 0.5
    balancer.sent(balancer.lanes[2], "a", 0.0)
    assert {choose(balancer, 0.0).slot for _ in range(20)} == {3}
    assert balancer.propensity == 1.0
    lane = balancer.pick(0.0, True, [1, 2, 3])
    assert lane is not None and lane.slot == 0
    fleet.true = [(True, 0.02), (True, 0.01), (True, 0.03), (True, 0.04)]
    assert choose(balancer, 0.0).slot == 1


def test_the_clairvoyant_repeats_what_may_be_repeated_rather_than_wait() -> None:
    fleet = Told(3)
    fleet.true = [(True, 0.05), (False, 0.3), (True, float("inf"))]
    balancer = Clairvoyant(cluster(3), random.Random(1), (), fleet)
    found = [balancer.pick(0.0, True), balancer.pick(0.0, False), balancer.pick(0.0, True, [0])]
    assert [lane.slot for lane in found if lane is not None] == [0, 1, 1]
