"""The fast loop's gates, doubts and patience, one by one."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from adaptive.balancer import Lane, make
from adaptive.fast import EXPLORE_BACK, EXPLORE_FULL, SPILL, FastLoop
from adaptive.grading import FULL, POINT
from adaptive.lanes import FAILURE_HALF_LIFE, TOGETHER, broken
from adaptive.picks import WINDOW, LeastPeakEwma, chance, smallest
from adaptive.types import Cluster, ClusterEntry, Endpoint, Health, Member, Snapshot, Topology, Verdict, first_snapshot


def cluster(n: int, policy: str = "adaptive", priorities: tuple[int, ...] = ()) -> Cluster:
    return Cluster(
        "api",
        0,
        tuple(
            Member(Endpoint("api", "10.0.0.1", 8000 + i), i, 1.0, priorities[i] if priorities else 0) for i in range(n)
        ),
        policy,
    )


def snapshot(n: int, at: float = 0.0, explore: float = 0.004, panic: bool = False, **columns: list[float]) -> Snapshot:
    first = first_snapshot(Topology(1, (cluster(n),), n), at, version=1)
    return dataclasses.replace(first, clusters=[ClusterEntry(panic, False, explore, 0.0)], **columns)  # type: ignore[arg-type]


class Fleet:
    """A fast loop whose attempts are opened and closed by hand."""

    def __init__(self, n: int, seed: int = 1, **settings: object) -> None:
        self.balancer = FastLoop(cluster(n, **settings), random.Random(seed))  # type: ignore[arg-type]
        self.key = 0
        self.now = 0.0

    @property
    def lanes(self) -> list[Lane]:
        return self.balancer.lanes

    def send(self, lane: Lane, at: float | None = None) -> int:
        self.key += 1
        self.balancer.sent(lane, self.key, self.now if at is None else at)
        return self.key

    def answer(self, lane: Lane, latency: float, verdict: Verdict = Verdict.SUCCESS, times: int = 1) -> None:
        for _ in range(times):
            key = self.send(lane, self.now - latency)
            self.balancer.closed(lane, key, self.now, latency, verdict)

    def warm(self, latency: float = 0.04, seconds: float = 3.0) -> None:
        """Every lane answers twenty times a second."""
        for _ in range(int(seconds * 20)):
            self.now += 0.05
            for lane in self.lanes:
                self.answer(lane, latency)

    def picked(self, repeatable: bool, times: int = 200, tried: tuple[int, ...] = ()) -> set[int]:
        self.now += 1.0e-6
        lanes = [self.balancer.pick(self.now, repeatable, tried) for _ in range(times)]
        return {lane.slot for lane in lanes if lane is not None}

    def grade(self) -> None:
        """Lets enough time pass for the next grading."""
        self.now += 0.05
        self.balancer.pick(self.now, False)


def test_the_least_loaded_lane_is_picked_and_ties_are_shared() -> None:
    fleet = Fleet(3)
    fleet.send(fleet.lanes[1])
    assert fleet.picked(True) == fleet.picked(False) == {0, 2}


def test_the_other_workers_attempts_count() -> None:
    fleet = Fleet(3)
    fleet.balancer.share([2, 0, 1])
    assert fleet.picked(False) == {1}


def test_one_failure_keeps_unrepeatable_requests_away_for_seven_seconds_and_others_for_three() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.answer(fleet.lanes[0], 0.002, Verdict.FAILURE)
    assert fleet.picked(False) == {1}
    failed_at = fleet.now
    # 0.5 · 2**(-t/3.5) falls below 0.3 at 2.58 s and below 0.12 at 7.21 s
    for seconds, reads, writes in ((2.5, {1}, {1}), (2.7, {0, 1}, {1}), (7.1, {0, 1}, {1}), (7.3, {0, 1}, {0, 1})):
        fleet.now = failed_at + seconds
        fleet.balancer.explore = 0.0
        assert fleet.picked(True) == reads, seconds
        assert fleet.picked(False) == writes, seconds


def test_a_row_of_successes_lifts_the_gate_early() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.answer(fleet.lanes[0], 0.002, Verdict.FAILURE)
    fleet.answer(fleet.lanes[0], 0.04, times=11)
    assert fleet.picked(False) == {1}
    fleet.answer(fleet.lanes[0], 0.04, times=20)  # 0.5 · 0.93**20 = 0.117
    assert fleet.picked(False) == {0, 1}


def test_many_failures_cost_a_second_point() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.answer(fleet.lanes[0], 0.002, Verdict.FAILURE)
    fleet.answer(fleet.lanes[1], 0.002, Verdict.FAILURE, times=3)
    assert fleet.picked(False) == {0}


def test_failures_common_to_most_lanes_gate_nobody() -> None:
    fleet = Fleet(4)
    fleet.warm()
    for lane in fleet.lanes:
        fleet.answer(lane, 0.002, Verdict.FAILURE)
    fleet.now += 0.3
    assert fleet.picked(False) == {0, 1, 2, 3}
    fleet.answer(fleet.lanes[2], 0.002, Verdict.FAILURE, times=2)
    assert fleet.picked(False) == {0, 1, 3}


def test_a_stalled_lane_gets_nothing_until_it_answers() -> None:
    fleet = Fleet(2)
    fleet.warm()
    lane, other = fleet.lanes
    first, _ = fleet.send(lane), fleet.send(lane)
    for _ in range(4):
        fleet.send(other)
    fleet.now += 0.13  # 7 · 40 ms / 2 in flight = 140 ms
    fleet.answer(other, 0.04)
    fleet.grade()
    assert lane.gate == POINT
    fleet.balancer.explore = 0.0
    assert fleet.picked(True) == {1}
    fleet.balancer.closed(lane, first, fleet.now, fleet.now, Verdict.SUCCESS)
    assert lane.gate == 0.0


def test_a_stalled_lane_is_explored_once_what_it_has_is_older_than_any_answer() -> None:
    fleet = Fleet(2)
    fleet.warm()
    lane, other = fleet.lanes
    for _ in range(6):
        fleet.send(lane)
    fleet.now += 0.03
    fleet.answer(other, 0.04)
    fleet.grade()  # after 80 ms: 7 · 40 ms / 6 in flight, but not three latencies
    assert lane.gate == POINT
    fleet.balancer.explore = 0.1
    assert fleet.picked(True) == {1}
    fleet.grade()
    assert fleet.picked(True) == {0, 1}
    fleet.send(lane)
    assert fleet.picked(True) == {1}  # one at a time


def test_a_time_out_counts_as_if_it_had_been_seen_when_its_attempt_was_sent() -> None:
    fleet = Fleet(2)
    fleet.warm()
    hung, fails = fleet.lanes
    key = fleet.send(hung)
    fleet.now += FAILURE_HALF_LIFE
    fleet.balancer.closed(hung, key, fleet.now, None, Verdict.FAILURE)
    fleet.answer(fails, 0.04, Verdict.FAILURE)
    assert hung.failures.get(fleet.now) == pytest.approx(fails.failures.get(fleet.now) / 2)


def test_a_time_out_ends_no_row_of_answers_to_what_was_sent_later() -> None:
    for later, streak in ((False, 0), (True, 9)):
        fleet = Fleet(2)
        fleet.warm()
        lane = fleet.lanes[0]
        lane.streak = 0
        key = fleet.send(lane)
        fleet.now += 2.0
        fleet.answer(lane, 0.04 if later else 2.04, times=9)
        fleet.balancer.closed(lane, key, fleet.now, None, Verdict.FAILURE)
        assert lane.streak == streak


def test_a_slow_lane_is_full_with_as_many_as_make_all_wait_for_as_long() -> None:
    fleet = Fleet(3)
    fleet.warm()
    busy(fleet)
    slow, *others = fleet.lanes
    slow.servers.service *= 4.0
    fleet.send(slow)
    fleet.grade()
    assert slow.slowness == pytest.approx(4.0)
    assert slow.full == pytest.approx(others[0].full / 4.0)


def test_a_lane_is_not_stalled_because_it_was_idle_before() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.now += 60.0
    fleet.send(fleet.lanes[0])
    fleet.send(fleet.lanes[0])
    fleet.grade()
    assert fleet.lanes[0].gate == 0.0


def test_silence_costs_unrepeatable_requests_before_it_is_a_stall() -> None:
    fleet = Fleet(2)
    fleet.warm()
    for lane in fleet.lanes:
        fleet.send(lane)
    fleet.now += 0.045  # one typical latency and more
    fleet.answer(fleet.lanes[1], 0.01)  # sent later than its oldest: it was alive then
    fleet.grade()
    lane, other = fleet.lanes
    assert lane.gate == 0.0
    assert lane.bar > other.bar
    assert fleet.picked(False) == {1}
    assert fleet.picked(True) == {0, 1}


def test_an_attempt_far_older_than_the_tail_is_a_gate_for_unrepeatable_requests() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.send(fleet.lanes[0])
    fleet.now += 0.2
    fleet.answer(fleet.lanes[0], 0.01, times=3)  # newer ones come back: no stall, no silence
    fleet.grade()
    assert fleet.lanes[0].gate == 0.0
    assert fleet.lanes[0].bar == POINT


def test_an_attempt_given_up_early_says_nothing_and_one_given_up_late_keeps_unrepeatable_requests_away() -> None:
    fleet = Fleet(2)
    fleet.warm()
    fleet.answer(fleet.lanes[0], 0.1, Verdict.IGNORE)
    assert fleet.picked(False) == {0, 1}
    fleet.answer(fleet.lanes[0], 0.13, Verdict.IGNORE)  # over three typical latencies, and over the p99
    assert fleet.picked(False) == {1}
    assert fleet.picked(True) == {0, 1}
    fleet.now += 1.2  # 0.15 · 2**(-1.2/3.5) < 0.12
    assert fleet.picked(False) == {0, 1}


def test_a_slow_lane_counts_for_more_and_an_ordinary_one_does_not() -> None:
    fleet = Fleet(4)
    fleet.balancer.explore = 0.0
    for _ in range(100):
        fleet.now += 0.05
        for lane, latency in zip(fleet.lanes, (0.04, 0.04, 0.048, 0.16), strict=True):
            fleet.answer(lane, latency)
    fleet.grade()
    slowness = [lane.slowness for lane in fleet.lanes]
    assert slowness[:3] == [1.0, 1.0, 1.0]  # 1.2 times is noise
    assert slowness[3] == pytest.approx(160 / 44, rel=0.15)  # the median is 40 or 48 ms
    for lane in fleet.lanes[:3]:
        fleet.send(lane)
    assert fleet.picked(True) == {0, 1, 2}  # 2 < 1 · slowness


def test_slowness_fades_without_samples() -> None:
    fleet = Fleet(3)
    for _ in range(40):
        fleet.now += 0.05
        for lane, latency in zip(fleet.lanes, (0.04, 0.04, 0.4), strict=True):
            fleet.answer(lane, latency)
    fleet.grade()
    before = fleet.lanes[2].slowness
    fleet.now += 20.0
    fleet.grade()
    assert fleet.lanes[2].slowness == 1.0 < before


def test_an_idle_gated_lane_is_explored_by_repeatable_first_attempts_only() -> None:
    fleet = Fleet(3)
    fleet.balancer.apply(snapshot(3, explore=0.25, health=[0, 0, int(Health.CANARY)]))
    assert fleet.picked(False) == {0, 1}
    assert fleet.picked(True, tried=(0,)) == {1}
    explored = Counter[int]()
    for _ in range(4000):
        lane = fleet.balancer.pick(fleet.now, True)
        assert lane is not None
        assert fleet.balancer.explored == (lane.slot == 2)
        assert fleet.balancer.propensity == pytest.approx(0.25 if lane.slot == 2 else 0.375)
        explored[lane.slot] += 1
    assert explored[2] == pytest.approx(1000, abs=5 * (4000 * 0.25 * 0.75) ** 0.5)
    fleet.send(fleet.lanes[2])
    assert fleet.picked(True) == {0, 1}  # no longer idle


def test_the_first_snapshot_leaves_exploration_to_the_fast_loop() -> None:
    fleet = Fleet(2)
    fleet.balancer.apply(first_snapshot(Topology(1, (cluster(2),), 2), 0.0))
    assert fleet.balancer.explore == pytest.approx(0.004)
    fleet.balancer.apply(snapshot(2, explore=0.0))
    assert fleet.balancer.explore == 0.0


def test_degraded_lanes_serve_after_healthy_ones_and_canaries_last() -> None:
    fleet = Fleet(3)
    fleet.balancer.apply(snapshot(3, explore=0.0, health=[int(Health.DEGRADED), int(Health.CANARY), 0]))
    for _ in range(50):
        fleet.send(fleet.lanes[2])
    assert fleet.picked(True) == {2}
    assert fleet.picked(True, tried=(2,)) == {0}
    assert fleet.picked(True, tried=(0, 2)) == {1}


def test_an_old_snapshot_keeps_nobody_out() -> None:
    fleet = Fleet(2)
    fleet.balancer.apply(snapshot(2, at=0.0, health=[0, int(Health.EJECTED)]))
    fleet.now = 9.9
    assert fleet.picked(False, tried=(0,)) == {0}
    fleet.now = 10.1
    assert fleet.picked(False, tried=(0,)) == {1}
    assert fleet.picked(False) == {0}


def test_a_lane_at_its_limit_is_gated() -> None:
    fleet = Fleet(2)
    fleet.balancer.apply(snapshot(2, limit=[2, 0]))
    keys = [fleet.send(fleet.lanes[0]) for _ in range(2)]
    for _ in range(9):
        fleet.send(fleet.lanes[1])
    assert fleet.picked(False) == {1}
    fleet.balancer.closed(fleet.lanes[0], keys[0], fleet.now, 0.01, Verdict.SUCCESS)
    assert fleet.picked(False) == {0}


def test_traffic_spills_to_the_next_priority_when_too_little_is_usable() -> None:
    fleet = Fleet(10, priorities=(0, 0, 0, 0, 0, 0, 0, 0, 1, 1))
    out = int(Health.EJECTED)
    fleet.balancer.apply(snapshot(10, health=[out, out, 0, 0, 0, 0, 0, 0, 0, 0]))
    assert fleet.picked(False, 500) == {2, 3, 4, 5, 6, 7}  # 6 of 8, times 1.4: enough
    fleet.balancer.apply(snapshot(10, health=[out, out, out, out, 0, 0, 0, 0, 0, 0]))
    counts = Counter(lane.tier for _ in range(5000) if (lane := fleet.balancer.pick(0.0, False)) is not None)
    assert counts[1] == pytest.approx(5000 * 0.3, abs=5 * (5000 * 0.3 * 0.7) ** 0.5)  # 1 - 1.4 · 4/8


def test_what_a_priority_cannot_take_at_once_goes_to_the_next_one_that_can() -> None:
    fleet = Fleet(6, priorities=(0, 0, 1, 1, 2, 2))
    for lane in fleet.lanes:
        lane.full = 12.0

    def load(*slots: int) -> None:
        for slot in slots:
            for _ in range(6):
                fleet.send(fleet.lanes[slot])

    assert fleet.picked(False) == {0, 1}
    load(0)
    assert fleet.picked(False) == {1}
    load(1)
    assert fleet.picked(False) == {2, 3}
    assert fleet.balancer.propensity == pytest.approx(0.5)
    load(2, 3, 4, 5)
    assert fleet.picked(False) == {0, 1}, "where nobody is free, the first priority has it"


def test_patience_is_learned_from_the_tail() -> None:
    fleet = Fleet(4)
    lane = fleet.lanes[0]
    assert fleet.balancer.patience(lane, 0.0, True) == 0.0  # nothing is known yet
    fleet.warm(0.2, seconds=10.0)
    fleet.grade()
    assert fleet.balancer.patience(lane, fleet.now, True) == pytest.approx(0.6, rel=0.05)
    assert fleet.balancer.patience(lane, fleet.now, False) == 0.0
    fleet.answer(lane, 0.002, Verdict.FAILURE, times=2)
    assert fleet.balancer.patience(lane, fleet.now, True) == pytest.approx(0.6, rel=0.05)  # 3 · typical
    lane.timeout = 1.25
    assert fleet.balancer.patience(lane, fleet.now, True) == fleet.balancer.patience(lane, fleet.now, False) == 1.25


def test_patience_has_a_floor_and_a_shorter_one_for_probes() -> None:
    fleet = Fleet(4)
    fleet.warm(0.01, seconds=10.0)
    fleet.grade()
    assert fleet.balancer.patience(fleet.lanes[0], fleet.now, True) == 0.3
    fleet.answer(fleet.lanes[0], 0.002, Verdict.FAILURE, times=2)
    assert fleet.balancer.patience(fleet.lanes[0], fleet.now, True) == 0.05


def test_an_attempt_of_the_balancer_before_may_close_on_it_or_on_its_successor() -> None:
    old = make(cluster(3), random.Random(1))
    lanes = list(old.lanes)
    for key, lane in enumerate(lanes):
        old.sent(lane, key, 0.0)
    new = make(cluster(2), random.Random(1), old)
    assert new.lanes == lanes[:2]
    old.closed(lanes[0], 0, 0.1, 0.1, Verdict.SUCCESS)
    new.closed(lanes[1], 1, 0.1, 0.1, Verdict.FAILURE)
    new.closed(lanes[2], 2, 0.1, 0.1, Verdict.FAILURE)  # its endpoint is gone
    assert [lane.in_flight for lane in lanes] == [0, 0, 0]
    assert new.pick(0.2, False) is lanes[0]
    assert isinstance(new, FastLoop)
    assert new.writes[lanes[0].index] == 1.0


def test_peak_ewma_tries_an_unknown_endpoint_with_one_request() -> None:
    balancer = LeastPeakEwma(cluster(2, "peak_ewma"), random.Random(1))
    known, unknown = balancer.lanes
    balancer.sent(known, 0, 0.0)
    balancer.closed(known, 0, 0.1, 0.1, Verdict.SUCCESS)
    assert balancer.pick(0.1, True) is unknown
    balancer.sent(unknown, 1, 0.1)
    assert balancer.pick(0.1, True) is known


@pytest.mark.parametrize("n", [17, 20, 31, 40])
def test_the_chance_of_a_windowed_choice_is_exact(n: int) -> None:
    rng = random.Random(n)
    column = [float(rng.randrange(4)) for _ in range(n)]
    exact = [0.0] * n
    for offset in range(n):
        window = [(offset + i) % n for i in range(WINDOW)]
        best = min(column[i] for i in window)
        ties = [i for i in window if column[i] == best]
        for i in ties:
            exact[i] += 1.0 / (n * len(ties))
    assert [chance(column, i) for i in range(n)] == pytest.approx(exact)
    drawn = Counter(smallest(column, rng.random) for _ in range(3000))
    for i in range(n):
        assert drawn[i] == pytest.approx(3000 * exact[i], abs=5 * (3000 * exact[i]) ** 0.5 + 1e-9)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="policy 'fastest' of cluster 'api'"):
        make(cluster(1, "fastest"), random.Random(1))


def test_a_snapshot_and_a_configuration_may_come_while_attempts_wait() -> None:
    fleet = Fleet(3)
    fleet.warm()
    waiting = fleet.send(fleet.lanes[0])
    fleet.balancer.apply(snapshot(3, fleet.now))
    successor = make(cluster(3), random.Random(2), fleet.balancer)
    assert successor.pick(fleet.now + 0.5, False) is not fleet.lanes[0]
    successor.closed(fleet.lanes[0], waiting, fleet.now + 0.5, 0.5, Verdict.SUCCESS)


def beaten(fleet: Fleet, seconds: float) -> None:
    """The data plane runs for so long."""
    for _ in range(round(seconds / 0.01)):
        fleet.now += 0.01
        fleet.balancer.beat(fleet.now)


def test_where_we_stood_still_ourselves_nobodys_silence_is_held_against_them() -> None:
    for asleep in (False, True):
        fleet = Fleet(3)
        fleet.warm()
        beaten(fleet, 0.1)
        for lane in fleet.lanes[:2]:
            fleet.send(lane)
            fleet.send(lane)
        if asleep:
            fleet.now += 1.0
        else:
            beaten(fleet, 1.0)
        burst: Counter[int] = Counter()
        for _ in range(10):
            lane = fleet.balancer.pick(fleet.now, True)
            assert lane is not None
            fleet.send(lane)
            burst[lane.slot] += 1
        # What had queued up before us goes to all of them; with a heart that beat, the two that are silent are out.
        assert (min(burst[0], burst[1]) > 0) == asleep
        assert (burst[2] == 10) == (not asleep)


def known_width(fleet: Fleet, width: float, service: float) -> None:
    """As if the departures had told how wide each lane is."""
    for lane in fleet.lanes:
        lane.servers.count, lane.servers.service = width, service
    fleet.balancer.medians_due = 0.0
    fleet.now += 1.0
    fleet.balancer.pick(fleet.now, True)
    for lane in fleet.lanes:
        fleet.answer(lane, service)


def test_what_a_gate_holds_back_does_not_all_go_to_the_one_lane_that_is_left() -> None:
    fleet = Fleet(3)
    fleet.warm()
    known_width(fleet, 4.0, 0.04)
    for lane in fleet.lanes[:2]:
        fleet.answer(lane, 0.01, Verdict.FAILURE)
    burst: Counter[int] = Counter()
    for _ in range(60):
        lane = fleet.balancer.pick(fleet.now, False)
        assert lane is not None
        fleet.send(lane)
        burst[lane.slot] += 1
    full = FULL * 4
    assert burst[2] >= full  # until then, the one without a failure alone
    assert min(burst[0], burst[1]) >= (60 - full) / 3 - 1


def test_a_time_out_that_the_queue_explains_is_no_failure_of_the_endpoint() -> None:
    for in_flight, failed in ((1, True), (60, False)):
        fleet = Fleet(2)
        fleet.warm()
        known_width(fleet, 4.0, 0.04)
        lane = fleet.lanes[0]
        keys = [fleet.send(lane) for _ in range(in_flight)]
        fleet.now += 0.6  # sixty requests of 40 ms, four at a time
        fleet.balancer.closed(lane, keys[0], fleet.now, None, Verdict.FAILURE)
        assert (lane.failures.value > 0.0) == failed


def busy(fleet: Fleet, width: int = 4, service: float = 0.04) -> None:
    """What each lane bears is known, and stays so: so many at a time."""
    fleet.balancer.capacity = False
    for lane in fleet.lanes:
        lane.servers.count, lane.servers.service = float(width), service
    fleet.balancer.medians_due = float("-inf")
    fleet.now += 0.05
    fleet.balancer.pick(fleet.now, False)


def failing(fleet: Fleet, lane: Lane) -> None:
    """A lane that fails a third of its answers: sixteen of 48."""
    for _ in range(16):
        fleet.answer(lane, 0.04, Verdict.FAILURE)
        fleet.answer(lane, 0.04, times=2)


def fill(fleet: Fleet, lane: Lane, n: int) -> None:
    """So many in flight there, all sent just now."""
    for _ in range(n - lane.in_flight):
        fleet.send(lane)


def test_a_lane_that_fails_a_third_takes_repeatable_requests_alone_once_the_rest_queues_for_long() -> None:
    fleet = Fleet(2)
    fleet.warm()
    busy(fleet)
    bad, good = fleet.lanes
    failing(fleet, bad)
    fleet.balancer.explore = 0.0
    fill(fleet, good, 4)  # as many as it serves at a time: no queue yet
    assert fleet.picked(True) == fleet.picked(False) == {1}
    # a third that fails costs one more attempt in two: with 2 · 4 services of the price, the rest is full by then
    fill(fleet, good, 12)
    assert fleet.picked(True) == {0}
    fill(fleet, good, 40)  # more than full, and even in doubt
    assert fleet.picked(False) == {1}


def test_a_lane_that_fails_nearly_all_is_gated_for_repeatable_requests_too() -> None:
    fleet = Fleet(2)
    fleet.warm()
    busy(fleet)
    bad, good = fleet.lanes
    fleet.answer(bad, 0.002, Verdict.FAILURE, times=6)
    fleet.balancer.explore = 0.0
    fill(fleet, good, 12)
    assert fleet.picked(True) == {1}


def test_a_queue_is_no_doubt_while_the_endpoint_answers_at_its_pace() -> None:
    """Of twelve with four servers, the newest eight cannot have come back."""
    fleet = Fleet(2)
    fleet.warm(latency=0.4)
    busy(fleet, service=0.4)
    lane = fleet.lanes[0]
    first = [fleet.send(lane) for _ in range(12)]
    for key in first[:8]:
        fleet.now += 0.1
        fleet.balancer.closed(lane, key, fleet.now, 0.4, Verdict.SUCCESS)
        fleet.send(lane)
    fleet.grade()
    assert lane.bar < POINT
    fleet.now += 0.3  # and then nothing: more than three gaps between two answers
    fleet.grade()
    assert lane.bar >= POINT


def test_patience_is_never_less_than_what_the_queue_before_an_attempt_explains() -> None:
    fleet = Fleet(2)
    fleet.warm()
    busy(fleet, width=2, service=0.5)
    lane = fleet.lanes[0]
    fill(fleet, lane, 8)
    assert fleet.balancer.patience(lane, fleet.now, True) >= 3 * 8 / 2 * 0.5
    assert fleet.balancer.patience(fleet.lanes[1], fleet.now, True) < 1.0


def test_where_the_rest_is_full_a_canary_that_may_be_well_is_asked_often() -> None:
    fleet = Fleet(3)
    fleet.warm()
    busy(fleet)
    fleet.balancer.apply(snapshot(3, fleet.now, health=[Health.CANARY, Health.HEALTHY, Health.HEALTHY]))
    fleet.grade()
    for lane, n in ((1, 2), (2, 13)):  # one has room
        fill(fleet, fleet.lanes[lane], n)
    for room in (True, False):
        picks = [fleet.balancer.pick(fleet.now, True) for _ in range(2000)]
        asked = sum(lane is fleet.lanes[0] for lane in picks) / len(picks)
        assert asked < 0.02 if room else 0.15 < asked < 0.25
        fill(fleet, fleet.lanes[1], 13)


def test_one_kept_connection_that_breaks_says_nothing_and_two_together_keep_what_is_tried_again_away() -> None:
    """An endpoint that has crashed has nothing in flight any more: without a failure it would be the next choice."""
    fleet = Fleet(3)
    fleet.warm()
    gone = fleet.lanes[1]
    keys = [fleet.send(gone, fleet.now - 0.03) for _ in range(2)]
    fleet.balancer.closed(gone, keys.pop(), fleet.now, None, broken(gone, fleet.now))
    assert gone.failures.value == 0.0
    fleet.balancer.closed(gone, keys.pop(), fleet.now, None, broken(gone, fleet.now))
    assert fleet.picked(True, tried=(0,)) == {2}
    assert broken(gone, fleet.now + TOGETHER + 0.1) == Verdict.IGNORE


@pytest.mark.parametrize("health", [Health.DEGRADED, Health.CANARY])
def test_an_endpoint_that_refused_connections_is_explored_more_once_the_slow_loop_tries_it(health: Health) -> None:
    fleet = Fleet(3)
    fleet.warm()
    fleet.grade()
    lane = fleet.lanes[1]
    for _ in range(3):
        fleet.balancer.closed(lane, fleet.send(lane, fleet.now - 0.001), fleet.now, None, Verdict.FAILURE)
    fleet.balancer.apply(snapshot(3, fleet.now, health=[0, int(health), 0]))
    fleet.grade()
    share = sum(fleet.balancer.pick(fleet.now, True) is lane for _ in range(20_000)) / 20_000
    expected = EXPLORE_BACK if health == Health.CANARY else fleet.balancer.explore
    assert abs(share - expected) < 4 * (expected / 20_000) ** 0.5


@pytest.mark.parametrize("refused", [True, False])
def test_an_endpoint_that_is_back_is_explored_more_than_one_that_goes_on_failing(refused: bool) -> None:
    """Both are lowered and have answered last; one had refused connections, and one had answered with errors."""
    fleet = Fleet(3)
    fleet.warm()
    lane = fleet.lanes[1]
    fleet.balancer.apply(snapshot(3, fleet.now, health=[0, int(Health.DEGRADED), 0]))
    fleet.grade()
    for _ in range(3):
        key = fleet.send(lane)
        fleet.balancer.closed(lane, key, fleet.now, None if refused else 0.001, Verdict.FAILURE)
    fleet.now += 1.0
    fleet.answer(lane, 0.04)
    fleet.grade()
    share = sum(fleet.balancer.pick(fleet.now, True) is lane for _ in range(20_000)) / 20_000
    expected = EXPLORE_BACK if refused else fleet.balancer.explore
    assert abs(share - expected) < 4 * (expected / 20_000) ** 0.5


@pytest.mark.parametrize("waits", [False, True])
def test_an_endpoint_that_is_back_gets_a_fifth_where_all_others_queue_and_as_many_at_a_time_as_it_answered(
    waits: bool,
) -> None:
    fleet = Fleet(3)
    fleet.warm()
    busy(fleet)
    lane, *others = fleet.lanes
    for _ in range(3):
        fleet.balancer.closed(lane, fleet.send(lane, fleet.now - 0.001), fleet.now, None, Verdict.FAILURE)
    fleet.balancer.apply(snapshot(3, fleet.now, health=[int(Health.CANARY), 0, 0]))
    fleet.grade()
    for other in others:
        fill(fleet, other, round(SPILL * FULL * 4) if waits else 4)
    for in_row in range(3):
        fill(fleet, lane, in_row)  # as many as it has answered
        picks = 5_000
        share = sum(fleet.balancer.pick(fleet.now, True) is lane for _ in range(picks)) / picks
        expected = EXPLORE_FULL if waits else EXPLORE_BACK
        assert abs(share - expected) < 4 * (expected / picks) ** 0.5
        fill(fleet, lane, in_row + 1)
        assert not any(fleet.balancer.pick(fleet.now, True) is lane for _ in range(100))
        for key in list(lane.outstanding):
            fleet.balancer.closed(lane, key, fleet.now, None, Verdict.IGNORE)
        fleet.answer(lane, 0.04)
