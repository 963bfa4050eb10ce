"""Overrides by hand, their end, and what an operator is told."""

from __future__ import annotations

import json

import pytest

from adaptive.controller import Controller, Settings
from adaptive.types import Health, Moved, Overridden, Publish, Tick
from models.online import OnlinePredictor
from tests.simulation.toy import Behaviour, Fleet, topology

AT = 1000.0


def controller(n: int = 3) -> Controller:
    made = Controller(topology(n), Settings(enabled=False))
    made.handle(Tick(AT))
    return made


def test_an_override_takes_effect_at_once_and_ends_by_itself() -> None:
    c = controller()
    moved, published = c.handle(Overridden(AT, 1, Health.EJECTED, AT + 5, "maintenance"))
    assert isinstance(moved, Moved)
    assert moved.reason == "set by an operator: maintenance"
    assert isinstance(published, Publish)
    assert published.snapshot.health == [0, Health.EJECTED, 0]
    assert published.snapshot.weight == [100, 1, 100]
    assert not any(isinstance(x, Moved) for x in c.handle(Tick(AT + 4.9)))
    ended = c.handle(Tick(AT + 5.0))
    assert [x.after for x in ended if isinstance(x, Moved)] == [Health.HEALTHY]


def test_an_override_of_none_ends_the_one_before() -> None:
    c = controller()
    c.handle(Overridden(AT, 1, Health.DRAINING, AT + 500))
    commands = c.handle(Overridden(AT + 1, 1, None, AT + 1))
    assert [x.after for x in commands if isinstance(x, Moved)] == [Health.HEALTHY]
    assert c.steering.overrides == {}


def test_an_endpoint_set_to_healthy_by_hand_stays_so_whatever_it_does() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 2))
    fleet.controller.handle(Overridden(1000.0, 0, Health.HEALTHY, 1100.0))
    fleet.run(15)
    assert fleet.moves() == []


def test_ejecting_everything_by_hand_is_a_panic_and_not_an_error() -> None:
    c = controller(2)
    c.handle(Overridden(AT, 0, Health.EJECTED, AT + 50))
    published = c.handle(Overridden(AT, 1, Health.DRAINING, AT + 50))[-1]
    assert isinstance(published, Publish)
    assert published.snapshot.clusters[0].panic


def test_an_override_of_no_endpoint_or_of_the_past_changes_nothing() -> None:
    c = controller()
    for event in (Overridden(AT, 99, Health.EJECTED, AT + 9), Overridden(AT, 1, Health.EJECTED, AT - 1)):
        assert not any(isinstance(x, Moved) for x in c.handle(event))


def test_the_report_is_json_and_holds_what_an_operator_needs() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5), predictor=OnlinePredictor(seed=0)).run(10)
    report = json.loads(json.dumps(fleet.controller.report(), allow_nan=False))
    cluster = report["clusters"][0]
    assert cluster["mode"] == "fallback"
    assert cluster["reason"].startswith("unsure")
    bad, good = cluster["endpoints"][:2]
    assert bad["health"] == "EJECTED"
    assert bad["causes"]["CONNECT_REFUSED"] > 5
    assert good["health"] == "HEALTHY"
    assert good["weight"] == 100
    assert good["windows"]["5s"]["p50_seconds"] == pytest.approx(0.034, rel=0.2)
    assert good["latency"]["counts"][-1] == good["statuses"]["2xx"]
    assert good["latency"]["counts"] == sorted(good["latency"]["counts"])


def test_explaining_an_ejected_endpoint_tells_the_story_in_a_sentence() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(refused=s == 0 and t > 5), predictor=OnlinePredictor(seed=0)).run(8.5)
    told = json.loads(json.dumps(fleet.controller.explain("c0", "10.0.0.1:9000"), allow_nan=False))
    assert told["summary"].startswith("10.0.0.1:9000 gets no requests, since ")
    assert "without a connection" in told["summary"]
    assert [step["to"] for step in told["history"]] == ["DEGRADED", "CANARY", "EJECTED"]
    assert told["decided_by"] == "rule"


def test_explaining_a_healthy_endpoint_lists_every_feature_strongest_first() -> None:
    fleet = Fleet(4, lambda t, s: Behaviour(latency=0.08 if s == 0 else 0.04), predictor=OnlinePredictor(seed=0)).run(5)
    told = fleet.controller.explain("c0", "10.0.0.1:9000")
    sizes = [abs(f["contribution"]) for f in told["features"]]
    assert sizes == sorted(sizes, reverse=True)
    assert told["features"][0]["name"].startswith("latency_peers")


def test_an_unknown_endpoint_cannot_be_explained() -> None:
    with pytest.raises(KeyError, match="c0/nowhere:1"):
        controller().explain("c0", "nowhere:1")
