"""Relative latency ejection: whoever is far slower than the pool's median is left out for a while."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from math import exp, log

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline

FACTOR, DELTA = 3.0, 0.05  # an outlier's mean is at least this times the median, and this many seconds above it
HALF_LIFE = 10.0  # seconds, of the mean's memory
MIN_SAMPLES, MIN_HOSTS = 100, 3
MAX_EJECTION, PANIC = 0.30, 0.50  # shares of the pool
BASE, LONGEST = 30.0, 300.0  # seconds of ejection; doubled each time, up to


class LatencyEjection(Baseline):
    """Least request with two choices among those whose mean time to the first byte is not an outlier.

    Source: parapet, `LatencyEjectingLoadBalancer` (pull request 221), with its defaults. A response updates its lane's
    mean, w·mean + (1-w)·sample with w = exp(-Δt·ln 2/10 s). With 100 samples, and 3 lanes that have as many, a mean of
    at least 3 medians and 50 ms above the median ejects, for 30 s, doubled with each ejection up to 5 min, unless 30 %
    of the pool are out. An ejected lane's mean and samples begin anew; a mean within tolerance forgets its ejections.
    With over half of the pool out, or all, health is ignored. Failures without a response are not its business. The
    source chooses by round robin; behind two choices the ejection is judged, and not that.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.mean = [0.0] * n
        self.seen_at = [0.0] * n
        self.samples = [0] * n
        self.ejections = [0] * n
        self.until = [float("-inf")] * n
        self.out: list[Lane] = []

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The less loaded of two."""
        if self.out:
            for lane in [x for x in self.out if now >= self.until[x.index]]:
                self._admit(lane)
        return self.better_of_two(now, tried)

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        if latency is None:
            return
        i = lane.index
        if self.mean[i]:
            w = exp(-max(0.0, now - self.seen_at[i]) * log(2.0) / HALF_LIFE)
            self.mean[i] = w * self.mean[i] + (1.0 - w) * latency
        else:
            self.mean[i] = latency
        self.seen_at[i] = now
        self.samples[i] += 1
        if self.samples[i] < MIN_SAMPLES:
            return
        means = sorted([m for m, n in zip(self.mean, self.samples, strict=True) if n >= MIN_SAMPLES and m])
        if len(means) < MIN_HOSTS:
            return
        middle = len(means) // 2
        median = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2.0
        if self.mean[i] < median * FACTOR or self.mean[i] < median + DELTA:
            self.ejections[i] = 0
            if lane in self.out:
                self._admit(lane)
        elif lane not in self.out and len(self.out) + 1 <= MAX_EJECTION * len(self.lanes):
            self.ejections[i] += 1
            self.until[i] = now + min(LONGEST, BASE * 2.0 ** (self.ejections[i] - 1))
            self.mean[i], self.samples[i] = 0.0, 0
            self.out.append(lane)
            self.bar(lane, True)
            self.forced = len(self.out) > PANIC * len(self.lanes)

    def _admit(self, lane: Lane) -> None:
        self.out.remove(lane)
        self.bar(lane, False)
        self.forced = len(self.out) > PANIC * len(self.lanes)
