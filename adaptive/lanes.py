"""Lane, an endpoint as one worker sees it, and Lanes, the book-keeping that all balancers share.

A lane counts this worker's own attempts; `share` adds those of the other workers. Health, weights and limits come from
the Snapshot by `apply`. Lanes are grouped into tiers by priority; `_tier` draws the tier that a request goes to.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable, Sequence

from adaptive.ewma import Decayed, Ewma, PeakEwma
from adaptive.servers import Servers
from adaptive.types import FULL_WEIGHT, Cluster, Health, Member, Snapshot, Verdict

# A snapshot older than this is no longer believed where it keeps endpoints out: a hundred ticks of 100 ms, longer than
# the brain's restart takes.
STALE = 10.0
# A priority takes all the traffic while 1/1.4 of its weight is usable (Envoy's overprovisioning factor, 140 %).
OVERPROVISIONING = 1.4
# Share of repeatable picks spent on endpoints that would get none, until the brain names another.
EXPLORE = 0.004
# Half-life of a failure: long enough to bridge the gap between two probes of an idle lane.
FAILURE_HALF_LIFE = 3.5
# Memory of the mean latency: some hundred samples at 100/s, which puts the noise of a log-normal mean at 4 %.
LATENCY_TAU = 2.0
# Memory of Peak EWMA, Finagle's default.
PEAK_TAU = 10.0

# Seconds within which a second kept connection that breaks under a request is no chance.
TOGETHER = 1.0

SUCCESS, FAILURE, IGNORE = int(Verdict.SUCCESS), int(Verdict.FAILURE), int(Verdict.IGNORE)
HEALTHY, DEGRADED, CANARY = int(Health.HEALTHY), int(Health.DEGRADED), int(Health.CANARY)
EJECTED, DRAINING = int(Health.EJECTED), int(Health.DRAINING)
NEVER = float("-inf")


class Lane:
    """One endpoint as this worker sees it. Times are seconds; `NEVER` where nothing happened yet."""

    __slots__ = (
        "answered",
        "bar",
        "broad",
        "broke",
        "credit",
        "died",
        "failures",
        "flat",
        "frontier",
        "full",
        "gate",
        "good",
        "health",
        "heard",
        "hedge_delay",
        "home",
        "in_flight",
        "index",
        "latency",
        "limit",
        "member",
        "others",
        "outstanding",
        "peak",
        "probability",
        "rise",
        "servers",
        "slot",
        "slowness",
        "steep",
        "step",
        "streak",
        "stuck",
        "tier",
        "timeout",
        "weight",
        "width",
    )  # fmt: skip

    def __init__(self, member: Member) -> None:
        self.home: Lanes | None = None  # the balancer that it belongs to now
        self.index = 0  # place in the columns of that balancer
        self.tier = 0  # rank of its priority
        self.settle(member)
        self.in_flight = 0  # own attempts
        self.stuck = 0  # as many of them as hang where all seem to: an endpoint is idle with these
        self.others = 0  # attempts of the other workers
        self.heard = 0.0  # what these count for in a score
        self.outstanding: dict[Hashable, float] = {}  # key → sent_at, the oldest first
        self.answered = NEVER  # when the last attempt came back well
        self.frontier = NEVER  # when the newest attempt that came back well had been sent: it was alive then
        self.broke = NEVER  # when a kept connection broke last with a request on it
        self.died = False  # whether its last failure was no answer at all, at once: nobody listened
        self.streak = 0  # successes since the last failure
        self.failures = Decayed(FAILURE_HALF_LIFE)
        self.good = Decayed(FAILURE_HALF_LIFE)  # successes between the failures that still count
        self.latency = Ewma(LATENCY_TAU)
        self.peak = PeakEwma(PEAK_TAU)
        self.slowness = 1.0  # mean latency over the median of the lanes; 1 where it is ordinary
        self.step = 1.0  # what one attempt in flight counts: slowness over weight
        # The load of x attempts is x × rise, and flat up to `broad` attempts, x × steep beyond.
        self.rise, self.flat, self.steep, self.broad = 1.0, 0.0, 0.0, float("inf")
        self.full = float("inf")  # attempts in flight from which on it is full
        self.servers = Servers()
        self.width = 0.0  # the count of servers that `rise` and those after it were worked out with
        self.gate = 0.0  # gate points of a repeatable request, in score units
        self.bar = 0.0  # gate points and doubt of an unrepeatable one, in score units
        self.credit = 0.0  # for weighted round robin

    def settle(self, member: Member) -> None:
        """Takes its place in a configuration: what the configuration says is in force until a snapshot comes."""
        self.member = member
        self.slot = member.slot
        self.weight = max(1, round(FULL_WEIGHT * member.weight))
        self.health = HEALTHY
        self.probability = float("nan")
        self.limit = 0
        self.hedge_delay = 0.0
        self.timeout = 0.0

    @property
    def load(self) -> int:
        """Attempts in flight, all workers."""
        return self.in_flight + self.others

    def __repr__(self) -> str:
        return f"Lane({self.member.endpoint}, {Health(self.health).name}, {self.in_flight}+{self.others} in flight)"


def broken(lane: Lane, now: float) -> int:
    """The verdict on an endpoint of which a kept connection broke before anything of the answer had come. It may have
    closed one while that was idle; where more than one breaks, it is gone, and would draw what is tried again, for it
    has nothing in flight any more.
    """
    before, lane.broke = lane.broke, now
    return FAILURE if now - before < TOGETHER else IGNORE


def served_at_once(lanes: Iterable[Lane]) -> float:
    """Requests that the endpoints serve at a time, as far as their departures have said (`adaptive.servers`)."""
    return sum(lane.servers.count for lane in lanes)


class Lanes:
    """The lanes of one cluster in one worker, without the choice between them: `pick` is the subclass's."""

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        kept = {lane.member.endpoint: lane for lane in adopted}
        self.cluster = cluster
        self.rng = rng
        self.lanes: list[Lane] = []
        for member in cluster.members:
            lane = kept.pop(member.endpoint, None)
            if lane is None:
                lane = Lane(member)
            else:
                lane.settle(member)
            self.lanes.append(lane)
        for lane in kept.values():
            lane.home = None
        ranks = {priority: rank for rank, priority in enumerate(sorted({m.priority for m in cluster.members}))}
        for index, lane in enumerate(self.lanes):
            lane.home, lane.index, lane.tier = self, index, ranks[lane.member.priority]
        self.tiers: list[list[Lane]] = [[lane for lane in self.lanes if lane.tier == r] for r in range(len(ranks))]
        self.panic = False
        self.explore = EXPLORE
        self.expires = float("inf")  # when the snapshot in force grows stale
        self.stale = False
        self.recorded = True
        self.propensity = 1.0
        self.explored = False

    # What the data plane tells.

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins. `key` is unique among the outstanding ones of this lane."""
        lane.outstanding[key] = now
        lane.in_flight += 1

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """An attempt ended, exactly once each. `latency` is seconds to the first byte; None where none came."""
        self._close(lane, key, now, latency, verdict)

    def _close(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> float:
        """The book-keeping of an end; returns when the attempt was sent."""
        sent_at = lane.outstanding.pop(key)
        lane.in_flight -= 1
        if verdict == SUCCESS:
            lane.answered = now
            if sent_at > lane.frontier:  # noqa: PLR1730 - `max` costs a call
                lane.frontier = sent_at
            lane.streak += 1
        elif verdict == FAILURE:
            lane.streak = 0
        return sent_at

    def share(self, others: Sequence[int]) -> None:
        """Takes the other workers' attempts in flight, by slot."""
        for lane in self.lanes:
            if lane.slot < len(others):
                lane.others = int(others[lane.slot])

    def beat(self, now: float) -> None:
        """The data plane's own heartbeat, every few milliseconds: without it, nobody's silence says anything."""

    def apply(self, snapshot: Snapshot) -> None:
        """Takes a snapshot. Slots that it does not have keep what they had."""
        rows = len(snapshot.weight)
        for lane in self.lanes:
            slot = lane.slot
            if slot < rows:
                lane.weight = max(1, int(snapshot.weight[slot]))
                lane.health = int(snapshot.health[slot])
                lane.probability = float(snapshot.probability[slot])
                lane.limit = int(snapshot.limit[slot])
                lane.hedge_delay = float(snapshot.hedge_delay[slot])
                lane.timeout = float(snapshot.attempt_timeout[slot])
        self.panic = False
        if self.cluster.index < len(snapshot.clusters):
            entry = snapshot.clusters[self.cluster.index]
            self.panic = bool(entry.panic)
            # Version 0 is the snapshot that says nothing yet: the fast loop is alone, and must find out by itself.
            self.explore = min(1.0, max(0.0, float(entry.explore))) if snapshot.version > 0 else EXPLORE
        self.expires = snapshot.at + STALE
        self.stale = False

    # What the policies ask.

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """Seconds to wait for the first byte before giving this attempt up; 0: as long as the route allows."""
        return lane.timeout if lane.timeout > 0.0 else 0.0

    def hedge_after(self, lane: Lane) -> float:
        """Seconds after which a second copy of what may be sent again goes out beside an attempt here; 0: none does."""
        return lane.hedge_delay

    def health(self, lane: Lane, now: float) -> int:
        """The lane's health as it counts now: nothing keeps an endpoint out in panic, and no old verdict for ever."""
        if self.panic:
            return DEGRADED if lane.health == DRAINING else HEALTHY
        health = lane.health
        if now > self.expires and health in (EJECTED, CANARY):
            return DEGRADED
        return health

    def usable(self, lanes: Iterable[Lane], now: float, tried: Collection[int]) -> list[Lane]:
        """The lanes of the best health there is, without those already tried while any other is left."""
        classes: dict[int, list[Lane]] = {}
        for lane in lanes:
            health = self.health(lane, now)
            if health < EJECTED:
                classes.setdefault(health, []).append(lane)
        untried = [lane for _, group in sorted(classes.items()) for lane in group if lane.slot not in tried]
        if tried and untried:
            best = min(self.health(lane, now) for lane in untried)
            return [lane for lane in untried if self.health(lane, now) == best]
        return classes[min(classes)] if classes else []

    def spread(self, usable: Sequence[float], total: Sequence[float]) -> list[float]:
        """Probability of each tier, from its usable and its whole weight: Envoy's priority load with a factor of 1.4.

        A tier takes min(1, 1.4 · usable/total) of what the tiers before it left; if all together fall short of the
        whole, the shares are scaled up. Sums to 1 unless nothing is usable.
        """
        left, shares = 1.0, []
        for have, whole in zip(usable, total, strict=True):
            taken = min(left, OVERPROVISIONING * have / whole) if whole > 0.0 else 0.0
            shares.append(taken)
            left -= taken
        covered = sum(shares)
        return [s / covered for s in shares] if 0.0 < covered < 1.0 else shares

    def candidates(self, now: float, tried: Collection[int]) -> tuple[list[Lane], float]:
        """The lanes to choose among, and the probability with which their tier was drawn; ([], 0) if none."""
        if len(self.tiers) == 1:
            return self.usable(self.tiers[0], now, tried), 1.0
        groups = [self.usable(tier, now, tried) for tier in self.tiers]
        if tried and any(lane.slot not in tried for group in groups for lane in group):
            groups = [[lane for lane in group if lane.slot not in tried] for group in groups]
        have = [float(sum(lane.weight for lane in group)) for group in groups]
        shares = self.spread(have, [float(sum(lane.weight for lane in tier)) for tier in self.tiers])
        u = self.rng.random()
        for group, probability in zip(groups, shares, strict=True):
            if group and (u < probability or group is groups[-1]):
                return group, probability
            u -= probability
        rest = [(group, p) for group, p in zip(groups, shares, strict=True) if group]
        return rest[-1] if rest else ([], 0.0)
