"""Slots and the Topology."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.config.topology import assign_slots, ranks, topology


def config(**clusters: list[Any]) -> Config:
    text = "listen: 127.0.0.1:0\nclusters:\n"
    text += "".join(f"  {name}: {{endpoints: {endpoints}}}\n" for name, endpoints in clusters.items())
    return parse(text + f"routes: [{{cluster: {next(iter(clusters))}}}]\n")


def test_slots_are_given_in_the_order_of_the_file() -> None:
    assert assign_slots(config(b=["x:1", "[::1]:1"], a=["x:1"]), {}) == {"b|x:1": 0, "b|[::1]:1": 1, "a|x:1": 2}


def test_an_endpoint_keeps_its_slot_through_reloads() -> None:
    before = assign_slots(config(a=["x:1", "x:2", "x:3"]), {})
    after = assign_slots(config(a=["x:3", "x:1"]), before)
    assert after == {"a|x:3": 2, "a|x:1": 0}


def test_a_new_endpoint_never_takes_the_slot_that_one_has_just_left() -> None:
    before = assign_slots(config(a=["x:1", "x:2"]), {})
    after = assign_slots(config(a=["x:9", "x:2"]), before)
    assert after == {"a|x:9": 2, "a|x:2": 1}
    assert assign_slots(config(a=["x:7", "x:9", "x:2"]), after)["a|x:7"] == 0


def test_the_topology_says_all_that_the_core_needs_of_a_cluster() -> None:
    found = parse("""\
listen: 127.0.0.1:0
clusters:
  b:
    endpoints: [{address: x:1, weight: 2, zone: z, priority: 1, metadata: {v: "2"}}, x:2]
    policy: random
    predict: false
  a: {endpoints: [x:1], health_check: {}, objective: {errors: 0.1, latency: 50ms}}
routes: [{cluster: a}]
""")
    slots = assign_slots(found, {})
    b, a = (made := topology(found, slots, 7)).clusters
    assert (made.generation, made.slots, b.index, a.index) == (7, 3, 0, 1)
    assert (b.policy, b.predict, b.health_checked, a.health_checked) == ("random", False, False, True)
    assert (a.objective_errors, a.objective_latency, b.objective_latency) == (0.1, 0.05, None)
    member, _ = b.members
    assert (member.weight, member.zone, member.priority, member.metadata, member.slot) == (2.0, "z", 1, {"v": "2"}, 0)
    assert str(member.endpoint) == "b/x:1"


def test_endpoints_of_the_own_zone_come_first_within_their_priority() -> None:
    places = [("near", 0), ("far", 0), ("", 0), ("far", 1), ("farther", 1)]
    endpoints = [{"address": f"x:{i + 1}", "zone": zone, "priority": p} for i, (zone, p) in enumerate(places)]
    cluster = config(a=endpoints).clusters["a"]
    assert ranks(cluster, "near") == [0, 1, 0, 2, 2]
    assert ranks(cluster, "") == [0, 0, 0, 1, 1]


def test_a_topology_of_endpoints_without_slots_is_a_bug_and_not_made() -> None:
    with pytest.raises(KeyError):
        topology(config(a=["x:1"]), {}, 1)
