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
        self.truth = fleet.truth

    def key(self, lane: Lane) -> float:
        """Attempts in flight."""
        return lane.in_flight + lane.others

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane with the least expected delay."""
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        truth = self.truth
        known = [truth(lane.slot, now) for lane in lanes]
        if repeatable and not tried:
            known = [(seconds == math.inf, seconds) for _, seconds in known]
        best = min(known)  # False comes before True
        tied = [lane for lane, each in zip(lanes, known, strict=True) if each == best]
        if len(tied) == 1:
            self.propensity = tier
            return tied[0]
        return self.smallest_of(tied, [float(x.in_flight + x.others) for x in tied], tier)
