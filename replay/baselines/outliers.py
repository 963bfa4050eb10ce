"""Outliers, Envoy's outlier detection and active health checks, as states of lanes behind any choice among them.

Source: Envoy, `source/common/upstream/outlier_detection_impl.cc` and the comments of `outlier_detection.proto`.

- `consecutive_5xx` failures in a row eject; the count begins anew at a success, an ejection and a return.
- Each `interval` a sweep: who has served `base_ejection_time` × its multiplier (at most `max_ejection_time`) comes
  back; then success rates of the interval that ended are compared among the hosts with enough requests, and
  rate < mean - factor · σ (σ of the population) ejects; then, where it is enforced, a share of failures at or above
  `failure_percentage_threshold`. The multiplier grows by 1 with each ejection and falls by 1 with each sweep that finds
  a host back for an interval or longer.
- No ejection may take the share of ejected hosts above `max_ejection_percent`.
- With active health checks, `unhealthy_threshold` failures in a row keep a host out and `healthy_threshold` successes
  in a row let it in again; a success of a host that they hold healthy also ends its ejection.
- Below `panic_threshold` of healthy hosts, health is ignored and all hosts get requests.

A failure here stands for a 5xx: Envoy maps refused connections, resets and time-outs to 503 and 504 unless their split
is asked for. So consecutive gateway failures (502 to 504) are the same count; they are not enforced by default.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from adaptive.lanes import FAILURE, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline

# Sweeps that are made up for after an idle time; by then every ejection has ended and every multiplier is 0.
LATE = 1000


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """Envoy's defaults. Seconds, shares of 1."""

    consecutive_5xx: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection: float = 0.10
    # One host may be ejected whatever `max_ejection` says: so until 2023, and with `always_eject_one_host`. That is off
    # by default now, with which fleets of fewer than ten never eject anybody and the default would be no detection.
    always_eject_one: bool = True
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: float = 1.9
    failure_percentage: float = 0.0  # share of failures that ejects; 0: not enforced, as by default
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    panic_threshold: float = 0.5
    unhealthy_threshold: int = 0  # 0: no active health checks
    healthy_threshold: int = 0


class Outliers(Baseline):
    """Keeps outliers out of the candidates. A subclass chooses among those that are left."""

    settings = OutlierSettings()

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.by_slot = {lane.slot: lane for lane in self.lanes}
        self.failed_in_row = [0] * n
        self.good = [0] * n  # since the last sweep
        self.total = [0] * n
        self.ejected = [False] * n
        self.ejected_at = [0.0] * n
        self.multiplier = [0] * n
        self.returned_at = [float("inf")] * n
        self.unhealthy = [False] * n  # by active health checks
        self.checks = [0] * n  # in a row that speak against the present state
        self.sweep_at: float | None = None

    def look(self, now: float) -> None:
        """Sweeps, if it is time to; to be called at each pick."""
        if self.sweep_at is None:
            self.sweep_at = now + self.settings.interval
        elif now - self.sweep_at > LATE * self.settings.interval:
            self.sweep_at = now
        while now >= self.sweep_at:
            self._sweep(self.sweep_at)
            self.sweep_at += self.settings.interval

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        i = lane.index
        if verdict == SUCCESS:
            self.failed_in_row[i] = 0
            self.good[i] += 1
            self.total[i] += 1
        elif verdict == FAILURE:
            self.total[i] += 1
            self.failed_in_row[i] += 1
            if self.failed_in_row[i] >= self.settings.consecutive_5xx and not self.ejected[i]:
                self.failed_in_row[i] = 0
                self._eject(i, now)

    def checked(self, slot: int, ok: bool, now: float) -> None:
        """An active health check of one slot came back."""
        lane = self.by_slot.get(slot)
        if lane is None or not self.settings.unhealthy_threshold:
            return
        i = lane.index
        if ok == self.unhealthy[i]:
            self.checks[i] += 1
            if self.checks[i] >= (self.settings.healthy_threshold if ok else self.settings.unhealthy_threshold):
                self.unhealthy[i] = not ok
                self.checks[i] = 0
        else:
            self.checks[i] = 0
        if ok and self.ejected[i] and not self.unhealthy[i]:
            self._return(i, now)
        self._settle(i)

    def _eject(self, i: int, now: float) -> None:
        s, active = self.settings, sum(self.ejected)
        if (active + 1) / len(self.lanes) > s.max_ejection + 1e-9 and not (s.always_eject_one and active == 0):
            return
        self.ejected[i], self.ejected_at[i] = True, now
        if self.multiplier[i] * s.base_ejection_time < s.max_ejection_time + s.base_ejection_time:
            self.multiplier[i] += 1
        self._settle(i)

    def _return(self, i: int, now: float) -> None:
        self.ejected[i], self.returned_at[i], self.failed_in_row[i] = False, now, 0
        self._settle(i)

    def _settle(self, i: int) -> None:
        """Bars the lane or lets it in, and looks whether too few are left."""
        barred = self.ejected[i] or self.unhealthy[i]
        if barred != self.barred[i]:
            self.bar(self.lanes[i], barred)
            self.forced = self.barred.count(False) < self.settings.panic_threshold * len(self.lanes)

    def _sweep(self, now: float) -> None:
        s, n = self.settings, len(self.lanes)
        for i in range(n):
            served = min(s.base_ejection_time * self.multiplier[i], s.max_ejection_time)
            if self.ejected[i] and now - self.ejected_at[i] >= served:
                self._return(i, now)
        rates = [(i, self.good[i] / self.total[i], self.total[i]) for i in range(n) if self.total[i] > 0]
        rates = [row for row in rates if not self.ejected[row[0]]]
        self.good, self.total = [0] * n, [0] * n
        enough = [(i, rate) for i, rate, total in rates if total >= s.success_rate_request_volume]
        if enough and len(enough) >= s.success_rate_minimum_hosts:
            mean = sum(rate for _, rate in enough) / len(enough)
            sigma = (sum((rate - mean) ** 2 for _, rate in enough) / len(enough)) ** 0.5
            for i, rate in enough:
                # Rounding must not make an outlier of one among equals.
                if rate < mean - s.success_rate_stdev_factor * sigma - 1e-12:
                    self._eject(i, now)
        enough = [(i, rate) for i, rate, total in rates if total >= s.failure_percentage_request_volume]
        if s.failure_percentage and len(enough) >= s.failure_percentage_minimum_hosts:
            for i, rate in enough:
                if 1.0 - rate >= s.failure_percentage and not self.ejected[i]:
                    self._eject(i, now)
        for i in range(n):
            if not self.ejected[i] and self.multiplier[i] and now - self.returned_at[i] >= s.interval:
                self.multiplier[i] -= 1
