"""Balancers to compare with: nginx's least connections, and one that knows every instance's true state."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable
from typing import Any

from adaptive.lanes import FAILURE, SUCCESS, Lane, Lanes
from adaptive.types import Cluster


class NginxLeastConnections(Lanes):
    """Full scan for the fewest connections, ties in turn; max_fails=3 fail_timeout=5s as nginx counts them."""

    MAX_FAILS, FAIL_TIMEOUT = 3, 5.0

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.fails = [0] * len(self.lanes)
        self.accessed = [float("-inf")] * len(self.lanes)
        self.checked = [float("-inf")] * len(self.lanes)
        self.turn = 0

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The next of the lanes with the fewest connections."""
        n = len(self.lanes)
        allowed = [
            lane
            for lane in self.lanes
            if lane.slot not in tried
            and not (self.fails[lane.index] >= self.MAX_FAILS and now - self.checked[lane.index] <= self.FAIL_TIMEOUT)
        ]
        lanes = allowed or [lane for lane in self.lanes if lane.slot not in tried] or self.lanes
        fewest = min(lane.in_flight for lane in lanes)
        lane = min((x for x in lanes if x.in_flight == fewest), key=lambda x: (x.index - self.turn) % n)
        self.turn = lane.index + 1
        if now - self.checked[lane.index] > self.FAIL_TIMEOUT:
            self.checked[lane.index] = now
        return lane

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """Counts a failure, or forgets the failures when a check succeeded."""
        super().closed(lane, key, now, latency, verdict)
        i = lane.index
        if verdict == FAILURE:
            self.fails[i] += 1
            self.accessed[i] = self.checked[i] = now
        elif verdict == SUCCESS and self.accessed[i] < self.checked[i]:
            self.fails[i] = 0


class Clairvoyant(Lanes):
    """Sends to the instance where the request will wait least, and never to one that would fail it now."""

    def __init__(self, cluster: Cluster, rng: random.Random, model: Any) -> None:
        super().__init__(cluster, rng)
        self.model = model

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane with the least expected delay."""
        costs: dict[Lane, tuple[float, ...]] = {}
        for lane in self.lanes:
            instance = self.model.fleet[lane.slot]
            slow, err, hang, down, share = instance.state(now)
            slots = max(1, int(instance.slots * share))
            waiting = instance.busy + len(instance.queue) + 1 - slots
            pause = max(0.0, instance.stall_until - now)
            soon = any(f["kind"] == "down" and f["from"] - 0.3 <= now < f["from"] for f in instance.faults)
            bad = err > 0 or hang > 0 or down or not instance.up or soon
            delay = pause + instance.mean * slow * (1 + max(0, waiting) / slots)
            costs[lane] = (lane.slot in tried, bad, delay, lane.in_flight)
        least = min(costs.values())
        best = [lane for lane, cost in costs.items() if cost == least]
        return best[int(self.rng.random() * len(best))]
