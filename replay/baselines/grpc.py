"""gRPC's weighted_round_robin of gRFC A58, with a load report in each response."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from adaptive.lanes import FAILURE, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.edf import Edf
from replay.baselines.fleet import Fleet

PENALTY = 1.0
BLACKOUT, EXPIRY, UPDATE = 10.0, 180.0, 1.0  # seconds
# Seconds over which a backend measures what it reports: A58 leaves it to the backend. The momentary share of busy slots
# would make weights differ by a factor of six between equals of six slots.
COUNTED = 1.0


class Rates:
    """What one backend reports: queries and errors a second and its utilisation, all over the last whole second."""

    __slots__ = ("begun", "busy", "count", "eps", "errors", "qps", "utilisation")

    def __init__(self) -> None:
        self.begun, self.count, self.errors, self.busy = float("nan"), 0, 0, 0.0
        self.qps = self.eps = self.utilisation = 0.0

    def add(self, failed: bool, busy: float, now: float) -> None:
        """One query was served; `busy` is the share of busy slots at that moment."""
        if not now - self.begun < COUNTED:
            if self.count:
                passed = now - self.begun
                self.qps, self.eps = self.count / passed, self.errors / passed
                self.utilisation = self.busy / self.count
            self.begun, self.count, self.errors, self.busy = now, 0, 0, 0.0
        self.count += 1
        self.errors += failed
        self.busy += busy


class WeightedRoundRobinA58(Baseline):
    """Weighted round robin with weight = qps / (utilisation + eps / qps × penalty), as backends report it.

    Source: gRFC A58. Penalty 1.0; weights are looked up each second into a new earliest-deadline-first schedule; one
    counts after 10 s of reports (blackout) and until none came for 3 minutes; lanes without a weight get the mean of
    the others, and with fewer than two weights it is round robin. The report holds the mean of
    the instance's own utilisation over a second, and as qps and eps what this gateway sent it, which divides all by the
    same share. Configured weights multiply.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.fleet = fleet
        self.rates = [Rates() for _ in range(n)]
        self.reported = [0.0] * n  # the weight by the last report
        self.reported_at = [float("-inf")] * n
        self.non_empty_since = [float("inf")] * n
        self.weights = [1.0] * n
        self.edf = Edf(self.weights, self.random)
        self.update_at = float("-inf")

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        if latency is None or verdict not in (SUCCESS, FAILURE):
            return
        i = lane.index
        rates = self.rates[i]
        rates.add(verdict == FAILURE, self.fleet.utilisation(lane.slot, now), now)
        if rates.utilisation <= 0.0 or rates.qps <= 0.0:
            return
        self.reported[i] = rates.qps / (rates.utilisation + rates.eps / rates.qps * PENALTY)
        self.reported_at[i] = now
        if self.non_empty_since[i] == float("inf"):
            self.non_empty_since[i] = now

    def weight_of(self, i: int, now: float) -> float:
        """The weight by reports, 0 while there is none to believe."""
        if now - self.reported_at[i] >= EXPIRY:
            self.non_empty_since[i] = float("inf")
            return 0.0
        return self.reported[i] if now - self.non_empty_since[i] >= BLACKOUT else 0.0

    def _update(self, now: float) -> None:
        """Looks the weights up, and begins a new schedule."""
        self.update_at = now + UPDATE
        known = [self.weight_of(i, now) for i in range(len(self.lanes))]
        positive = [weight for weight in known if weight > 0.0]
        mean = sum(positive) / len(positive) if len(positive) > 1 else 1.0
        if len(positive) < 2:
            known = [1.0] * len(known)
        self.weights = [(w if w > 0.0 else mean) * x.weight for w, x in zip(known, self.lanes, strict=True)]
        self.edf = Edf(self.weights, self.random)

    def _gather(self, now: float) -> None:
        super()._gather(now)
        self._update(now)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """Whose deadline comes first."""
        if now >= self.update_at:
            self._update(now)
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        return self.lanes[self.edf.take([lane.index for lane in lanes], self.weights.__getitem__)]
