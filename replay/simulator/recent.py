"""The last answers of an instance: how many requests each met there, and how long it took."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

KEPT = 64


class Recent:
    """Latencies in seconds, those that met equally many in one ascending list."""

    def __init__(self) -> None:
        self.order: deque[tuple[int, float]] = deque()
        self.by_met: dict[int, list[float]] = {}

    def add(self, met: int, latency: float) -> None:
        """One more; the oldest goes."""
        self.order.append((met, latency))
        insort(self.by_met.setdefault(met, []), latency)
        if len(self.order) > KEPT:
            met, latency = self.order.popleft()
            mine = self.by_met[met]
            del mine[bisect_left(mine, latency)]

    def median(self, held: int) -> float:
        """Of those that met about as many as are there now, or else of all; NaN where there are none."""
        apart = max(1, held // 4)
        near: list[float] = []
        for met in range(held - apart, held + apart + 1):
            near += self.by_met.get(met, ())
        if not near:
            near = [latency for _, latency in self.order]
        near.sort()
        return near[len(near) // 2] if near else math.nan
