"""Baseline, what the baselines share: candidates at hand, a column of scores kept up to date, and own ejections.

A score changes where an attempt begins or ends and lies in `column` by the lane's place in its cluster, so that a pick
is `min` of a list. What a baseline keeps out by its own rule stands in `barred`; the snapshot's health comes on top.
Whatever goes by the clock happens at the next pick that is due for it: a balancer has no timer.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable, Sequence

from adaptive.lanes import EJECTED, Lane, Lanes
from adaptive.types import Cluster, Snapshot


class Baseline(Lanes):
    """The lanes of one cluster in one gateway. A subclass gives `key`, `_learn` and `pick`.

    What a baseline learned lies by lane in columns of its own and starts afresh with a new configuration.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.random = rng.random
        n = len(self.lanes)
        self.column = [0.0] * n
        self.barred = [False] * n
        self.forced = False  # in panic by its own rule: nobody is barred
        self.allowed: list[Lane] = []  # candidates of a pick that has tried nobody, if there is one priority
        self.even = True  # whether all lanes have the same weight
        self.ready = False

    # What a policy gives.

    def key(self, lane: Lane) -> float:
        """The score of a lane: the smaller, the better."""
        return (lane.in_flight + lane.others + 1) / lane.weight

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        """What the end of an attempt teaches. `lane` is one of this balancer's."""

    # What the data plane tells.

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins."""
        lane.outstanding[key] = now
        lane.in_flight += 1
        home = lane.home
        if isinstance(home, Baseline):
            home.column[lane.index] = home.key(lane)

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """An attempt ended."""
        sent_at = self._close(lane, key, now, latency, verdict)
        home = lane.home
        if isinstance(home, Baseline):
            home._learn(lane, sent_at, now, latency, verdict)
            home.column[lane.index] = home.key(lane)

    def share(self, others: Sequence[int]) -> None:
        """Takes the other workers' attempts in flight, by slot."""
        super().share(others)
        self._score()

    def apply(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force."""
        super().apply(snapshot)
        self.ready = False

    # What the policies ask.

    def bar(self, lane: Lane, barred: bool) -> None:
        """Keeps a lane out, or lets it in again."""
        self.barred[lane.index] = barred
        self.ready = False

    def health(self, lane: Lane, now: float) -> int:
        """The lane's health as it counts now: ejected while it is barred."""
        if self.barred[lane.index] and not self.forced:
            return EJECTED
        return super().health(lane, now)

    def candidates(self, now: float, tried: Collection[int]) -> tuple[list[Lane], float]:
        """The lanes to choose among, and the probability with which their tier was drawn; ([], 0) if none."""
        if not self.ready or (now > self.expires and not self.stale):
            self._gather(now)
        if tried or len(self.tiers) > 1:
            return super().candidates(now, tried)
        return self.allowed, 1.0

    def _gather(self, now: float) -> None:
        """Looks anew at who may be used, and scores everybody."""
        self.stale = now > self.expires
        self.allowed = self.usable(self.lanes, now, ())
        self.even = len({lane.weight for lane in self.lanes}) <= 1
        self._score()
        self.ready = True

    def _score(self) -> None:
        self.column = [self.key(lane) for lane in self.lanes]

    def scores(self, lanes: list[Lane]) -> list[float]:
        """The scores of these candidates, in their order."""
        column = self.column
        return column if len(lanes) == len(column) else [column[lane.index] for lane in lanes]

    def least(self, now: float, tried: Collection[int]) -> Lane | None:
        """The candidate with the smallest score, ties at random."""
        lanes, tier = self.candidates(now, tried)
        return self.smallest_of(lanes, self.scores(lanes), tier) if lanes else None

    def smallest_of(self, lanes: list[Lane], column: list[float], tier: float) -> Lane:
        """The lane with the smallest of these scores, ties at random."""
        best = min(column)
        index = column.index(best)
        ties = column.count(best)
        if ties > 1:
            for _ in range(int(self.random() * ties)):
                index = column.index(best, index + 1)
        self.propensity = tier / ties
        return lanes[index]

    def better_of_two(self, now: float, tried: Collection[int]) -> Lane | None:
        """The candidate with the smaller score of two drawn at random, ties at random.

        With equal weights the two are distinct; with unequal ones both are drawn in proportion to weight, and may be
        the same. The propensity is exact.
        """
        lanes, tier = self.candidates(now, tried)
        n = len(lanes)
        if n < 2:
            self.propensity = tier
            return lanes[0] if lanes else None
        column = self.scores(lanes)
        if not self.even:
            return self._weighted_of_two(lanes, column, tier)
        draw = self.random
        i, j = int(draw() * n), int(draw() * (n - 1))
        j += j >= i
        mine, other = column[i], column[j]
        if other < mine or (other == mine and draw() < 0.5):
            i, mine = j, other
        if self.recorded:
            beaten = sum(map(mine.__lt__, column)) + 0.5 * (column.count(mine) - 1)
            self.propensity = tier * 2.0 * beaten / (n * (n - 1))
        return lanes[i]

    def _weighted_of_two(self, lanes: list[Lane], column: list[float], tier: float) -> Lane:
        weights = [lane.weight for lane in lanes]
        i, j = self.rng.choices(range(len(lanes)), weights, k=2)
        if column[j] < column[i] or (column[j] == column[i] and self.random() < 0.5):
            i = j
        mine, weight = column[i], weights[i]
        beaten = 0.0
        for k, score in enumerate(column):
            if k != i and score >= mine:
                beaten += weights[k] if score > mine else 0.5 * weights[k]
        self.propensity = tier * weight * (weight + 2.0 * beaten) / sum(weights) ** 2
        return lanes[i]


class LeastRequestAll(Baseline):
    """The lane with the fewest attempts in flight of all, ties at random; (in flight + 1) / weight is compared.

    Source: Envoy's LEAST_REQUEST with `selection_method: FULL_SCAN`, which breaks ties at random; join the shortest
    queue, as one gateway sees the queues.
    """

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The least loaded lane."""
        return self.least(now, tried)
