"""FastLoop, the `adaptive` policy: gates in front of a comparison of loads.

A request goes to the lane with the smallest score, ties at random. A score is a whole number of gate points, each worth
more than any load, plus the load (attempts in flight + 1) × slowness / weight. Every lane has two scores, one as
repeatable requests see it and one, stricter, for those that cannot be sent twice. They lie in two columns that change
where an attempt begins or ends, and are graded anew every few milliseconds, so that a pick is `min` of a short list.
Gates and not one blended sum: field.md, section 0 and 5, and the paper on Prequal, where each of 13 blends lost.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable, Sequence

from adaptive.ewma import Quantiles
from adaptive.lanes import CANARY, DEGRADED, FAILURE, HEALTHY, NEVER, SUCCESS, Lane, Lanes
from adaptive.types import FULL_WEIGHT, Cluster, Snapshot

# One gate point in score units: above any load, and small enough that a double keeps the load's ties exact below it.
POINT = 1e6
# A canary is the last resort of a pick: more points than all the other gates can add up to.
LAST = 8 * POINT
# Above so many usable lanes a pick looks at a window of as many neighbours on a shuffled ring.
WINDOW = 16
# Seconds between gradings, and seconds more for each lane: 10 lanes at 5 ms and 1,000 at 100 ms cost 0.1 % of a core.
GRADE_EVERY, GRADE_LANE = 0.005, 0.0001
# Points for recent failures (+0.5 each): one above the first number, one more above 1.
FAILED_ONCE_REPEATABLE, FAILED_ONCE, FAILED_OFTEN = 0.3, 0.12, 1.0
FAILURE_STEP = 0.5
# A success counts against old failures once this many in a row came back, by this factor each.
STREAK, FORGIVEN = 12, 0.93
# A lane with two attempts in flight or more is stalled after this many seconds, or typical latencies over the number
# in flight, without a completion, whichever is longer: e**-7, one false alarm in a thousand gaps.
STALL_FLOOR, STALL_GAPS = 0.05, 7.0
# While no latency is known, only a second without any answer is a stall.
STALL_UNKNOWN = 1.0
# Latency below this multiple of the median is ordinary: noise must not steer.
ORDINARY = 1.25
# Samples of the median mixed into a lane's mean, so that few samples move it little and old ones less with time.
PRIOR = 4.0
# Scores above which a lane's slowness does not count further.
SLOWEST = 64.0


class FastLoop(Lanes):
    """The fast loop of one cluster in one worker."""

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.random = rng.random
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
        self.due = NEVER  # when the next grading is
        self._admit(NEVER)

    # What the data plane tells.

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins."""
        lane.outstanding[key] = now
        n = lane.in_flight + 1
        lane.in_flight = n
        if lane.home is self and not lane.limit:
            index = lane.index
            load = (n + lane.others + 1) * lane.step
            self.reads[index] = lane.gate + load
            self.writes[index] = lane.bar + load
        else:
            self._moved(lane, now)

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """An attempt ended."""
        sent_at = lane.outstanding.pop(key)
        n = lane.in_flight - 1
        lane.in_flight = n
        if verdict == SUCCESS:
            lane.answered = now
            if sent_at > lane.frontier:  # noqa: PLR1730: `max` costs a call
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
                load = (n + lane.others + 1) * lane.step
                self.reads[index] = load
                self.writes[index] = load
                return
        elif verdict == FAILURE:
            lane.streak = 0
            lane.failures.add(FAILURE_STEP, now)
            waited = now - sent_at
            if waited > self.typical:  # a time-out is a lower bound of the latency; a refusal is no latency
                self.latencies.add(waited, now)
        self._moved(lane, now)

    def _moved(self, lane: Lane, now: float) -> None:
        """Grades a lane at once, wherever it stands now."""
        home = lane.home
        if isinstance(home, FastLoop):
            home._grade(lane, now)

    def share(self, others: Sequence[int]) -> None:
        """Takes the other workers' attempts in flight, by slot."""
        super().share(others)
        for index, lane in enumerate(self.ring):
            load = (lane.in_flight + lane.others + 1) * lane.step
            self.reads[index] = lane.gate + load
            self.writes[index] = lane.bar + load

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
        for lane in self.ring:
            self._grade(lane, now)
        self._weigh_tiers()

    def _refresh(self, now: float) -> None:
        """Grades every lane: what changes by the mere passing of time."""
        self.due = now + GRADE_EVERY + GRADE_LANE * len(self.ring)
        if now > self.expires and not self.stale:
            self.stale = True
            self._admit(now)
        ring = self.ring
        if not ring:
            return
        means = sorted([lane.latency.total / lane.latency.mass for lane in ring if lane.latency.mass > 0.0])
        self.typical = means[len(means) // 2] if means else 0.0
        failing = [lane.failures.get(now) for lane in ring if lane.failures.value > 0.0]
        self.common = sorted(failing)[len(failing) - 1 - len(ring) // 2] if len(failing) * 2 > len(ring) else 0.0
        for lane in ring:
            self._grade(lane, now)
        self.probes = [lane for lane in ring if lane.gate >= POINT or lane.slowness > 1.0]
        self._weigh_tiers()

    def _grade(self, lane: Lane, now: float) -> None:
        """Gates, doubt and slowness of one lane, and its scores."""
        health = self.health(lane, now)
        gate = 0.0 if health == HEALTHY else POINT if health == DEGRADED else LAST
        in_flight = lane.in_flight
        typical = self.typical
        if in_flight >= 2:
            since = max(lane.answered, next(iter(lane.outstanding.values())))
            if now - since > (max(STALL_FLOOR, STALL_GAPS * typical / in_flight) if typical else STALL_UNKNOWN):
                gate += POINT
        if 0 < lane.limit <= in_flight + lane.others:
            gate += POINT
        bar = gate
        if lane.failures.value > 0.0:
            failed = lane.failures.get(now) - self.common
            if failed < 0.01 and self.common == 0.0:
                lane.failures.value = 0.0
            if failed > FAILED_ONCE:
                often = POINT if failed > FAILED_OFTEN else 0.0
                bar += POINT + often
                if failed > FAILED_ONCE_REPEATABLE:
                    gate += POINT + often
        slowness = 1.0
        if typical:
            latency = lane.latency
            mass = latency.weight(now)
            if mass > 0.0:
                mean = latency.total / latency.mass
                slowness = (mean * mass + typical * PRIOR) / ((mass + PRIOR) * typical)
                slowness = 1.0 if slowness < ORDINARY else min(slowness, SLOWEST)
        lane.slowness = slowness
        lane.step = slowness * FULL_WEIGHT / lane.weight
        lane.gate = gate
        lane.bar = bar
        load = (in_flight + lane.others + 1) * lane.step
        self.reads[lane.index] = gate + load
        self.writes[lane.index] = bar + load

    def _weigh_tiers(self) -> None:
        """Shares of the priorities, by the weight of what is not gated in each."""
        if len(self.tiers) == 1:
            self.shares = [1.0]
            return
        ranges, ring = self.ranges, self.ring
        have = [float(sum(x.weight for x in ring[a:b] if x.gate < POINT)) for a, b in ranges]
        if not any(have):
            have = [float(sum(x.weight for x in ring[a:b])) for a, b in ranges]
        self.shares = self.spread(have, [float(sum(lane.weight for lane in tier)) for tier in self.tiers])

    # Choosing.

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane of the smallest score, or now and then one that gets nothing, to learn of it."""
        if now >= self.due:
            self._refresh(now)
        self.explored = False
        share = 1.0
        column = self.reads if repeatable else self.writes
        if tried or len(column) > WINDOW or len(self.ranges) > 1:
            return self._pick_among_many(repeatable, column, tried)
        if not column:
            return None
        best = min(column)
        if repeatable and self.probes and best < POINT:
            idle = [x for x in self.probes if not x.in_flight and not x.others and self.reads[x.index] > best]
            if idle:
                u = self.random()
                if u < self.explore:
                    self.explored = True
                    self.propensity = self.explore / len(idle)
                    return idle[int(u / self.explore * len(idle))]
                share = 1.0 - self.explore
        ties = column.count(best)
        index = column.index(best)
        if ties > 1:
            for _ in range(int(self.random() * ties)):
                index = column.index(best, index + 1)
        self.propensity = share / ties
        return self.ring[index]

    def _pick_among_many(self, repeatable: bool, column: list[float], tried: Collection[int]) -> Lane | None:
        """The pick where priorities, a window or lanes already tried must be minded."""
        if not column:
            return None
        idle: list[Lane] = []
        if repeatable and not tried and self.probes:
            idle = [x for x in self.probes if not x.in_flight and not x.others]
        explore = self.explore if idle and len(idle) < len(column) else 0.0
        shares = self.shares
        if tried:
            column, shares = self._masked(column, tried)
        u = self.random()
        if u < explore:
            self.explored = True
            lane = idle[int(u / explore * len(idle))]
            index = lane.index
        else:
            start, end = self._draw_tier(shares)
            index = start + _smallest(column[start:end] if len(shares) > 1 else column, self.random)
            lane = self.ring[index]
        start, end = self.ranges[lane.tier]
        chance = _chance(column[start:end] if len(shares) > 1 else column, index - start)
        by_load = (1.0 - explore) * shares[lane.tier] * chance
        self.propensity = by_load + (explore / len(idle) if explore and lane in idle else 0.0)
        return lane

    def _masked(self, column: list[float], tried: Collection[int]) -> tuple[list[float], list[float]]:
        """The column without the lanes already tried, and the shares of the tiers that have others."""
        masked = column[:]
        for slot in tried:
            index = self.place.get(slot)
            if index is not None:
                masked[index] = float("inf")
        if min(masked) == float("inf"):
            return column, self.shares
        if len(self.ranges) == 1:
            return masked, self.shares
        left = [b > a and min(masked[a:b]) < float("inf") for a, b in self.ranges]
        shares = [s if ok else 0.0 for s, ok in zip(self.shares, left, strict=True)]
        whole = sum(shares)
        if whole > 0.0:
            return masked, [s / whole for s in shares]
        return masked, [float(rank == left.index(True)) for rank in range(len(left))]

    def _draw_tier(self, shares: Sequence[float]) -> tuple[int, int]:
        if len(shares) == 1:
            return self.ranges[0]
        u = self.random()
        drawn = max(rank for rank, share in enumerate(shares) if share > 0.0)
        for rank, share in enumerate(shares):
            if u < share:
                drawn = rank
                break
            u -= share
        return self.ranges[drawn]

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """Seconds to wait for the first byte before giving this attempt up; 0: as long as the route allows."""
        if lane.timeout > 0.0:
            return lane.timeout
        return 0.0


def _smallest(column: Sequence[float], rng: object) -> int:
    """Index of the smallest score, ties at random; of more than WINDOW, within a window at random on the ring."""
    assert callable(rng)
    n = len(column)
    offset = 0
    if n > WINDOW:
        offset = int(rng() * n)
        window = column[offset : offset + WINDOW]
        if len(window) < WINDOW:
            window = [*window, *column[: WINDOW - len(window)]]
        if min(window) == float("inf"):
            window, offset = column, 0
    else:
        window = column
    best = min(window)
    ties = window.count(best)
    index = window.index(best)
    if ties > 1:
        for _ in range(int(rng() * ties)):
            index = window.index(best, index + 1)
    return (offset + index) % n


def _chance(column: Sequence[float], index: int) -> float:
    """Probability that `_smallest` gives this index: exact, as the mean over the windows that hold it."""
    n = len(column)
    mine = column[index]
    if n <= WINDOW:
        return 1.0 / column.count(mine) if mine == min(column) else 0.0
    reach = WINDOW - 1
    around = [column[(index + d) % n] for d in range(-reach, reach + 1)]
    low = reach
    while low > 0 and around[low - 1] >= mine:
        low -= 1
    high = reach
    while high < 2 * reach and around[high + 1] >= mine:
        high += 1
    won = 0.0
    for start in range(low, high - reach + 1):
        won += 1.0 / around[start : start + WINDOW].count(mine)
    return won / n


