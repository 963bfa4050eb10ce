"""The recorded picks as a policy: a fit must give back the recorded latencies when every request goes where it went.

It needs no knowledge of the policy that recorded. A second attempt, whose moment the simulation does not share with the
recording, goes to the least loaded instance that was not tried.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from adaptive.balancer import Balancer
from adaptive.lanes import Lane, Lanes
from adaptive.types import Cluster
from replay.baselines.fleet import Fleet
from replay.evaluation.attempts import Column
from replay.policies import Policy

NAME = "recorded"


class Recorded(Lanes):
    """Sends the n-th request to the n-th lane of a list."""

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], first: Column) -> None:
        super().__init__(cluster, rng, adopted)
        self._first = iter(first.tolist())

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Where the next request went, or for another attempt the least loaded lane."""
        index: int | None = None if tried else next(self._first, None)
        if index is not None:
            return self.lanes[index]
        return min(self.lanes, key=lambda lane: (lane.slot in tried, lane.load, lane.index))


def policy(first: Column) -> Policy:
    """The policy for one trace. `first` (n,): index of the instance of each request's first attempt, by due."""

    def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> Balancer:
        return Recorded(cluster, rng, adopted, first)

    return Policy(NAME, build, source="each request goes where it went")
