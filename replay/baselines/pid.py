"""PID on weights: each node's weight follows its utilisation towards the fleet's mean; requests go by weight alone."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.edf import Edf
from replay.baselines.fleet import Fleet

UPDATE = 1.0  # seconds between two steps of the controllers
# Gains on the relative error. A weight's effect on utilisation is about 1:1, so that P alone takes back 30 % of an
# error in each step; noise of 6 % in a second's mean then moves weights by 2 %. The source publishes none.
P, I, D = 0.3, 0.02, 0.05  # noqa: E741
WINDUP = 5.0  # most of the sum of errors
LEAST, MOST = 0.05, 20.0  # bounds of a weight, the mean being 1


class PidWeights(Baseline):
    """Weighted round robin whose weights a PID controller for each node sets.

    Source: Dropbox's Robinhood (2024): the set-point is the mean utilisation of the service's nodes, the output is a
    change of the node's weight, and weights are normalised; clients take turns by weight, knowing nothing else. The
    measured value is the larger of the node's own utilisation, the mean over the responses of a second, and its
    attempts in flight, the mean over that time, each as a multiple of the fleet's mean: a node that is stuck is idle by
    its own account. The error is relative to the mean, (mean - u)/mean, and -1 at least: one pause must
    not take a node's whole weight. Configured weights multiply.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.fleet = fleet
        self.learned = [1.0] * n
        self.total = [0.0] * n  # of the utilisations reported since the last step
        self.reports = [0] * n
        self.area = [0.0] * n  # attempts in flight × seconds since the last step
        self.changed = [float("inf")] * n  # when the attempts in flight last changed
        self.sum = [0.0] * n  # of the errors
        self.last = [0.0] * n  # error
        self.step_at: float | None = None
        self.edf = Edf([1.0] * n, self.random)

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins."""
        super().sent(lane, key, now)
        if lane.home is self:
            self._count(lane, lane.in_flight - 1, now)

    def _count(self, lane: Lane, before: int, now: float) -> None:
        """So many attempts were in flight until now."""
        i = lane.index
        self.area[i] += (before + lane.others) * max(0.0, now - self.changed[i])
        self.changed[i] = now

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        self._count(lane, lane.in_flight + 1, now)
        if latency is not None:
            self.total[lane.index] += self.fleet.utilisation(lane.slot, now)
            self.reports[lane.index] += 1

    def _measure(self, now: float) -> list[float]:
        """Of each node the larger of its utilisation and its attempts in flight over a step, in their means."""
        n = len(self.lanes)
        for lane in self.lanes:
            self._count(lane, lane.in_flight, now)
        busy = {i: self.total[i] / count for i, count in enumerate(self.reports) if count}
        mean_busy = sum(busy.values()) / len(busy) if busy else 0.0
        mean_area = sum(self.area) / n if n else 0.0
        measured = [
            max(busy.get(i, 0.0) / mean_busy if mean_busy else 0.0, self.area[i] / mean_area if mean_area else 0.0)
            for i in range(n)
        ]
        self.total, self.reports, self.area = [0.0] * n, [0] * n, [0.0] * n
        return measured

    def _step(self, now: float) -> None:
        """One step of every controller, and the schedule of the new weights."""
        measured = self._measure(now)
        mean = sum(measured) / len(measured) if measured else 0.0
        if mean > 0.0:
            for i, value in enumerate(measured):
                error = max(-1.0, (mean - value) / mean)
                self.sum[i] = max(-WINDUP, min(WINDUP, self.sum[i] + error))
                change = P * error + I * self.sum[i] + D * (error - self.last[i])
                self.last[i] = error
                self.learned[i] *= max(0.1, 1.0 + change)
            average = sum(self.learned) / len(self.learned)
            self.learned = [max(LEAST, min(MOST, weight / average)) for weight in self.learned]
        self._schedule()

    def _schedule(self) -> None:
        self.edf = Edf([self._weight(i) for i in range(len(self.lanes))], self.random)

    def _weight(self, i: int) -> float:
        return self.learned[i] * self.lanes[i].weight

    def _gather(self, now: float) -> None:
        super()._gather(now)
        self._schedule()

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Whose turn it is."""
        if self.step_at is None:
            self.step_at = now + UPDATE
        elif now >= self.step_at:
            self.step_at = now + UPDATE
            self._step(now)
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        return self.lanes[self.edf.take([lane.index for lane in lanes], self._weight)]
