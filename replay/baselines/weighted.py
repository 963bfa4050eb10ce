"""Weighted: turns in proportion to what each instance can serve, as an operator sets weights by hand."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.edf import Edf
from replay.baselines.fleet import Fleet


class Weighted(Baseline):
    """Weighted round robin whose weights are the instances' capacities when nothing is wrong, and never change.

    Scheduled by earliest deadline first, as Envoy's ROUND_ROBIN is. Configured weights multiply. It is what static
    weights can do at best: right about the machines, blind to what happens to them.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> None:
        super().__init__(cluster, rng, adopted)
        self.capacity = [fleet.capacity(lane.slot) for lane in self.lanes]
        self.edf = Edf([1.0] * len(self.lanes), self.random)

    def _weight(self, i: int) -> float:
        return self.capacity[i] * self.lanes[i].weight

    def _gather(self, now: float) -> None:
        super()._gather(now)
        self.edf = Edf([self._weight(i) for i in range(len(self.lanes))], self.random)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Whose turn it is."""
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        return self.lanes[self.edf.take([lane.index for lane in lanes], self._weight)]
