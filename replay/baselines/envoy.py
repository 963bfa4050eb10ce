"""Envoy's LEAST_REQUEST with outlier detection, and Peak EWMA with the same detection.

The detection is that of `replay.baselines.outliers`. Slow start is not modelled: it acts after a cluster's start and
after active health checks let a host in again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from math import inf, log

from adaptive.lanes import PEAK_TAU, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.edf import Edf
from replay.baselines.outliers import Outliers, OutlierSettings


class EnvoyLeastRequest(Outliers):
    """LEAST_REQUEST, N_CHOICES with `choice_count` 2, and outlier detection with Envoy's defaults.

    Source: Envoy, `load_balancing_policies/least_request/least_request_lb.cc`. With equal weights two hosts are drawn
    with replacement, and the one with fewer active requests serves, the first drawn if they have as many. With unequal
    weights it is earliest deadline first, a host's weight being weight / (active + 1)**bias (bias 1) when it is picked.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.edf: Edf | None = None

    def key(self, lane: Lane) -> float:
        """Active requests."""
        return lane.in_flight + lane.others

    def _gather(self, now: float) -> None:
        """A change of the hosts makes a new scheduler."""
        super()._gather(now)
        self.edf = None if self.even else Edf([self._weight(i) for i in range(len(self.lanes))], self.random)

    def _weight(self, i: int) -> float:
        lane = self.lanes[i]
        return lane.weight / (lane.in_flight + lane.others + 1)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The less loaded of two, or whose deadline comes first."""
        self.look(now)
        lanes, tier = self.candidates(now, tried)
        n = len(lanes)
        if n == 0:
            return None
        if self.edf is not None:
            self.propensity = tier
            return self.lanes[self.edf.take([lane.index for lane in lanes], self._weight)]
        column = self.scores(lanes)
        i, j = int(self.random() * n), int(self.random() * n)
        if column[j] < column[i]:
            i = j
        if self.recorded:
            mine = column[i]
            # Of the n² draws: with each worse one in either order, with each equal one first, and twice itself.
            self.propensity = tier * (2 * sum(map(mine.__lt__, column)) + column.count(mine)) / (n * n)
        return lanes[i]


class EnvoyLeastRequestTuned(EnvoyLeastRequest):
    """The same, tuned for fast handling of failures as its manual allows, with active health checks.

    Sweeps each 0.5 s, 3 s of ejection, at most half of the hosts; success rates from 3 hosts with 30 requests; 20 %
    failures of 20 requests eject; health checks 2 and 2.
    """

    settings = OutlierSettings(
        interval=0.5,
        base_ejection_time=3.0,
        max_ejection=0.5,
        success_rate_minimum_hosts=3,
        success_rate_request_volume=30,
        failure_percentage=0.2,
        failure_percentage_minimum_hosts=3,
        failure_percentage_request_volume=20,
        unhealthy_threshold=2,
        healthy_threshold=2,
    )


# The score of a lane with attempts in flight and no latency yet; above any logarithm of a cost in seconds.
PENALTY = 1e9


class PeakEwmaOutlier(Outliers):
    """The cheaper of two by Peak EWMA latency × (in flight + 1), with Envoy's outlier detection at its defaults.

    Sources: Finagle, `PeakEwma.scala` under P2C with decay time 10 s; the detection is Envoy's. Since all latencies
    decay alike, ln(latency) + t/10 s orders the lanes whatever the time is, so that the score moves with events only.
    """

    def key(self, lane: Lane) -> float:
        """Logarithm of the cost, but for the decay common to all."""
        pending = lane.in_flight + lane.others
        peak = lane.peak
        if peak.value <= 0.0:
            return PENALTY + pending / lane.weight if pending else -inf
        return log(peak.value * (pending + 1) / lane.weight) + peak.at / PEAK_TAU

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        super()._learn(lane, sent_at, now, latency, verdict)
        lane.peak.add(latency if latency is not None and verdict == SUCCESS else now - sent_at, now)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The cheaper of two."""
        self.look(now)
        return self.better_of_two(now, tried)
