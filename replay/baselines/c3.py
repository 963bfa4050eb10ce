"""C3: cubic ranking of replicas by their own feedback, and cubic control of the rate to each."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable
from math import isnan

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.fleet import Fleet

# Weight of a new sample in the averages of response time, service time and queue.
ALPHA = 0.9
EXPONENT = 3
# Rate control, in the source's units: milliseconds, and requests in an interval of 20 ms.
INTERVAL = 20.0
GAMMA, BETA, MOST = 4e-6, 0.2, 10.0  # scale of the cubic, factor of a decrease, largest increase in one step
HYSTERESIS = 2.0  # intervals after an increase in which there is no decrease
BURST = 10.0  # most tokens, and the first rate
RECEIVED = 0.1  # weight of a new interval in the average of the receive rate
LOWEST = 0.01


class Limiter:
    """Tokens of one replica, how fast they come, and how fast answers do. Times are milliseconds."""

    __slots__ = ("count", "decreased", "increased", "peak", "rate", "received", "tokens", "updated", "window")

    def __init__(self) -> None:
        self.rate = self.peak = self.tokens = BURST
        self.updated = 0.0  # when `tokens` was right
        self.decreased = self.increased = 0.0
        self.received, self.count, self.window = 0.0, 0, 0

    def available(self, ms: float) -> float:
        """Tokens at this time; below 0 by what was sent without one."""
        return min(BURST, self.tokens + self.rate / INTERVAL * max(0.0, ms - self.updated))

    def take(self, ms: float) -> None:
        """A request went out."""
        self.tokens = self.available(ms) - 1.0
        self.updated = ms

    def answered(self, ms: float) -> None:
        """A response came: the receive rate, and the sending rate after it."""
        window = int(ms / INTERVAL)
        if window > self.window:
            self.received = RECEIVED * self.count + (1.0 - RECEIVED) * self.received
            self.received *= (1.0 - RECEIVED) ** (window - self.window - 1)
            self.count, self.window = 0, window
        self.count += 1
        self.tokens, self.updated = self.available(ms), max(ms, self.updated)
        if self.rate < self.received:
            self.increased = ms
            since = ms - self.decreased - (self.peak * BETA / GAMMA) ** (1.0 / 3.0)
            self.rate = min(self.rate + MOST, max(LOWEST, GAMMA * since**3 + self.peak))
        elif 0.0 < self.received < self.rate and ms - self.increased > INTERVAL * HYSTERESIS:
            self.peak = self.rate
            self.rate = max(LOWEST, self.rate * BETA)
            self.decreased = ms


class C3(Baseline):
    """The replica with the smallest Ψ = R - S + q³·S that has a token.

    Source: C3 (NSDI'15), with the constants of its simulator (`absim`). R is the mean response time, S the mean service
    time, q = 1 + own attempts in flight × clients + the replica's mean queue; means by weight 0.9 on the newest
    sample. With each response comes feedback: here the answer to a probe at that moment, the latency that the instance
    reports standing for its service time, and the queue being the requests beyond its slots. A replica that never
    answered scores 0. Where nobody has a token, C3 holds the request back; a balancer cannot, so that then the
    ranking alone decides, and under a load below the capacity the rates, which follow what comes back, turn
    requests away from the best replica; without `rate_control` the ranking is judged alone. C3 knows no failures: a
    fast error looks like fast service.
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: random.Random,
        adopted: Iterable[Lane],
        fleet: Fleet,
        clients: int = 1,
        rate_control: bool = True,
    ) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.fleet, self.clients, self.rate_control = fleet, clients, rate_control
        self.response = [0.0] * n
        self.service = [0.0] * n  # 0: no feedback yet
        self.queue = [0.0] * n
        self.slots = [0.0] * n  # of the instance, as far as its reports tell; 0: not known
        self.limiters = [Limiter() for _ in range(n)]

    def key(self, lane: Lane) -> float:
        """Ψ."""
        i = lane.index
        service = self.service[i]
        if service <= 0.0:
            return 0.0
        expected = 1.0 + (lane.in_flight + lane.others) * self.clients + self.queue[i]
        return self.response[i] - service + expected**EXPONENT * service

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins, and takes a token."""
        super().sent(lane, key, now)
        if lane.home is self:
            self.limiters[lane.index].take(1e3 * now)

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        if latency is None:
            return
        i = lane.index
        self.limiters[i].answered(1e3 * now)
        running, service = self.fleet.probe(lane.slot, now)
        if isnan(service):
            service = latency
        busy = self.fleet.utilisation(lane.slot, now)
        if 0.0 < busy < 1.0:
            self.slots[i] = running / busy
        waiting = max(0.0, running - self.slots[i]) if self.slots[i] else float(running)
        old = 0.0 if self.service[i] <= 0.0 else 1.0 - ALPHA
        self.response[i] = (1.0 - old) * latency + old * self.response[i]
        self.service[i] = (1.0 - old) * service + old * self.service[i]
        self.queue[i] = (1.0 - old) * waiting + old * self.queue[i]

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The best replica that has a token, ties at random."""
        if not self.rate_control:
            return self.least(now, tried)
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        column = self.scores(lanes)
        ms = 1e3 * now
        best = min(column)
        first = [column.index(best)]
        if column.count(best) > 1:
            first = [k for k in range(len(lanes)) if column[k] == best]
        having = [k for k in first if self.limiters[lanes[k].index].available(ms) >= 1.0]
        tied = having or self._next_best(lanes, column, ms) or first
        self.propensity = tier / len(tied)
        return lanes[tied[int(self.random() * len(tied))] if len(tied) > 1 else tied[0]]

    def _next_best(self, lanes: list[Lane], column: list[float], ms: float) -> list[int]:
        """Those with the smallest score that have a token; empty where nobody has."""
        tied: list[int] = []
        for k in sorted(range(len(lanes)), key=column.__getitem__):
            if tied and column[k] > column[tied[0]]:
                break
            if self.limiters[lanes[k].index].available(ms) >= 1.0:
                tied.append(k)
        return tied
