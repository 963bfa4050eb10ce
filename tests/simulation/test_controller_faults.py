"""Faults in virtual time: how soon the slow loop sees them, how far it goes, and that it finds the way back.

Several take a second or more: a minute of traffic at 1,000 requests/s each.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adaptive.types import Event, Health, HealthChecked
from tests.simulation.toy import Behaviour, Fleet

H, D, C, E = Health.HEALTHY, Health.DEGRADED, Health.CANARY, Health.EJECTED


def only(slot: int, ill: Callable[[float], Behaviour]) -> Callable[[float, int], Behaviour]:
    return lambda t, s: ill(t) if s == slot else Behaviour()


def first(fleet: Fleet, slot: int, to: Health) -> float:
    """When an endpoint first came to a state."""
    return next((t for t, after, _ in fleet.moves(slot) if after == to), float("inf"))


def test_a_crash_is_lowered_in_half_a_second_ejected_in_two_and_returns_by_its_trial() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(refused=10 < t < 15))).run(40)
    assert 10 < first(fleet, 0, D) <= 10.5
    assert first(fleet, 0, E) <= 12
    when, after, reason = fleet.moves(0)[-1]
    assert after == H
    assert when < 27  # a trial fails at 15 s, the next one comes 6 s later
    assert "requests succeeded since" in reason
    assert fleet.moves() == fleet.moves(0)
    assert fleet.snapshots()[-1].snapshot.weight == [100] * 10


def test_health_checks_that_pass_again_bring_an_earlier_trial() -> None:
    def checks(t: float) -> list[Event]:
        return [HealthChecked(1000 + t, 0, not 10 < t < 22, 0.001)] if round(t * 10) % 5 == 0 else []

    fleet = Fleet(10, only(0, lambda t: Behaviour(refused=10 < t < 22)), extra=checks, cluster={"health_checked": True})
    fleet.run(40)
    assert first(fleet, 0, E) < 12
    tries = [t for t, after, _ in fleet.moves(0) if after == C]
    assert len(tries) == 2  # on the way down, and once the checks pass: none while they fail
    assert 22 < tries[1] < 23.5
    assert fleet.moves(0)[-1][0] < 30


def test_a_passing_check_never_overrides_failing_requests() -> None:
    def checks(t: float) -> list[Event]:
        return [HealthChecked(1000 + t, 0, True, 0.001)] if round(t * 10) % 5 == 0 else []

    fleet = Fleet(
        10, only(0, lambda t: Behaviour(errors=1.0 if t > 10 else 0.0)), extra=checks, cluster={"health_checked": True}
    )
    fleet.run(60)
    assert first(fleet, 0, E) < 12.5
    healthy = [t for t, after, _ in fleet.moves(0) if after == H]
    assert healthy == []


def test_a_slow_ramp_is_lowered_never_ejected_and_does_not_bounce() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(latency=0.04 * (1 + max(0.0, t - 10) / 5)))).run(60)
    assert 15 < first(fleet, 0, D) < 25
    assert {after for _, after, _ in fleet.moves()} == {D}
    assert len(fleet.moves()) == 1


def test_creeping_errors_are_lowered_before_a_tenth_of_the_requests_fails() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(errors=min(1.0, max(0.0, t - 10) / 60))), gate=False).run(40)
    assert first(fleet, 0, D) < 16.5
    assert fleet.moves() == fleet.moves(0)


def test_two_that_fail_fast_are_both_out_in_two_seconds() -> None:
    fleet = Fleet(10, lambda t, s: Behaviour(errors=1.0 if s < 2 and t > 10 else 0.0)).run(20)
    assert max(first(fleet, 0, E), first(fleet, 1, E)) < 12.5
    assert {c.endpoint.port for _, c in fleet.commands if hasattr(c, "endpoint")} == {9000, 9001}


def test_a_hang_is_seen_before_its_first_time_out() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(hung=t > 10))).run(15)
    assert first(fleet, 0, D) < 11.5
    assert "none answered" in fleet.moves(0)[0][2]


def test_at_one_request_a_second_a_crash_takes_a_few_failures() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(refused=t > 20)), rate=lambda t: 10).run(40)
    assert 20 < first(fleet, 0, D) < 32
    assert fleet.moves() == fleet.moves(0)


def test_when_all_are_bad_the_cluster_panics_someone_still_serves_and_all_return() -> None:
    fleet = Fleet(10, lambda t, s: Behaviour(refused=10 < t < 20)).run(60)
    during = [p.snapshot for p in fleet.snapshots() if 1013 < p.snapshot.at < 1019]
    assert all(s.clusters[0].panic for s in during)
    assert all(min(s.health) < E for s in during)
    assert fleet.snapshots()[-1].snapshot.health == [H] * 10
    assert not fleet.snapshots()[-1].snapshot.clusters[0].panic


def test_a_zone_of_four_is_taken_out_without_panic() -> None:
    fleet = Fleet(10, lambda t, s: Behaviour(refused=s < 4 and t > 10)).run(20)
    assert [h >= C for h in fleet.snapshots()[-1].snapshot.health] == [True] * 4 + [False] * 6
    assert not any(p.snapshot.clusters[0].panic for p in fleet.snapshots())


def test_a_flapping_endpoint_spends_ever_longer_at_the_bottom() -> None:
    fleet = Fleet(10, only(0, lambda t: Behaviour(errors=1.0 if t // 5 % 2 else 0.0))).run(150)
    early = sum(t < 75 for t, _, _ in fleet.moves(0))
    late = sum(t >= 75 for t, _, _ in fleet.moves(0))
    assert late < early
    assert late <= 8


def test_load_moves_no_faster_than_the_rest_is_seen_to_bear_it() -> None:
    """Four of ten become four times slower, all at once. What one bears well is known as half as much again as it has
    borne so far, so that the last of the four must wait until the others are seen to bear what came to them.
    """
    fleet = Fleet(10, lambda t, s: Behaviour(latency=0.16 if s < 4 and t > 10 else 0.04), rate=lambda t: 1500).run(30)
    times = sorted(first(fleet, slot, D) for slot in range(4))
    assert times[1] - times[0] < 1.0
    assert times[3] - times[0] > 0.5
    assert "the rest would be at" in fleet.controller.steering.clusters[0].guarded


@pytest.mark.parametrize("size", [1, 2])
def test_the_smallest_clusters_keep_serving(size: int) -> None:
    fleet = Fleet(size, lambda t, s: Behaviour(refused=10 < t < 20), rate=lambda t: 50).run(60)
    assert all(min(p.snapshot.health) < E for p in fleet.snapshots())
    assert fleet.snapshots()[-1].snapshot.health == [H] * size


def test_a_classical_policy_is_moved_by_its_health_checks_alone() -> None:
    def checks(t: float) -> list[Event]:
        return [HealthChecked(1000 + t, 1, t < 10, 0.001)] if round(t * 10) % 5 == 0 else []

    cluster = {"policy": "round_robin", "health_checked": True}
    fleet = Fleet(4, only(0, lambda t: Behaviour(refused=t > 10)), extra=checks, cluster=cluster).run(20)
    assert fleet.moves(0) == []
    assert first(fleet, 1, E) < 14


def test_the_model_sees_a_ramp_before_the_rule_does_and_sooner_as_it_learns() -> None:
    """The same endpoint slows down in each of five minutes; it is lowered sooner than by the rule alone in all of them,
    and in the last one by the long horizon, two seconds sooner and more.

    The long horizon is believed by its own answers: the short one is no better than the rule here.
    """

    def ramp(t: float) -> Behaviour:
        return Behaviour(latency=0.04 * (1 + max(0.0, t % 60 - 10) / 5))

    by_rule = first(Fleet(10, only(0, ramp), cluster={"predict": False}).run(60), 0, D)
    fleet = Fleet(10, only(0, ramp)).run(300)
    lowered = [(t % 60, reason) for t, after, reason in fleet.moves(0) if after == D]
    assert len(lowered) == 5
    assert all(t < by_rule and "predicted" in reason for t, reason in lowered)
    assert "predicted to breach its objective within 30 s" in lowered[-1][1]
    assert lowered[-1][0] < by_rule - 2.0
    assert lowered[-1][0] < lowered[0][0] - 0.5
    assert fleet.moves() == fleet.moves(0)
    assert fleet.trust()[0][1:] == (False, "better than the rule, in training")
