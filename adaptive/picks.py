"""The classical balancers: smooth weighted round robin, weighted random, least request and Peak EWMA by two choices.

They honour the Snapshot's health and weights but look at nothing else that was learned. Each pick costs O(lanes).
At the end, the choice of the smallest of many scores within a window, with its exact probability.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence

from adaptive.lanes import HEALTHY, SUCCESS, Lane, Lanes
from adaptive.types import Cluster, Snapshot

# Up to here the propensity of two choices is counted over all lanes; above, over this many, evenly spaced. None is
# drawn: asking for it must not change the picks that follow.
COUNTED = 64
# `smallest` looks at so many neighbours: the least of 16 is close to the least of all, at a constant cost.
WINDOW = 16


class RoundRobin(Lanes):
    """Smooth weighted round robin: each pick adds every lane's weight to its credit, the richest serves and pays all.

    Source: nginx, commit 52327e0 (2012). Deterministic, so the propensity is that of the tier.
    """

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane whose turn it is."""
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        total = 0.0
        best = lanes[0]
        for lane in lanes:
            lane.credit += lane.weight
            total += lane.weight
            if lane.credit > best.credit:
                best = lane
        best.credit -= total
        return best


class Random(Lanes):
    """A lane at random, with probability in proportion to its weight."""

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Any lane."""
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        total = sum(lane.weight for lane in lanes)
        lane = _draw(lanes, self.rng.random() * total)
        self.propensity = tier * lane.weight / total
        return lane


class LeastRequest(Lanes):
    """The less loaded of two lanes drawn at random (Mitzenmacher's power of two choices; Envoy's LEAST_REQUEST).

    The load is (in flight + 1) / weight. With equal weights the two are distinct; with unequal ones both are drawn in
    proportion to weight, and may be the same.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        self._known = 1.0
        self._asked: tuple[Lane, float, Sequence[Lane], float, float, bool] | None = None
        self._alike: list[Lane] = []  # all lanes, where any may be picked and all weigh the same
        super().__init__(cluster, rng, adopted)
        self._compare()

    @property
    def propensity(self) -> float:
        """Probability of the last pick. Worked out when it is asked for, which must be before the attempt is sent."""
        if self._asked is not None:
            chosen, mine, lanes, now, tier, even = self._asked
            self._known, self._asked = tier * self._propensity(chosen, mine, lanes, now, even), None
        return self._known

    @propensity.setter
    def propensity(self, value: float) -> None:
        self._known, self._asked = value, None

    def apply(self, snapshot: Snapshot) -> None:
        """Takes a snapshot."""
        super().apply(snapshot)
        self._compare()

    def _compare(self) -> None:
        lanes = self.lanes
        alike = len(self.tiers) == 1 and len(lanes) > 1 and len({(lane.weight, lane.health) for lane in lanes}) == 1
        self._alike = lanes if alike and lanes[0].health == HEALTHY else []

    def cost(self, lane: Lane, now: float) -> float:
        """What is compared."""
        return (lane.in_flight + lane.others + 1) / lane.weight

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The better of two."""
        rng = self.rng.random
        lanes: Sequence[Lane] = self._alike
        tier, even = 1.0, True
        if tried or not lanes:
            lanes, tier = self.candidates(now, tried)
            if len(lanes) < 2:
                self.propensity = tier
                return lanes[0] if lanes else None
            weight = lanes[0].weight
            even = all(lane.weight == weight for lane in lanes)
        n = len(lanes)
        if even:
            i, j = int(rng() * n), int(rng() * (n - 1))
            first, second = lanes[i], lanes[j + (j >= i)]
        else:
            total = sum(lane.weight for lane in lanes)
            first, second = _draw(lanes, rng() * total), _draw(lanes, rng() * total)
        mine, other = self.cost(first, now), self.cost(second, now)
        if other < mine or (other == mine and rng() < 0.5):
            first, mine = second, other
        self._asked = first, mine, lanes, now, tier, even
        return first

    def _propensity(self, chosen: Lane, mine: float, lanes: Sequence[Lane], now: float, even: bool) -> float:
        """Probability that `chosen` won: it wins against the worse and half of its equals."""
        rivals = [lane for lane in lanes if lane is not chosen]
        scale = 1.0
        if len(rivals) > COUNTED:
            step = len(rivals) / COUNTED
            rivals, scale = [rivals[int(k * step)] for k in range(COUNTED)], step
        won = 0.0
        for lane in rivals:
            cost = self.cost(lane, now)
            if cost >= mine:
                share = 1.0 if even else float(lane.weight)
                won += share if cost > mine else 0.5 * share
        won *= scale
        n = len(lanes)
        if even:
            return max(2.0 * won, 1.0) / (n * (n - 1))
        total = sum(lane.weight for lane in lanes)
        return chosen.weight * (chosen.weight + 2.0 * won) / (total * total)


class LeastPeakEwma(LeastRequest):
    """The cheaper of two lanes drawn at random, the cost being Peak EWMA latency × (in flight + 1) / weight.

    Source: Finagle's `PeakEwma` under `P2C`. A lane with attempts in flight and no latency yet costs a penalty, so that
    a new endpoint is tried with one request and not with all.
    """

    PENALTY = 1e6  # seconds; above any latency, so that one unknown attempt outweighs every known lane

    def cost(self, lane: Lane, now: float) -> float:
        """What is compared."""
        pending = lane.in_flight + lane.others
        latency = lane.peak.get(now)
        if latency <= 0.0:
            return self.PENALTY + pending / lane.weight if pending else 0.0
        return latency * (pending + 1) / lane.weight

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """Takes the latency of a success, and the time waited of whatever else as a lower bound of it."""
        sent_at = self._close(lane, key, now, latency, verdict)
        lane.peak.add(latency if latency is not None and verdict == SUCCESS else now - sent_at, now)


def _draw(lanes: Sequence[Lane], at: float) -> Lane:
    """The lane in which the point `at`, of the weights laid end to end, falls."""
    for lane in lanes:
        at -= lane.weight
        if at < 0.0:
            return lane
    return lanes[-1]


def smallest(column: Sequence[float], random: Callable[[], float]) -> int:
    """Index of the smallest score, ties at random; of more than WINDOW, within a window at random on their ring."""
    n = len(column)
    offset = 0
    window = column
    if n > WINDOW:
        offset = int(random() * n)
        window = column[offset : offset + WINDOW]
        if offset + WINDOW > n:
            window = [*window, *column[: offset + WINDOW - n]]
    best = min(window)
    ties = window.count(best)
    index = window.index(best)
    if ties > 1:
        for _ in range(int(random() * ties)):
            index = window.index(best, index + 1)
    return (offset + index) % n


def chance(column: Sequence[float], index: int) -> float:
    """Probability that `smallest` gives this index.

    Exact: the mean, over the n windows, of 1/ties in those where it is the smallest. These lie between the nearest
    smaller scores on either side, so the 2·16 - 1 neighbours suffice; the ties are counted by sliding.
    """
    n = len(column)
    mine = column[index]
    if n <= WINDOW:
        return 1.0 / column.count(mine) if mine == min(column) else 0.0
    reach = WINDOW - 1
    first = index - reach
    if first >= 0 and index + WINDOW <= n:
        around = column[first : index + WINDOW]
    else:
        around = [column[at % n] for at in range(first, index + WINDOW)]
    low = high = reach
    while low and around[low - 1] >= mine:
        low -= 1
    while high < 2 * reach and around[high + 1] >= mine:
        high += 1
    windows = high - reach - low + 1
    if windows <= 0:
        return 0.0
    equal = around[low : high + 1].count(mine)
    if equal == 1:
        return windows / n
    if equal == high - low + 1:
        return windows / (n * WINDOW)
    ties = around[low : low + WINDOW].count(mine)
    won = 1.0 / ties
    for start in range(low, high - reach):
        ties += (around[start + WINDOW] == mine) - (around[start] == mine)
        won += 1.0 / ties
    return won / n
