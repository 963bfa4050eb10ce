"""A histogram of durations inside one process, for what happens too seldom to need shared memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

# Seconds: a tick should take under 20 ms and happens every 100; past that it is late, and a second is an accident.
TICKS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class Durations:
    """Counts of durations by upper bound (seconds, inclusive), and their sum."""

    def __init__(self, bounds: Sequence[float] = TICKS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def report(self) -> dict[str, Any]:
        """Ready for JSON; counts are cumulative."""
        running, total = [], 0
        for count in self.counts:
            total += count
            running.append(total)
        return {"bounds": list(self.bounds), "counts": running, "sum_seconds": self.sum}
