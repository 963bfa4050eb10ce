"""Random picks on top of any balancer: a share of what may be sent again goes anywhere, so that a recording can answer
for policies that would have picked otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING

from adaptive.lanes import EJECTED, Lane
from adaptive.types import Snapshot

if TYPE_CHECKING:
    from adaptive.balancer import Balancer


class Exploring:
    """A balancer of which a share of the picks is made at random, each with its probability.

    `share` is in (0, 1]. Only first attempts of what may be sent again are picked at random, evenly among the lanes
    that are not out. A pick at random has the propensity of being so picked, share/n: what the balancer within would
    have given that lane is not known without asking it. A pick of the balancer's has (1 - share) of its own.
    """

    def __init__(self, inner: Balancer, share: float, rng: random.Random) -> None:
        self.inner = inner
        self.lanes = inner.lanes
        self.share_at_random = share
        self.rng = rng
        self.propensity = 1.0
        self.explored = False
        self.recorded = True

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Now and then any lane, else the balancer's own pick."""
        scale = 1.0
        if repeatable and not tried:
            if self.rng.random() < self.share_at_random:
                usable = [lane for lane in self.lanes if lane.health < EJECTED]
                if usable:
                    self.explored, self.propensity = True, self.share_at_random / len(usable)
                    return usable[int(self.rng.random() * len(usable))]
            scale = 1.0 - self.share_at_random
        lane = self.inner.pick(now, repeatable, tried)
        self.explored = self.inner.explored
        self.propensity = max(scale, 1e-9) * self.inner.propensity
        return lane

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """As the balancer within."""
        self.inner.sent(lane, key, now)

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """As the balancer within."""
        self.inner.closed(lane, key, now, latency, verdict)

    def apply(self, snapshot: Snapshot) -> None:
        """As the balancer within."""
        self.inner.apply(snapshot)

    def share(self, others: Sequence[int]) -> None:
        """As the balancer within."""
        self.inner.share(others)

    def beat(self, now: float) -> None:
        """As the balancer within."""
        self.inner.beat(now)

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """As the balancer within."""
        return self.inner.patience(lane, now, repeatable)

    def hedge_after(self, lane: Lane) -> float:
        """As the balancer within."""
        return self.inner.hedge_after(lane)
