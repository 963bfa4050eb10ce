"""When the controller publishes, what survives a reload, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptive.controller import Controller, Settings
from adaptive.policy.ladder import EJECTED_HOLD, UNTRIED
from adaptive.types import Health, Member, Publish, Reconfigured, Tick, TrustChanged, first_snapshot
from models.features import SCHEMA
from models.predictor import Silent
from tests.simulation.toy import Behaviour, Fleet, topology


def test_the_first_tick_publishes_and_then_once_a_second() -> None:
    c = Controller(topology(3))
    at = [1000 + i * 0.1 for i in range(35)]
    published = [t for t in at for command in c.handle(Tick(t)) if isinstance(command, Publish)]
    assert published == pytest.approx([1000.0, 1001.0, 1002.0, 1003.0], abs=0.11)


def test_a_report_before_any_event_is_possible() -> None:
    assert len(Controller(topology(3)).report()["clusters"][0]["endpoints"]) == 3


def test_snapshots_carry_the_share_of_exploration_and_the_typical_latency() -> None:
    fleet = Fleet(3, lambda t, s: Behaviour(), settings=Settings(explore=0.01)).run(3)
    entry = fleet.snapshots()[-1].snapshot.clusters[0]
    assert entry.explore == 0.01
    assert entry.typical == pytest.approx(0.033, rel=0.2)
    assert not entry.fallback  # the model that ships may decide from the first second


def test_what_is_known_of_endpoints_that_stay_survives_a_reload() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5)).run(10)
    before = fleet.controller
    attempts = before.report()["clusters"][0]["endpoints"][1]["windows"]["30s"]["attempts"]
    old = fleet.topology.clusters[0]
    members = (
        *old.members[:3],
        Member(replace(old.members[3].endpoint, port=7777), 3),
        *topology(6).clusters[0].members[4:],
    )
    wider = replace(fleet.topology, generation=2, clusters=(replace(old, members=members),), slots=6)
    published = before.handle(Reconfigured(1010.05, wider))[-1]
    assert isinstance(published, Publish)
    assert published.snapshot.generation == 2
    assert published.snapshot.health == [Health.EJECTED, 0, 0, 0, 0, 0]
    endpoints = before.report()["clusters"][0]["endpoints"]
    assert endpoints[1]["windows"]["30s"]["attempts"] == attempts
    assert endpoints[3]["windows"]["30s"]["attempts"] == 0  # the same slot, another address


def test_a_reload_to_fewer_endpoints_may_not_leave_nothing() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5)).run(10)
    one = topology(1, generation=2)
    published = fleet.controller.handle(Reconfigured(1010.1, one))[-1]
    assert isinstance(published, Publish)
    assert published.snapshot.inconsistencies(one) == []
    assert published.snapshot.clusters[0].panic


def test_a_topology_of_nothing_is_served() -> None:
    c = Controller(topology(2))
    c.handle(Reconfigured(1000.0, replace(topology(2), generation=3, clusters=(), slots=0)))
    assert isinstance(c.handle(Tick(1002.0))[-1], Publish)


def test_without_a_model_the_rule_decides_and_the_report_says_why() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5), settings=Settings(enabled=False)).run(10)
    assert fleet.controller.report()["clusters"][0]["reason"] == "the model is switched off"
    assert fleet.moves(0)[-1][1] == Health.EJECTED
    assert not any(isinstance(c, TrustChanged) for _, c in fleet.commands)


def test_a_model_of_another_schema_is_refused() -> None:
    Controller(topology(2), predictor=Silent(SCHEMA))
    with pytest.raises(ValueError, match="schema other"):
        Controller(topology(2), predictor=Silent("other"))


def test_a_controller_that_replaces_another_goes_on_where_it_stopped() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5)).run(8)
    last = fleet.snapshots()[-1].snapshot
    assert last.health[0] == Health.EJECTED
    heir = Controller(fleet.topology)
    heir.resume(last)
    published = heir.handle(Tick(1008.1))[-1]
    assert isinstance(published, Publish)
    assert published.snapshot.version == last.version + 1
    assert (published.snapshot.health, published.snapshot.weight) == (last.health, last.weight)
    seconds = EJECTED_HOLD + UNTRIED + 1.0  # no request comes, so that only time can tell
    later = [c for i in range(int(seconds * 10)) for c in heir.handle(Tick(1008.2 + i * 0.1)) if isinstance(c, Publish)]
    assert later[-1].snapshot.health == [0, 0, 0, 0]  # nothing speaks against it


def test_a_snapshot_of_another_configuration_gives_its_version_only() -> None:
    heir = Controller(topology(3))
    heir.resume(replace(first_snapshot(topology(3, generation=9), 0.0, version=41), health=[3, 3, 0]))
    published = heir.handle(Tick(1000.0))[-1]
    assert isinstance(published, Publish)
    assert published.snapshot.version == 42
    assert published.snapshot.health == [0, 0, 0]
