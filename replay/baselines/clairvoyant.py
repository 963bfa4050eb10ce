"""Clairvoyant: the limit that others are measured against, since it knows every instance's true state."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.fleet import Fleet


class Clairvoyant(Baseline):
    """Never where the request may fail, and of the rest where its answer is expected first. A request that may be sent
    again goes by what is expected alone, errors and repetitions included: else a few errors of one instance would cost
    a full fleet all that it can serve.

    Shortest expected delay with true speeds, queues and pauses; of equals, as of all that have an idle slot and the
    same speed, the one with the fewest attempts in flight, ties at random. It knows the instances' state and not the
    service times to come, and each request serves itself, so it is no proven optimum: a policy that spares a fast
    instance for later requests may do better by a little where speeds differ much. Weights do not count; health does.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> None:
        super().__init__(cluster, rng, adopted)
        self.truths = fleet.truths
        self.in_order = [lane.slot for lane in self.lanes] == list(range(len(self.lanes)))

    def key(self, lane: Lane) -> float:
        """Attempts in flight."""
        return float(lane.in_flight + lane.others)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane with the least expected delay."""
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        expected, risky = self.truths(now)
        whole = self.in_order and len(lanes) == len(expected)
        column = list(expected) if whole else [expected[lane.slot] for lane in lanes]
        if risky and (tried or not repeatable):
            safe = [math.inf if lane.slot in risky else each for lane, each in zip(lanes, column, strict=True)]
            if min(safe) < math.inf:  # else it may fail everywhere
                column = safe
        best = min(column)
        ties = column.count(best)
        if ties == 1:
            self.propensity = tier
            return lanes[column.index(best)]
        if ties == len(self.lanes):
            return self.smallest_of(lanes, self.column, tier)
        tied = [lane for lane, each in zip(lanes, column, strict=True) if each == best]
        return self.smallest_of(tied, self.scores(tied), tier)
