"""Nothing is wrong, and nothing may move: load that swings, noise, uneven machines, the gateway's own stalls.

Each takes a second or more: minutes of traffic in virtual time are what a false move needs to happen.
"""

from __future__ import annotations

import numpy as np
import pytest

from adaptive.types import Event, Health, HealthChecked, InFlightSeen, ObserverSeen, Tick
from models.detectors import threshold
from models.drift import SHIFTED
from models.features import NAMES
from tests.simulation.toy import Behaviour, Fleet


def assert_even(fleet: Fleet) -> None:
    assert fleet.moves() == []
    assert {tuple(p.snapshot.weight) for p in fleet.snapshots()} == {(100,) * fleet.size}
    assert not any(p.snapshot.clusters[0].panic for p in fleet.snapshots())


@pytest.mark.parametrize("seed", range(3))
def test_load_that_swings_threefold_moves_nothing(seed: int) -> None:
    def swing(t: float) -> float:
        return 3.0 if t // 5 % 2 else 1.0

    def even(t: float, s: int) -> Behaviour:
        return Behaviour(latency=0.03 * swing(t), errors=0.01)

    fleet = Fleet(10, even, rate=lambda t: 300 * swing(t), seed=seed)
    assert_even(fleet.run(120))


def test_uneven_machines_move_nothing() -> None:
    assert_even(Fleet(10, lambda t, s: Behaviour(latency=0.04 if s % 2 else 0.07)).run(60))


def test_a_machine_that_is_slower_for_good_raises_no_alarm_and_one_that_gets_slower_does() -> None:
    """For 40 s with thirty requests a second each: a quarter slower from the first second, or from the twentieth."""
    nats = []
    for since in (0.0, 20.0):
        slower = Fleet(5, lambda t, s, x=since: Behaviour(0.05 if s == 0 and t >= x else 0.04), rate=lambda t: 150)
        learner = slower.run(40).controller.learner
        assert learner is not None
        nats.append(learner.past.nats[1])
    assert nats[0].max() < threshold(30.0) / 2
    assert nats[1][0] > 2 * nats[1][1:].max()


def test_a_fleet_that_gets_older_is_no_drift() -> None:
    """Past the first two minutes, from which on what the features are is compared with what they were."""
    learner = Fleet(10, lambda t, s: Behaviour(), rate=lambda t: 100).run(152).controller.learner
    assert learner is not None
    shift = learner.population.shift()
    assert len(shift) == 0 or shift[NAMES.index("youth")] > SHIFTED
    assert "youth" not in learner.last_drift


def test_a_cold_start_of_the_gateway_moves_nothing() -> None:
    assert_even(Fleet(10, lambda t, s: Behaviour(latency=0.04 * (1 + 4 * np.exp(-t / 5)))).run(30))


def test_one_cold_instance_is_at_most_lowered() -> None:
    fleet = Fleet(10, lambda t, s: Behaviour(latency=0.04 * (1 + (4 * np.exp(-t / 10) if s == 0 else 0)))).run(90)
    assert {to for _, to, _ in fleet.moves()} <= {Health.DEGRADED, Health.HEALTHY}
    assert fleet.controller.steering.health[0] == Health.HEALTHY
    assert fleet.moves() == fleet.moves(0)


def test_one_request_a_second_with_a_rare_error_moves_nothing() -> None:
    assert_even(Fleet(10, lambda t, s: Behaviour(errors=0.01), rate=lambda t: 10).run(300))


@pytest.mark.parametrize(("each", "asked"), [(1, False), (4, True)])
def test_nothing_is_foreseen_of_endpoints_with_few_requests(each: int, asked: bool) -> None:
    learner = Fleet(5, lambda t, s: Behaviour(), rate=lambda t: 5 * each).run(35).controller.learner
    assert learner is not None
    assert not np.isnan(learner.features).any()
    assert np.isfinite(learner.coming).all() == np.isfinite(learner.coming_least).all() == asked


def test_a_stall_of_the_gateway_ejects_nobody() -> None:
    """For a second the data plane does not run: eight of ten look refused or slow, and the brain is told why."""

    def stalled(t: float, s: int) -> Behaviour:
        return Behaviour(latency=1.2) if 20 < t < 21.2 and s < 4 else Behaviour(refused=20 < t < 21.2 and s >= 6)

    def told(t: float) -> list[Event]:
        return [ObserverSeen(1000 + t, 0.3 if 20 < t < 21.5 else 0.001, 0)]

    assert_even(Fleet(10, stalled, extra=told, gate=False).run(40))
    blamed = Fleet(10, stalled, gate=False).run(40)
    assert blamed.moves()  # without being told, the same would have moved


def test_lost_outcomes_freeze_suspicion_and_the_report_says_so() -> None:
    fleet = Fleet(
        5, lambda t, s: Behaviour(refused=s == 0 and t > 5), extra=lambda t: [ObserverSeen(1000 + t, 0.0, int(t > 5))]
    )
    fleet.run(10)
    assert fleet.moves() == []
    report = fleet.controller.report()
    assert "outcomes were lost" in report["observer"]["blind"]


def test_an_idle_gateway_publishes_once_a_second_and_decides_nothing() -> None:
    fleet = Fleet(10, lambda t, s: Behaviour(), rate=lambda t: 0).run(30)
    assert 29 <= len(fleet.snapshots()) <= 32
    assert len(fleet.commands) == len(fleet.snapshots())


def test_checks_that_fail_everywhere_while_requests_succeed_move_nothing() -> None:
    def checks(t: float) -> list[Event]:
        return [HealthChecked(1000 + t, s, t < 10, 0.01) for s in range(5)] if round(t * 10) % 5 == 0 else []

    assert_even(Fleet(5, lambda t, s: Behaviour(), extra=checks, cluster={"health_checked": True}).run(30))


def test_a_tunnel_that_stays_open_is_no_stall() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(), rate=lambda t: 40).run(10)
    for i in range(1, 600):
        at = 1010 + i * 0.1
        fleet.controller.handle(InFlightSeen(at, np.array([3, 0, 0, 0]), np.array([1001.0, np.nan, np.nan, np.nan])))
        fleet.controller.handle(Tick(at))
    assert fleet.controller.steering.health.tolist() == [0, 0, 0, 0]
