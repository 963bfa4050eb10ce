"""Gates: a rule without a model, by recent failures, stalls, attempts in flight and slowness, in this order."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from adaptive.lanes import FAILURE, NEVER, SUCCESS, Lane
from adaptive.types import FULL_WEIGHT, Cluster
from replay.baselines.base import Baseline

POINT = 1e6  # a gate point in units of the score; above any load
FAILED_GET, FAILED_POST, FAILED_OFTEN = 0.3, 0.12, 1.0  # a point above the first or second, one more above the third
FAILURE_STEP = 0.5
STREAK, FORGIVEN = 12, 0.93
STALL_FLOOR, STALL_GAPS = 0.05, 7.0  # seconds; typical latencies over attempts in flight
ORDINARY = 1.25
PROBE = 0.004  # share of repeatable picks
# Seconds between two looks at what changes by the mere passing of time.
LOOK = 0.005


class Gates(Baseline):
    """The smallest of (gate points, (in flight + 1) × slowness / weight), ties at random.

    Gate points: one for a failure score above 0.12 for a request that cannot be sent twice and 0.3 for the others, one
    more above 1; each failure adds 0.5, a half is gone in 3.5 s, and each success takes 7 % once 12 in a row came back.
    One for a stall: at least two attempts in flight, and none ended for max(50 ms, 7 typical latencies / attempts in
    flight). Slowness is the mean latency over the fleet's median one, 1 below 1.25. A repeatable request probes a gated
    idle lane in 0.4 % of picks. Source: a rule of thumb that comes close to the clairvoyant in simulations of ten
    instances; it stands here for what needs no learning.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.gate = [0.0] * n  # of repeatable requests, in units of the score
        self.bar_of = [0.0] * n  # of the others
        self.writes = [0.0] * n  # the column of the others
        self.step = [FULL_WEIGHT / lane.weight for lane in self.lanes]
        self.ended = [NEVER] * n
        self.gated: list[Lane] = []
        self.look_at = NEVER

    def key(self, lane: Lane) -> float:
        """The score of a repeatable request; that of the others is put in its column."""
        i = lane.index
        load = (lane.in_flight + lane.others + 1) * self.step[i]
        self.writes[i] = self.bar_of[i] + load
        return self.gate[i] + load

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        self.ended[lane.index] = now
        if verdict == FAILURE:
            lane.failures.add(FAILURE_STEP, now)
            self._grade(lane, now, self._typical())
        elif verdict == SUCCESS:
            if latency is not None:
                lane.latency.add(latency, now)
            if lane.streak >= STREAK and lane.failures.value > 0.0:
                lane.failures.scale(FORGIVEN)
            if self.gate[lane.index] or self.bar_of[lane.index]:
                self._grade(lane, now, self._typical())

    def _typical(self) -> float:
        """The median of the mean latencies, seconds; 0 while none is known."""
        means = sorted([x.latency.total / x.latency.mass for x in self.lanes if x.latency.mass > 0.0])
        return means[len(means) // 2] if means else 0.0

    def _look(self, now: float) -> None:
        """Grades every lane."""
        self.look_at = now + LOOK
        typical = self._typical()
        for lane in self.lanes:
            self._grade(lane, now, typical)
            self.column[lane.index] = self.key(lane)
        self.gated = [lane for lane in self.lanes if self.gate[lane.index] or self.bar_of[lane.index]]

    def _grade(self, lane: Lane, now: float, typical: float) -> None:
        i = lane.index
        stalled = 0.0
        if lane.in_flight >= 2:
            silent = now - max(self.ended[i], next(iter(lane.outstanding.values())))
            stalled = POINT * (silent > max(STALL_FLOOR, STALL_GAPS * typical / lane.in_flight))
        self.gate[i] = self.bar_of[i] = stalled
        if lane.failures.value > 0.0:
            failed = lane.failures.get(now)
            often = POINT * (failed > FAILED_OFTEN)
            self.gate[i] += POINT * (failed > FAILED_GET) + often
            self.bar_of[i] += POINT * (failed > FAILED_POST) + often
        slowness = 1.0
        if typical and lane.latency.mass > 0.0:
            slowness = lane.latency.total / lane.latency.mass / typical
        self.step[i] = (1.0 if slowness < ORDINARY else slowness) * FULL_WEIGHT / lane.weight

    def _gather(self, now: float) -> None:
        self._look(now)
        super()._gather(now)

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The best by its gates and its load, or a gated idle one to learn of it."""
        if now >= self.look_at:
            self._look(now)
        self.explored = False
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        if not repeatable:
            column = self.writes if len(lanes) == len(self.lanes) else [self.writes[lane.index] for lane in lanes]
            return self.smallest_of(lanes, column, tier)
        column = self.scores(lanes)
        share = 1.0
        if self.gated and min(column) < POINT:
            idle = [x for x in self.gated if self.gate[x.index] and not x.in_flight and not x.others and x in lanes]
            if idle:
                u = self.random()
                if u < PROBE:
                    self.explored = True
                    self.propensity = tier * PROBE / len(idle)
                    return idle[int(u / PROBE * len(idle))]
                share = 1.0 - PROBE
        return self.smallest_of(lanes, column, tier * share)
