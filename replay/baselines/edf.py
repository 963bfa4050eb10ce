"""Edf, earliest deadline first: weighted round robin with one deadline a lane, as Envoy and gRPC schedule it.

Each pick serves the smallest deadline and adds the period 1/weight to it. The first deadlines are random in
[0, period), so that several gateways do not move in step. Between two builds the picks are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Edf:
    """Deadlines by place in the cluster. A weight is any positive number; only their ratios count."""

    def __init__(self, weights: Sequence[float], random: Callable[[], float]) -> None:
        self.deadlines = [random() / weight for weight in weights]

    def take(self, among: Sequence[int], weight: Callable[[int], float]) -> int:
        """The place whose deadline is earliest among these, moved on by 1/weight as it is now."""
        deadlines = self.deadlines
        if len(among) == len(deadlines):
            place = deadlines.index(min(deadlines))
        else:
            place = min(among, key=deadlines.__getitem__)
        deadlines[place] += 1.0 / weight(place)
        return place
