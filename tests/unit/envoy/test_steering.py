"""From Snapshots to what Envoy is told: states first, weights second, and not too often."""

from __future__ import annotations

import yaml

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.config.topology import assign_slots, topology
from adaptive.envoy.steering import Push, Steering
from adaptive.envoy.translate.endpoints import Line, assignment, decide, quantised, shares
from adaptive.types import ClusterEntry, Health, Snapshot, first_snapshot


def config(*more: dict[str, object]) -> Config:
    endpoints = [f"127.0.0.1:{port}" for port in (1, 2, 3, 4)]
    text = {
        "listen": ["127.0.0.1:8080"],
        "clusters": {"one": {"endpoints": endpoints}, "two": {"endpoints": ["127.0.0.1:9"]}},
        "routes": [{"cluster": "one"}],
    }
    return parse(yaml.safe_dump(text))


def snapshot(made: Config, at: float, weight: list[int] | None = None, health: list[int] | None = None) -> Snapshot:
    base = first_snapshot(topology(made, assign_slots(made, {}), 1), at, version=int(at * 1000))
    weights, states = [*(weight or [100] * 4), 100], [*(health or [0] * 4), 0]
    return Snapshot(**{**{f: getattr(base, f) for f in base.__slots__}, "weight": weights, "health": states})


def begun(made: Config) -> Steering:
    steering = Steering(made, assign_slots(made, {}), 1)
    assert {push.cluster for push in steering.first(None, 0.0)} == {"one", "two"}
    return steering


def lines(pushes: list[Push]) -> list[tuple[int, str]]:
    (push,) = pushes
    return [tuple(line) for line in push.lines]


def test_weights_that_hardly_differ_are_told_as_equal() -> None:
    made = config()
    assert begun(made).due(snapshot(made, 1.0, weight=[100, 85, 95, 110]), 1.0) == []


def test_weights_that_differ_are_told_in_steps() -> None:
    made = config()
    told = lines(begun(made).due(snapshot(made, 1.0, weight=[100, 20, 100, 100]), 1.0))
    assert told[1][0] < 30
    assert {told[0], told[2], told[3]} == {(told[0][0], "HEALTHY")}


def test_a_weight_near_its_step_does_not_move() -> None:
    now = quantised(50, 0)
    assert all(quantised(weight, now) == now for weight in range(42, 52))
    assert quantised(36, now) < now


def test_each_state_has_its_status() -> None:
    made = config()
    states = [Health.HEALTHY, Health.DEGRADED, Health.CANARY, Health.EJECTED]
    told = lines(begun(made).due(snapshot(made, 1.0, health=[int(state) for state in states]), 1.0))
    assert told == [(100, "HEALTHY"), (100, "DEGRADED"), (1, "HEALTHY"), (100, "UNHEALTHY")]
    draining = lines(begun(made).due(snapshot(made, 1.0, health=[int(Health.DRAINING), 0, 0, 0]), 1.0))
    assert draining[0][1] == "DRAINING"


def test_who_is_out_keeps_its_weight_so_that_envoy_sees_what_a_priority_has_lost() -> None:
    """Envoy's share of a priority that is well: the weight of its healthy endpoints over that of all."""
    made = config()
    out, gone = int(Health.EJECTED), int(Health.DRAINING)
    told = lines(begun(made).due(snapshot(made, 1.0, weight=[1, 1, 100, 40], health=[out, gone, 0, 0]), 1.0))
    well = sum(weight for weight, status in told if status == "HEALTHY")
    assert well / sum(weight for weight, _ in told) < 0.5


def test_in_panic_everyone_serves() -> None:
    made = config()
    own = made.clusters["one"]
    told = decide(own, [100, 1, 1, 1], [int(Health.EJECTED)] * 4, panic=True)
    assert set(told) == {Line(100, "HEALTHY")}


