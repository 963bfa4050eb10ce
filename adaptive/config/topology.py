"""From a Config to what the other parts work with: slots, the Topology, and the hash that names a configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from adaptive.config.model import ClusterConfig, Config
from adaptive.types import Cluster, Endpoint, Member, Topology


def slot_key(cluster: str, address: str) -> str:
    """An endpoint's key in a table of slots."""
    return f"{cluster}|{address}"


def assign_slots(config: Config, previous: Mapping[str, int]) -> dict[str, int]:
    """A slot for each endpoint, by `slot_key`: the one it had, else the lowest that no endpoint of either
    configuration holds, so that late outcomes of a removed endpoint are never taken for those of a new one.
    """
    keys = [slot_key(name, e.address) for name, cluster in config.clusters.items() for e in cluster.endpoints]
    slots = {key: previous[key] for key in keys if key in previous}
    taken = set(previous.values())
    free = 0
    for key in keys:
        if key in slots:
            continue
        while free in taken:
            free += 1
        slots[key] = free
        free += 1
    return slots


def ranks(cluster: ClusterConfig, zone: str) -> list[int]:
    """Which endpoints come first, from 0 on without a gap: by priority, and within one those of the own `zone`."""
    keys = [(e.priority, bool(zone and e.zone and e.zone != zone)) for e in cluster.endpoints]
    order = sorted(set(keys))
    return [order.index(key) for key in keys]


def _members(name: str, cluster: ClusterConfig, zone: str, slots: Mapping[str, int]) -> tuple[Member, ...]:
    return tuple(
        Member(
            endpoint=Endpoint(name, e.host, e.port),
            slot=slots[slot_key(name, e.address)],
            weight=e.weight,
            priority=rank,
            zone=e.zone,
            metadata=dict(e.metadata),
        )
        for e, rank in zip(cluster.endpoints, ranks(cluster, zone), strict=True)
    )


def topology(config: Config, slots: Mapping[str, int], generation: int) -> Topology:
    """Every cluster and endpoint, clusters in the order of the file. `slots` must hold each endpoint's (KeyError)."""
    clusters = tuple(
        Cluster(
            name=name,
            index=index,
            members=_members(name, cluster, config.server.zone, slots),
            policy=cluster.policy,
            objective_errors=cluster.objective.errors,
            objective_latency=cluster.objective.latency,
            health_checked=cluster.health_check is not None,
            predict=cluster.predict,
            hedging=cluster.hedging.enabled,
            learn_capacity=cluster.learn_capacity,
            stall_gate=cluster.stall_gate,
            random_picks=cluster.random_picks,
        )
        for index, (name, cluster) in enumerate(config.clusters.items())
    )
    return Topology(generation=generation, clusters=clusters, slots=max(slots.values(), default=-1) + 1)


def config_hash(config: Config) -> str:
    """A name for what the configuration says: 64 hex digits. Secrets have no part in it, so it may be published."""
    text = json.dumps(config.redacted(), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
