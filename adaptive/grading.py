"""Graded, lanes with their scores kept up to date: what the fast loop knows before it chooses.

A score is a whole number of gate points, each worth more than any load, plus the load (attempts in flight + 1) ×
slowness / weight. Every lane has two scores, one as repeatable requests see it and one, stricter, for those that cannot
be sent twice. They lie in two columns that change where an attempt begins or ends, and are graded anew every few
hundredths of a second for what changes by the passing of time: stalls, doubt, failures that fade.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Sequence

from adaptive.ewma import Quantiles
from adaptive.lanes import CANARY, DEGRADED, FAILURE, FAILURE_HALF_LIFE, HEALTHY, NEVER, SUCCESS, Lane, Lanes
from adaptive.servers import commonest
from adaptive.silence import OLDEST_GATE, QUEUED, STALL_FLOOR, doubt, stalled
from adaptive.types import FULL_WEIGHT, Cluster, Snapshot

# One gate point in score units: above any load, and small enough that a double keeps the load's ties exact below it.
POINT = 1e6
# A canary is the last resort of a pick: more points than all the other gates can add up to.
LAST = 8 * POINT
# Seconds between gradings, and seconds more for each lane: grading costs 1 % of a core at most. In simulation 5 ms was
# no better than 20.
GRADE_EVERY, GRADE_LANE = 0.02, 0.0001
# Points for recent failures (+0.5 each): one above the first or second number, one more above the third.
FAILED_REPEATABLE, FAILED, FAILED_OFTEN = 0.3, 0.12, 1.0
FAILURE_STEP = 0.5
# Points of one that failed often, for what cannot be sent twice: more than a full endpoint has, and one in doubt.
LOST = 4
# Share that fails from which on the answer is another failure, and no repeatable request goes there. Below it an
# attempt that fails is made up for by another, and costs the time of both: the lane is an ordinary one whose first
# attempt counts like one behind SPARED × share / (1 - share) services. At one half that is where a healthy lane is
# FULL, so that both rules meet.
OFTEN, SPARED = 0.5, 2.0
# An attempt given up (its client left, or its hedge won) after more than OLDEST_GATE typical latencies and the p99
# would hide a hang: it counts by this much, which keeps unrepeatable requests away for a second, and no others.
GIVEN_UP_STEP = 0.15
# A success counts against old failures once this many in a row came back, by this factor each.
STREAK, FORGIVEN = 12, 0.93
# Seconds without a heartbeat of our own after which it was we who stood still, and not the endpoints: silence is then
# counted from our awakening. Else what has queued up before us would all go to the few endpoints that had nothing to do
# when we stopped, since a gate is above any load.
ASLEEP = 0.05
# What another worker's attempt counts, an own one being 1. The others' counts are some milliseconds old and all workers
# act on them at once: at full weight four workers herd from 5 ms of age on (p50 +1 %; +8 % at 20 ms), at a quarter they
# balance as one up to 20 ms. A lasting difference is still heard.
HEARD = 0.25
# Latency below this multiple of the median is ordinary: noise must not steer. Above the most it counts no further.
ORDINARY, SLOWEST = 1.25, 64.0
# Samples of the median mixed into a lane's mean, so that few samples move it little, and old ones less with time.
PRIOR = 4.0
# Latencies known before the tail is believed, and the seconds between two looks at it.
TAIL_SAMPLES, TAIL_EVERY = 100.0, 0.25
# What an attempt counts at a lane that can serve it at once, one that must queue there counting 1 and more: attempts in
# flight stay a term of every comparison, or many gateways would all prefer the same fast lane.
COUNTED = 0.3
# An endpoint with more in flight than this many times its width has a gate point itself, and another at twice as many:
# who waits there for three services does no worse where there were failures of late. Else all that the gated ones do
# not get would go to the few that are left, however many those have to do. It is three services of the common speed: an
# endpoint five times slower is full with a fifth of that, or whoever comes to it would wait five times as long.
FULL, NARROW = 3.0, 4.0  # a width below the second is taken for it: where little is sent at a time, no more is seen
ALIKE = 0.7  # widths within this factor of the common one are taken for it: noise must not steer
INFINITE = float("inf")
# A failure without an answer within this part of a typical latency is a refused connection, and no time-out.
DIED = 0.5
# Gated lanes that are looked at for exploration in one round.
PROBES = 16


def _load(lane: Lane, x: float) -> float:
    """What x attempts at a lane score: how they queue there (`_slope`), and a gate point or two where it is full."""
    load = x * lane.rise + (lane.flat if x <= lane.broad else x * lane.steep)
    if x > lane.full:
        load += POINT if x <= 2.0 * lane.full else 2.0 * POINT
    return load


class Graded(Lanes):
    """The lanes of one cluster in one worker, with their scores."""

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.random = rng.random
        self.hedging = cluster.hedging
        self.capacity = cluster.learn_capacity
        self.stall_gate = cluster.stall_gate
        self.width = 0.0  # median over the lanes of the requests served at a time; 0: not known
        self.service = 0.0  # and of the mean seconds of one request alone
        self._widened = False  # whether every lane must be graded anew for that
        self._learned = 0  # lane of the ring that learned last
        self._common = 0  # the number of servers that is likeliest for all lanes alike; 0: not known
        self.order = list(self.lanes)
        rng.shuffle(self.order)
        self.ring: list[Lane] = []  # usable lanes, tier by tier, each tier in the shuffled order
        self.reads: list[float] = []  # scores of the ring for repeatable requests
        self.writes: list[float] = []  # and for the others
        self.place: dict[int, int] = {}  # slot → index in the ring
        self.ranges: list[tuple[int, int]] = []  # of each tier in the ring
        self.shares: list[float] = []  # probability of each tier
        self.probes: list[Lane] = []  # lanes that get no requests but by exploration
        self.typical = 0.0  # median over the lanes of the mean latency, seconds; 0: not known
        self.common = 0.0  # median over the lanes of the failure score
        self.latencies = Quantiles(half_life=5.0)
        self.tail = 0.0  # the cluster's p99 latency, seconds; 0: not known
        self.usual = 0.0  # its p95
        self.medians_due = NEVER
        self.graded_at = NEVER
        self.due = NEVER  # when the next grading is
        self.beaten = INFINITE  # when the data plane last said that it runs; infinite: it never does
        self.woke = NEVER  # when it last awoke from standing still
        self._admit(NEVER)

    # What the data plane tells.

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins."""
        lane.outstanding[key] = now
        n = lane.in_flight
        if self.capacity:
            lane.servers.note(n, now, False)
        n += 1
        lane.in_flight = n
        if lane.home is self and not lane.limit:
            index = lane.index
            load = _load(lane, n + lane.heard + 1)
            self.reads[index] = lane.gate + load
            self.writes[index] = lane.bar + load
        else:
            self._moved(lane, now)

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """An attempt ended."""
        sent_at = lane.outstanding.pop(key)
        n = lane.in_flight
        if self.capacity:
            lane.servers.note(n, now, verdict == SUCCESS)
        n -= 1
        lane.in_flight = n
        if verdict == SUCCESS:
            lane.answered = now
            if sent_at > lane.frontier:  # noqa: PLR1730 - `max` costs a call
                lane.frontier = sent_at
            streak = lane.streak + 1
            lane.streak = streak
            if streak >= STREAK and lane.failures.value > 0.0:
                lane.failures.scale(FORGIVEN)
            if latency is not None:
                lane.latency.add(latency, now)
                self.latencies.add(latency, now)
            if lane.bar == 0.0 and lane.home is self:  # nothing to lift: only the load changed
                index = lane.index
                load = _load(lane, n + lane.heard + 1)
                self.reads[index] = load
                self.writes[index] = load
                return
        elif verdict == FAILURE:
            self._failed(lane, sent_at, now, latency is not None)
        elif latency is None and now - sent_at > self.typical > 0.0:
            waited = now - sent_at
            if waited * lane.latency.mass > lane.latency.total:
                lane.latency.add(waited, now)
            self.latencies.add(waited, now)
            if self.tail and waited > max(self.tail, OLDEST_GATE * self.typical):
                lane.failures.add(GIVEN_UP_STEP, now)
        elif self.tail and now - sent_at > max(self.tail, OLDEST_GATE * self.typical):
            lane.failures.add(GIVEN_UP_STEP, now)
        if lane.home is self:
            self._grade(lane, now)
        else:
            self._moved(lane, now)

    def _failed(self, lane: Lane, sent_at: float, now: float, answered: bool) -> None:
        """What a failure says of its lane. A time-out says how it was when the attempt was sent: it counts as if it had
        been seen then, and ends no row of answers to what was sent later.
        """
        waited = now - sent_at
        lane.died = not answered and waited < DIED * self.typical
        if waited > self.typical:  # a time-out is a lower bound of the latency; a refusal is no latency
            self.latencies.add(waited, now)
        if not answered and waited <= QUEUED * FULL * self.service * lane.in_flight / lane.full:
            return
        step, over = FAILURE_STEP, False
        if not answered and waited > max(self.tail, OLDEST_GATE * self.typical):
            step *= 0.5 ** (waited / FAILURE_HALF_LIFE)
            over = sent_at < lane.frontier
        if not over:
            if lane.failures.get(now) > FAILED:  # what came well before the first failure says little of now
                lane.good.add(lane.streak, now)
            lane.streak = 0
        lane.failures.add(step, now)

    def _moved(self, lane: Lane, now: float) -> None:
        """Grades a lane at once, wherever it stands now."""
        home = lane.home
        if home is self:
            self._grade(lane, now)
        elif isinstance(home, Graded):
            home._grade(lane, now)

    def share(self, others: Sequence[int]) -> None:
        """Takes the other workers' attempts in flight, by slot."""
        super().share(others)
        for lane in self.lanes:
            lane.heard = lane.others * HEARD
        for index, lane in enumerate(self.ring):
            load = _load(lane, lane.in_flight + lane.heard + 1)
            self.reads[index] = lane.gate + load
            self.writes[index] = lane.bar + load

    def beat(self, now: float) -> None:
        """The data plane runs."""
        if now - self.beaten > ASLEEP:
            self.woke, self.due = now, NEVER
        self.beaten = now

    def apply(self, snapshot: Snapshot) -> None:
        """Takes a snapshot; its verdicts are in force from the next pick on."""
        super().apply(snapshot)
        self.due = NEVER
        self._admit(NEVER)

    # Grading.

    def _admit(self, now: float) -> None:
        """Builds the ring of the lanes that may be used at all."""
        for lane in self.lanes:
            lane.home = None
        self.ring, self.ranges = [], []
        for rank in range(len(self.tiers)):
            start = len(self.ring)
            for lane in self.order:
                if lane.tier == rank and self.health(lane, now) <= CANARY:
                    lane.home, lane.index = self, len(self.ring)
                    self.ring.append(lane)
            self.ranges.append((start, len(self.ring)))
        self.place = {lane.slot: index for index, lane in enumerate(self.ring)}
        self.reads = [0.0] * len(self.ring)
        self.writes = [0.0] * len(self.ring)
        self.probes = []
        self._widened = True
        for lane in self.ring:
            self._grade(lane, now)
        self._widened = False
        self._weigh_tiers()

    def _refresh(self, now: float) -> None:
        """Grades every lane that is not at rest: what changes by the mere passing of time."""
        if now - self.beaten > ASLEEP:
            self.beat(now)
        if now > self.expires and not self.stale:
            self.stale = True
            self._admit(now)
        ring = self.ring
        self.due = now + GRADE_EVERY + GRADE_LANE * len(ring)
        if now >= self.medians_due:
            self.medians_due = now + max(TAIL_EVERY, 0.001 * len(ring))
            self._compare(now)
        if self.capacity and ring:
            self._learned = (self._learned + 1) % len(ring)
            ring[self._learned].servers.learn(now, self._common)
        failing = sorted([lane.failures.get(now) for lane in ring if lane.failures.value > 0.0])
        # Where most lanes fail, it is not the lane's fault: only those above the median are gated.
        self.common = failing[len(failing) - 1 - len(ring) // 2] if len(failing) * 2 > len(ring) else 0.0
        before = self.graded_at
        self.graded_at = now
        probes = []
        for lane in ring:
            if self._widened or lane.in_flight or lane.bar or lane.slowness > 1.0 or lane.answered >= before:
                self._grade(lane, now)
                if lane.gate > 0.0 or lane.slowness > 1.0:
                    probes.append(lane)
                    lane.stuck = self._stuck(lane, now) if lane.in_flight else 0
        self._widened = False
        if len(probes) > PROBES:
            first = int(self.random() * len(probes))
            probes = (probes + probes)[first : first + PROBES]
        self.probes = probes
        if len(self.tiers) > 1:
            self._weigh_tiers()

    def _stuck(self, lane: Lane, now: float) -> int:
        """Attempts in flight at a lane, where all of them are so old that no answer tells any more whether it works."""
        age = now - next(reversed(lane.outstanding.values()))
        return lane.in_flight if age > self.tail > 0.0 and age > OLDEST_GATE * self.typical else 0

    def _compare(self, now: float) -> None:
        """What is ordinary in this cluster now: the medians over the lanes, and the tail of the latencies."""
        ring = self.ring
        means = sorted([lane.latency.total / lane.latency.mass for lane in ring if lane.latency.mass > 0.0])
        self.typical = means[len(means) // 2] if means else 0.0
        self._common = commonest([lane.servers for lane in ring if lane.servers.count])
        widths = sorted([lane.servers.count for lane in ring if lane.servers.count])
        known = len(widths) * 2 > len(ring)
        width = widths[len(widths) // 2] if known else 0.0
        self._widened, self.width = width != self.width, width
        services = sorted([lane.servers.service for lane in ring if lane.servers.count])
        self.service = services[len(services) // 2] if known else 0.0
        enough = self.latencies.mass >= TAIL_SAMPLES
        self.tail = self.latencies.get(0.99) if enough else 0.0
        self.usual = self.latencies.get(0.95) if enough else 0.0

    def _grade(self, lane: Lane, now: float) -> None:
        """Gates, doubt and slowness of one lane, and its scores."""
        gate = 0.0
        if lane.health != HEALTHY:
            health = self.health(lane, now)
            gate = 0.0 if health == HEALTHY else POINT if health == DEGRADED else LAST
        in_flight = lane.in_flight
        typical = self.typical
        bar = 0.0
        if in_flight and self.stall_gate:
            oldest = next(iter(lane.outstanding.values()))
            # One that has just answered is not stalled; to ask costs a call.
            if in_flight > 1 and now - lane.answered > STALL_FLOOR and stalled(lane, now, oldest, typical, self.woke):
                gate += POINT
            if typical:
                width = lane.servers.count or self.width
                found = doubt(lane, now, oldest, typical, self.tail, width, self.service, self.woke)
                bar = POINT if found is None else found * FULL_WEIGHT / lane.weight
        if 0 < lane.limit <= in_flight + lane.others:
            gate += POINT
        bar += gate
        if lane.failures.value > 0.0:
            failed = lane.failures.get(now)
            if failed < 0.01:
                lane.failures.value = 0.0
            failed -= self.common
            if failed > FAILED:
                often = failed > FAILED_OFTEN
                bar += LOST * POINT if often else POINT
                if failed > FAILED_REPEATABLE:
                    gate += self._price(lane, now, often)
        slowness = 1.0
        servers = lane.servers
        if typical:
            latency = lane.latency
            mass = latency.mass if latency.at >= now else latency.weight(now)
            if mass > 0.0:
                mean = latency.total / latency.mass
                slowness = (mean * mass + typical * PRIOR) / ((mass + PRIOR) * typical)
                service = servers.service
                if self.service and service and slowness < SLOWEST:
                    slowness = service / self.service  # what it takes alone, its queue left out
                slowness = 1.0 if slowness < ORDINARY else min(slowness, SLOWEST)
        lane.gate, lane.bar, lane.slowness = gate, bar, slowness
        step = slowness * FULL_WEIGHT / lane.weight
        if step != lane.step or servers.count != lane.width or self._widened:
            lane.step, lane.width = step, servers.count
            self._slope(lane)
        load = _load(lane, in_flight + lane.heard + 1)
        self.reads[lane.index] = gate + load
        self.writes[lane.index] = bar + load

    def _price(self, lane: Lane, now: float, often: bool) -> float:
        """What the failures of a lane count for a repeatable request, in score units."""
        failed = lane.failures.get(now) / FAILURE_STEP
        share = (failed + 1.0) / (failed + 1.0 + lane.good.get(now) + lane.streak)
        if share < OFTEN and lane.servers.count:
            return SPARED * share / (1.0 - share) * lane.servers.count * FULL_WEIGHT / lane.weight
        return 2.0 * POINT if often else POINT

    def _slope(self, lane: Lane) -> None:
        """How the load of a lane grows with its attempts: up to as many as it serves at a time hardly, then as they
        queue. In units of attempts at a lane of the common width; plain attempts where its width is not known.
        """
        step, width = lane.step, lane.width or self.width
        lane.full = FULL * max(width, NARROW) / lane.slowness if width else INFINITE
        if width and self.width:
            if ALIKE * self.width <= width and width * ALIKE <= self.width:
                width = self.width
            scale = self.width * step
            lane.rise, lane.flat, lane.steep, lane.broad = COUNTED * step, scale, scale / width, width
        else:
            lane.rise, lane.flat, lane.steep, lane.broad = step, 0.0, 0.0, INFINITE

    def _weigh_tiers(self) -> None:
        """Shares of the priorities, by the weight of what is not gated in each."""
        if len(self.tiers) == 1:
            self.shares = [1.0]
            return
        ranges, ring = self.ranges, self.ring
        have = [float(sum(x.weight for x in ring[a:b] if x.gate <= 0.0)) for a, b in ranges]
        if not any(have):
            have = [float(sum(x.weight for x in ring[a:b])) for a, b in ranges]
        self.shares = self.spread(have, [float(sum(lane.weight for lane in tier)) for tier in self.tiers])