def test_a_cluster_is_pushed_once_an_interval_and_then_with_the_latest() -> None:
    made = config()
    steering = begun(made)
    assert steering.due(snapshot(made, 1.0, health=[3, 0, 0, 0]), 1.0)
    assert steering.due(snapshot(made, 1.1, health=[3, 3, 0, 0]), 1.1) == []
    assert steering.late, "the same Snapshot has to be looked at again"
    told = lines(steering.due(snapshot(made, 1.1, health=[3, 3, 0, 0]), 1.26))
    assert [status for _, status in told] == ["UNHEALTHY", "UNHEALTHY", "HEALTHY", "HEALTHY"]
    assert steering.due(snapshot(made, 2.0, health=[3, 3, 0, 0]), 2.0) == []
    assert not steering.late


def test_a_snapshot_of_another_configuration_says_nothing() -> None:
    made = config()
    other = Steering(made, assign_slots(made, {}), 2)
    other.first(None, 0.0)
    assert other.due(snapshot(made, 1.0, health=[3, 0, 0, 0]), 1.0) == []


def test_a_new_configuration_goes_on_from_what_was_told() -> None:
    made = config()
    old = begun(made)
    old.due(snapshot(made, 1.0, health=[3, 0, 0, 0]), 1.0)
    new = Steering(made, assign_slots(made, {}), 2)
    pushes = {push.cluster: push.lines for push in new.first(None, 2.0, old)}
    assert pushes["one"][0].status == "UNHEALTHY"


def test_an_attempt_finds_the_push_that_it_was_sent_under() -> None:
    made = config()
    steering = begun(made)
    steering.due(snapshot(made, 1.0, health=[3, 0, 0, 0]), 1.0)
    assert steering.picked("one", 1, 0.5) == (0, 0.25)
    assert steering.picked("one", 1, 1.5) == (1000, 1 / 3)
    assert steering.picked("one", 0, 1.5)[1] == 0.25, "what is out was picked under the push before"


def test_shares_are_of_those_who_serve() -> None:
    assert shares([Line(100, "HEALTHY"), Line(1, "HEALTHY"), Line(100, "DEGRADED")]) == [100 / 101, 1 / 101, 0]
    assert shares([Line(50, "DEGRADED"), Line(50, "UNHEALTHY")]) == [1, 0]
    assert shares([Line(1, "UNHEALTHY"), Line(1, "UNHEALTHY")]) == [0.5, 0.5]


def test_endpoints_go_by_priority_and_zone_and_carry_their_stable_name() -> None:
    text = {
        "listen": ["127.0.0.1:8080"],
        "clusters": {
            "one": {
                "endpoints": [
                    {"address": "127.0.0.1:1", "zone": "b"},
                    {"address": "127.0.0.1:2", "priority": 1},
                    {"address": "127.0.0.1:3", "zone": "a"},
                ]
            }
        },
        "routes": [{"cluster": "one"}],
    }
    own = parse(yaml.safe_dump(text)).clusters["one"]
    made = assignment("one", own, decide(own, [100] * 3, [0] * 3, False))
    assert [(each["priority"], each["locality"]["zone"]) for each in made["endpoints"]] == [(0, "a"), (0, "b"), (1, "")]
    near_b = assignment("one", own, decide(own, [100] * 3, [0] * 3, False), "b")["endpoints"]
    assert [(each["priority"], each["locality"]["zone"]) for each in near_b] == [(0, "b"), (1, "a"), (2, "")]
    (first,) = made["endpoints"][0]["lb_endpoints"]
    assert first["metadata"]["filter_metadata"]["adaptive"] == {"e": "one|127.0.0.1:3"}


def test_panic_of_the_snapshot_reaches_the_lines() -> None:
    made = config()
    panicking = snapshot(made, 1.0, health=[3, 3, 3, 3])
    quiet = ClusterEntry(panic=True, fallback=True, explore=0.0, typical=0.0)
    panicking = Snapshot(**{**{f: getattr(panicking, f) for f in panicking.__slots__}, "clusters": [quiet, quiet]})
    assert begun(made).due(panicking, 1.0) == []
