"""PID on weights: each node's weight follows its utilisation towards the fleet's mean; requests go by weight alone."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

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
    measured value is the node's own utilisation, the mean over the responses of a second. A node that says nothing for
    a second keeps its weight. The error is relative to the mean, (mean - u)/mean. Configured weights multiply.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.fleet = fleet
        self.learned = [1.0] * n
        self.total = [0.0] * n  # of the utilisations reported since the last step
        self.reports = [0] * n
        self.sum = [0.0] * n  # of the errors
        self.last = [0.0] * n  # error
        self.step_at: float | None = None
        self.edf = Edf([1.0] * n, self.random)

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        if latency is not None:
            self.total[lane.index] += self.fleet.utilisation(lane.slot, now)
            self.reports[lane.index] += 1

    def _step(self) -> None:
        """One step of every controller, and the schedule of the new weights."""
        used = {i: self.total[i] / count for i, count in enumerate(self.reports) if count}
        mean = sum(used.values()) / len(used) if used else 0.0
        if mean > 0.0:
            for i, value in used.items():
                error = (mean - value) / mean
                self.sum[i] = max(-WINDUP, min(WINDUP, self.sum[i] + error))
                change = P * error + I * self.sum[i] + D * (error - self.last[i])
                self.last[i] = error
                self.learned[i] *= max(0.1, 1.0 + change)
            average = sum(self.learned) / len(self.learned)
            self.learned = [max(LEAST, min(MOST, weight / average)) for weight in self.learned]
        self.total, self.reports = [0.0] * len(self.lanes), [0] * len(self.lanes)
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
            self._step()
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        return self.lanes[self.edf.take([lane.index for lane in lanes], self._weight)]
