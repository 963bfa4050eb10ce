"""Watched, a balancer with a witness: every call goes on to the real one, and what it owes is checked on the spot.

What a balancer, its lanes and its snapshots promise whatever happens: a probability in (0, 1] for each pick, exploring
only with what may be sent again, nobody picked who is out, somebody picked while anybody is in, each attempt closed
exactly once, counts that are never below 0, snapshots that are consistent.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from adaptive.balancer import Balancer, Lane
from adaptive.types import Cluster, Health, Snapshot, Topology
from replay.baselines.fleet import Fleet
from replay.policies import Policy

MOST = 20  # violations that are kept of one run: the first ones tell the story
PROBE_EVERY = 16  # attempts between two looks at an instance's queue
_OUT = (Health.EJECTED, Health.DRAINING)


class Violation(NamedTuple):
    """One broken promise."""

    invariant: str
    at: float  # seconds from the scenario's beginning
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}, at {self.at:.3f} s: {self.detail}"


@dataclass(slots=True)
class Witness:
    """What was seen of one run."""

    room: Sequence[int]  # by slot: most requests that an instance may hold
    found: list[Violation] = field(default_factory=list)
    sent: int = 0
    closed: int = 0
    balancers: list[Watched] = field(default_factory=list)

    def wrong(self, invariant: str, at: float, detail: str) -> None:
        """Keeps a violation."""
        if len(self.found) < MOST:
            self.found.append(Violation(invariant, at, detail))

    def watching(self, policy: Policy) -> Policy:
        """The same policy, its balancers watched."""

        def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> Balancer:
            made = Watched(policy.build(cluster, rng, adopted, fleet), cluster, fleet, self)
            self.balancers.append(made)
            return made

        return replace(policy, build=build)

    def finish(self, at: float) -> None:
        """The run is over: everything that was sent must have been closed."""
        for balancer in self.balancers:
            for slot, keys in sorted(balancer.open.items()):
                if keys:
                    self.wrong("one outcome an attempt", at, f"{len(keys)} attempts at slot {slot} were never closed")
            for lane in balancer.inner.lanes:
                if lane.in_flight != 0:
                    self.wrong("counts in flight", at, f"slot {lane.slot} has {lane.in_flight} in flight at the end")


class Watched:
    """A balancer between the simulator and the real one."""

    def __init__(self, inner: Balancer, cluster: Cluster, fleet: Fleet, witness: Witness) -> None:
        self.inner, self.cluster, self.fleet, self.witness = inner, cluster, fleet, witness
        self.open: dict[int, set[Hashable]] = {m.slot: set() for m in cluster.members}
        self.slots = 1 + max((m.slot for m in cluster.members), default=-1)
        self.snapshot: Snapshot | None = None
        self.lanes = inner.lanes
        self.propensity, self.explored = inner.propensity, inner.explored

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Checks the lane and its probability."""
        lane = self.inner.pick(now, repeatable, tried)
        self.propensity, self.explored = self.inner.propensity, self.inner.explored
        wrong = self.witness.wrong
        if lane is None:
            left = [x.slot for x in self.inner.lanes if x.health not in _OUT]
            if left:
                wrong("somebody serves", now, f"nobody was picked, though slots {left} may be used")
            return None
        if not 0.0 < self.inner.propensity <= 1.0:
            wrong("propensities", now, f"{self.inner.propensity} for slot {lane.slot}")
        if self.inner.explored and not repeatable:
            wrong("exploring", now, f"slot {lane.slot} with a request that must not be sent twice")
        if lane.health in _OUT and not self._ignored(now):
            wrong("nobody who is out", now, f"slot {lane.slot} is {Health(lane.health).name}, and was picked")
        if lane.slot in tried:
            left = [x.slot for x in self.inner.lanes if x.slot not in tried and x.health not in _OUT]
            if left:
                wrong("another one next time", now, f"slot {lane.slot} again, though {left} were not tried")
        return lane

    def _ignored(self, now: float) -> bool:
        """Whether health does not count: in panic, or under a snapshot too old to be believed."""
        snapshot = self.snapshot
        if snapshot is None or now > float(getattr(self.inner, "expires", float("inf"))):
            return True
        return bool(snapshot.clusters[self.cluster.index].panic)

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """Checks the key, and now and then the instance's queue."""
        keys = self.open[lane.slot]
        if key in keys:
            self.witness.wrong("one outcome an attempt", now, f"a key was sent twice to slot {lane.slot}")
        keys.add(key)
        self.witness.sent += 1
        self.inner.sent(lane, key, now)
        self._count(lane, now)
        if self.witness.sent % PROBE_EVERY == 0:
            held, _ = self.fleet.probe(lane.slot, now)
            if held > self.witness.room[lane.slot]:
                self.witness.wrong(
                    "bounded queues", now, f"slot {lane.slot} holds {held}, more than {self.witness.room[lane.slot]}"
                )

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """Checks that the attempt was open."""
        keys = self.open[lane.slot]
        if key not in keys:
            self.witness.wrong("one outcome an attempt", now, f"closed twice, or never sent, at slot {lane.slot}")
            return
        keys.discard(key)
        self.witness.closed += 1
        if latency is not None and not latency >= 0.0:
            self.witness.wrong("times", now, f"a latency of {latency} s at slot {lane.slot}")
        self.inner.closed(lane, key, now, latency, verdict)
        self._count(lane, now)

    def _count(self, lane: Lane, now: float) -> None:
        if lane.in_flight != len(self.open[lane.slot]):
            self.witness.wrong(
                "counts in flight",
                now,
                f"slot {lane.slot} says {lane.in_flight}, and {len(self.open[lane.slot])} attempts are open",
            )

    def apply(self, snapshot: Snapshot) -> None:
        """Checks the snapshot."""
        topology = Topology(snapshot.generation, (self.cluster,), max(self.slots, len(snapshot.weight)))
        for text in snapshot.inconsistencies(topology):
            self.witness.wrong("consistent snapshots", snapshot.at, text)
        if self.snapshot is not None and snapshot.version <= self.snapshot.version:
            self.witness.wrong(
                "consistent snapshots", snapshot.at, f"version {snapshot.version} after {self.snapshot.version}"
            )
        self.snapshot = snapshot
        self.inner.apply(snapshot)

    def share(self, others: Sequence[int]) -> None:
        """Checks that the others' counts can be."""
        if any(n < 0 for n in others):
            self.witness.wrong("counts in flight", 0.0, f"another worker's counts are {list(others)}")
        self.inner.share(others)

    def beat(self, now: float) -> None:
        """As the balancer within."""
        self.inner.beat(now)

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """Checks that it is a time."""
        found = self.inner.patience(lane, now, repeatable)
        if not found >= 0.0:
            self.witness.wrong("times", now, f"a patience of {found} s with slot {lane.slot}")
        return found
