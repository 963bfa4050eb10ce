"""From Snapshots to pushes: which clusters' endpoints to tell anew, and when. Pure.

A cluster is pushed when what Envoy would be told differs from what it was told last, at most once in an interval; the
first change after a calm is pushed at once. What each push said is remembered for a while, so that an attempt's
propensity and snapshot can be found by when it was sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from adaptive.config.model import ClusterConfig, Config
from adaptive.config.topology import slot_key
from adaptive.envoy.translate.endpoints import Lines, decide, shares
from adaptive.types import FULL_WEIGHT, Snapshot

# Pushes of one cluster that are remembered: at four a second half a minute of them, longer than most attempts live.
REMEMBERED = 128


class Push(NamedTuple):
    """A cluster's endpoints as Envoys are to have them."""

    cluster: str
    lines: Lines
    decided_at: float  # seconds, monotonic: the Snapshot's time
    version: int  # of the Snapshot


_Looked = tuple[tuple[int, ...], tuple[int, ...], bool]  # weights, healths, panic


def _picker(slots: tuple[int, ...]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """A function from a column of a Snapshot to these slots' values."""
    get = itemgetter(*slots)
    return get if len(slots) > 1 else lambda column: (get(column),)


@dataclass(slots=True)
class _Cluster:
    own: ClusterConfig
    slots: tuple[int, ...]
    index: int
    pick: Callable[[Sequence[int]], tuple[int, ...]]
    looked: _Looked | None = None
    last: Lines | None = None
    pushed_at: float = float("-inf")
    at: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    shares: list[dict[int, float]] = field(default_factory=list)


class Steering:
    """All clusters of a configuration."""

    def __init__(self, config: Config, slots: Mapping[str, int], generation: int) -> None:
        self.generation = generation
        self.interval = config.envoy.push_interval
        # Whether a cluster's interval was not over at the last look: the same Snapshot has to be looked at again.
        self.late = False
        self.clusters: dict[str, _Cluster] = {}
        for index, (name, own) in enumerate(config.clusters.items()):
            rows = tuple(slots[slot_key(name, endpoint.address)] for endpoint in own.endpoints)
            self.clusters[name] = _Cluster(own, rows, index, _picker(rows))

    def first(self, snapshot: Snapshot | None, now: float, before: Steering | None = None) -> list[Push]:
        """Every cluster, as the Snapshot has it; without one of this configuration, as it was before, or healthy."""
        fits = snapshot if snapshot is not None and snapshot.generation == self.generation else None
        found = []
        for name, cluster in self.clusters.items():
            held = before.clusters.get(name) if before is not None else None
            if held is not None and held.own.endpoints == cluster.own.endpoints:
                cluster.last = held.last
                cluster.at, cluster.versions, cluster.shares = held.at, held.versions, held.shares
                found.append(Push(name, held.last or self._quiet(cluster), now, held.versions[-1]))
                continue
            lines = decide(cluster.own, *self._look(cluster, fits)) if fits is not None else self._quiet(cluster)
            found.append(self._push(name, cluster, lines, fits.at if fits else now, fits.version if fits else 0, now))
        return found

    def due(self, snapshot: Snapshot, now: float) -> list[Push]:
        """What is to be pushed now. One of another configuration says nothing."""
        if snapshot.generation != self.generation:
            return []
        found = []
        self.late = False
        for name, cluster in self.clusters.items():
            if now - cluster.pushed_at < self.interval:
                self.late = True
                continue
            looked = self._look(cluster, snapshot)
            if looked == cluster.looked:
                continue
            cluster.looked = looked
            lines = decide(cluster.own, *looked, cluster.last)
            if lines != cluster.last:
                found.append(self._push(name, cluster, lines, snapshot.at, snapshot.version, now))
        return found

    def picked(self, name: str, slot: int, sent_at: float) -> tuple[int, float]:
        """(version of the Snapshot, propensity) of an attempt that was sent at a time."""
        cluster = self.clusters[name]
        row = -1 if sent_at >= cluster.at[-1] else max(0, bisect_right(cluster.at, sent_at) - 1)
        share = cluster.shares[row].get(slot, 0.0)
        if not share:  # picked under the push before, which was still in force, or in Envoy's own panic
            share = cluster.shares[row - 1].get(slot, 0.0) if len(cluster.shares) > 1 else 0.0
        return cluster.versions[row], share or 1 / len(cluster.slots)

    def since(self, name: str) -> float:
        """When a cluster's endpoints were told of last."""
        return self.clusters[name].at[-1]

    @staticmethod
    def _look(cluster: _Cluster, snapshot: Snapshot) -> _Looked:
        return cluster.pick(snapshot.weight), cluster.pick(snapshot.health), snapshot.clusters[cluster.index].panic

    def _quiet(self, cluster: _Cluster) -> Lines:
        usual = [max(1, round(FULL_WEIGHT * endpoint.weight)) for endpoint in cluster.own.endpoints]
        return decide(cluster.own, usual, [0] * len(usual), False)

    def _push(self, name: str, cluster: _Cluster, lines: Lines, at: float, version: int, now: float) -> Push:
        cluster.last, cluster.pushed_at = lines, now
        cluster.at.append(now)
        cluster.versions.append(version)
        cluster.shares.append(dict(zip(cluster.slots, shares(lines), strict=True)))
        if len(cluster.at) > REMEMBERED:
            del cluster.at[0], cluster.versions[0], cluster.shares[0]
        return Push(name, lines, at, version)
