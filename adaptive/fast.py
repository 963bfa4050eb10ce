"""FastLoop, the `adaptive` policy: gates in front of a comparison of loads.

A request goes to the lane with the smallest score, ties at random; so a pick is `min` of a short list. Gates and not
one blended sum, for in the paper on Prequal (NSDI'24) each of 13 blends lost to a gate. In a larger cluster
a pick looks at a window of neighbours on a shuffled ring. A small share of the repeatable requests is spent on idle
lanes that would get none, to learn whether they still deserve it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adaptive.grading import POINT, Graded
from adaptive.lanes import CANARY, Lane
from adaptive.picks import WINDOW, chance, smallest
from adaptive.silence import QUEUED

# Patience of repeatable attempts: a multiple of the cluster's p99, and at least a third of a second. It grows with the
# queues, so that an overload does not become a storm of retries.
PATIENCE, PATIENCE_FLOOR = 3.0, 0.3
# With a gated or slow lane: what a healthy one would need in all but one case in fifty. A probe that hangs then costs
# its request 120 ms at 40 ms of service, not 600.
PATIENCE_PROBE, PATIENCE_PROBE_FLOOR = 3.0, 0.05
# Share of the repeatable picks that an idle lane gets where all others are full or in doubt: who would wait for three
# services loses little by asking it, and what it could serve is missing. Five answers that earn a return then take a
# second or two.
EXPLORE_FULL = 0.2
# And each that had refused connections and answers again as fast as the others (of a canary, its health checks do): it
# has been started anew. While several are started in turn, those that wait for their return leave the rest with more,
# and more is lost where the next one goes down: with 0.02 for each instead of 0.004 for all, nine such fleets lose a
# sixth less (simulated). Where whoever comes waits at the best of the others too (SPILL), it is EXPLORE_FULL: the
# answers that earn a return come within tenths of a second then, and each second without it would make all wait longer.
EXPLORE_BACK = 0.02
# A second copy goes out after this multiple of the cluster's p95, 4 % of what may be sent again. In simulation
# that takes 6 % from the p99; 1.3 times it, 1 %.
HEDGE, HEDGE_FLOOR = 1.0, 0.01
HEDGE_PROBE, HEDGE_PROBE_FLOOR = 2.0, 0.01  # and at a lane in doubt after this multiple of the typical latency
# A priority has nobody free where each lane has this part of what fills it in flight: to wait there takes half a
# service then, and the way to another zone seldom takes as much.
SPILL = 0.5


def _first(idle: list[Lane], explore: float, best: Lane | None = None) -> tuple[list[Lane], float]:
    """Which of the idle lanes to explore, and with which probability in all: whoever is back comes first. `best`: the
    lane that would be picked, where it is known.
    """
    back = [x for x in idle if x.died and (x.streak or x.health == CANARY) and x.slowness == 1.0]
    if not back:
        return idle, explore
    if best is not None and best.load >= SPILL * best.full:
        return back, max(explore, EXPLORE_FULL)
    return back, max(explore, min(EXPLORE_FULL, EXPLORE_BACK * len(back)))


def _room(lane: Lane) -> int:
    """Attempts in flight with which a lane may be explored: none but those that hang, and as many as it has answered in
    a row where it was started anew.
    """
    return max(lane.stuck, lane.streak) if lane.died and lane.load < SPILL * lane.full else lane.stuck


class FastLoop(Graded):
    """The fast loop of one cluster in one worker."""

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane of the smallest score, or now and then one that gets nothing, to learn of it."""
        if now >= self.due:
            self._refresh(now)
        self.explored = False
        column = self.reads if repeatable else self.writes
        if tried or len(self.ranges) > 1:
            return self._pick_with_care(repeatable, column, tried)
        if not column:
            return None
        if len(column) > WINDOW:
            return self._pick_from_window(repeatable, column)
        share = 1.0
        best = min(column)
        if repeatable and self.probes:
            idle = [x for x in self.probes if x.in_flight <= _room(x) and not x.others and self.reads[x.index] > best]
            if idle:
                explore = self.explore if best < POINT else max(self.explore, EXPLORE_FULL)
                idle, explore = _first(idle, explore, self.ring[column.index(best)])
                u = self.random()
                if u < explore:
                    self.explored = True
                    self.propensity = explore / len(idle)
                    return idle[int(u / explore * len(idle))]
                share = 1.0 - explore
        ties = column.count(best)
        index = column.index(best)
        if ties > 1:
            for _ in range(int(self.random() * ties)):
                index = column.index(best, index + 1)
        self.propensity = share / ties
        return self.ring[index]

    def _idle_probes(self) -> list[Lane]:
        """Lanes to explore, where there are others to serve."""
        idle = [x for x in self.probes if x.in_flight <= x.stuck and not x.others]
        return idle if len(idle) < len(self.ring) else []

    def _pick_from_window(self, repeatable: bool, column: list[float]) -> Lane:
        """The pick where the lanes are too many to look at all of them."""
        explore, idle = 0.0, []
        if repeatable and self.probes:
            idle = self._idle_probes()
            idle, explore = _first(idle, self.explore if idle else 0.0)
        u = self.random() if explore else 1.0
        if u < explore:
            self.explored = True
            index = idle[int(u / explore * len(idle))].index
        else:
            index = smallest(column, self.random)
        lane = self.ring[index]
        if not self.recorded:
            return lane
        propensity = chance(column, index)
        if explore:
            propensity = (1.0 - explore) * propensity + (explore / len(idle) if lane in idle else 0.0)
        self.propensity = propensity
        return lane

    def _pick_with_care(self, repeatable: bool, column: list[float], tried: Collection[int]) -> Lane | None:
        """The pick where priorities, or lanes already tried, must be minded."""
        idle = self._idle_probes() if repeatable and not tried and self.probes else []
        idle, explore = _first(idle, self.explore if idle else 0.0)
        tiers = [[i for i in range(a, b) if self.ring[i].slot not in tried] for a, b in self.ranges]
        if not any(tiers):
            tiers = [list(range(a, b)) for a, b in self.ranges]
        if not any(tiers):
            return None
        shares = self._spilled(tiers, self._shares_of(tiers))
        u = self.random() if explore else 1.0
        if u < explore:
            self.explored = True
            lane = idle[int(u / explore * len(idle))]
            rank = lane.tier
            scores = [column[i] for i in tiers[rank]]
            place = tiers[rank].index(lane.index)
        else:
            rank = self._draw(shares)
            scores = [column[i] for i in tiers[rank]]
            place = smallest(scores, self.random)
            lane = self.ring[tiers[rank][place]]
        if self.recorded:
            by_score = shares[rank] * chance(scores, place)
            self.propensity = (1.0 - explore) * by_score + (explore / len(idle) if lane in idle else 0.0)
        return lane

    def _shares_of(self, tiers: Sequence[Sequence[int]]) -> list[float]:
        """Probability of each tier, when only these indexes of it are left."""
        shares = [share if tier else 0.0 for share, tier in zip(self.shares, tiers, strict=True)]
        whole = sum(shares)
        if whole > 0.0:
            return [share / whole for share in shares]
        first = next(rank for rank, tier in enumerate(tiers) if tier)
        return [float(rank == first) for rank in range(len(tiers))]

    def _spilled(self, tiers: Sequence[Sequence[int]], shares: Sequence[float]) -> list[float]:
        """What falls to a tier that has nobody free goes to the next one that has: by load, not by endpoints."""
        if len(tiers) == 1:
            return list(shares)
        ring = self.ring
        free = [any(ring[i].load < SPILL * ring[i].full and ring[i].gate < POINT for i in tier) for tier in tiers]
        taken = [0.0] * len(tiers)
        for rank, share in enumerate(shares):
            taken[next((other for other in range(rank, len(tiers)) if free[other]), rank)] += share
        return taken

    def _draw(self, shares: Sequence[float]) -> int:
        """Rank of a tier."""
        if len(shares) == 1:
            return 0
        u = self.random()
        for rank, share in enumerate(shares):
            if u < share:
                return rank
            u -= share
        return max(rank for rank, share in enumerate(shares) if share > 0.0)

    def hedge_after(self, lane: Lane) -> float:
        """Seconds after which a second copy may go out beside an attempt at this lane; 0: none does.

        What the snapshot says, if it says so. Otherwise a little above the cluster's p95, and less at a lane in doubt.
        """
        if not self.hedging or not self.usual:
            return 0.0
        if lane.hedge_delay > 0.0:
            return lane.hedge_delay
        if lane.gate > 0.0 or lane.slowness > 1.0:
            return max(HEDGE_PROBE_FLOOR, HEDGE_PROBE * self.typical)
        return max(HEDGE_FLOOR, HEDGE * self.usual)

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """Seconds to wait for the first byte before giving this attempt up; 0: as long as the route allows.

        What the snapshot says, if it says so. Otherwise nothing for what cannot be sent twice: giving it up would fail
        it for certain. For the rest a multiple of the cluster's p99, and of a lane in doubt no more than a probe needs;
        never less than a multiple of what the attempts there before it explain, or a queue would be served twice.
        """
        if lane.timeout > 0.0:
            return lane.timeout
        if not repeatable or self.tail <= 0.0:
            return 0.0
        servers = lane.servers
        queued = QUEUED * lane.in_flight * servers.service / servers.count if servers.count else 0.0
        if lane.gate > 0.0 or lane.slowness > 1.0:
            return max(PATIENCE_PROBE_FLOOR, PATIENCE_PROBE * self.typical, queued)
        return max(PATIENCE_FLOOR, PATIENCE * self.tail, queued)
