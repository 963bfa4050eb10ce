"""Linkerd's PenaltyPeakEwma with its unified circuit breaker."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable
from math import log

from adaptive.ewma import PeakEwma
from adaptive.lanes import FAILURE, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline

# Of the load estimate, seconds: time constant, latency of an endpoint not measured yet, latency recorded of a failure.
DECAY, DEFAULT_RTT, PENALTY = 10.0, 0.03, 5.0
# Of the breaker.
MAX_FAILURES = 7  # in a row
THRESHOLD, WINDOW, BUCKETS, MIN_REQUESTS = 0.8, 10.0, 10, 5
MIN_BACKOFF, MAX_BACKOFF, JITTER = 1.0, 60.0, 0.5


class SuccessRate:
    """The exact share of successes in the last `WINDOW` seconds, in a ring of ten buckets."""

    def __init__(self) -> None:
        self.good = [0] * BUCKETS
        self.total = [0] * BUCKETS
        self.turn = 0  # number of the current bucket since time 0
        self.sums = (0, 0)

    def add(self, ok: bool, now: float) -> None:
        """One response."""
        turn = int(now * BUCKETS / WINDOW)
        if turn > self.turn:
            for passed in range(min(BUCKETS, turn - self.turn)):
                at = (turn - passed) % BUCKETS
                self.sums = (self.sums[0] - self.good[at], self.sums[1] - self.total[at])
                self.good[at] = self.total[at] = 0
            self.turn = turn
        at = self.turn % BUCKETS
        self.good[at] += ok
        self.total[at] += 1
        self.sums = (self.sums[0] + ok, self.sums[1] + 1)

    def low(self) -> bool:
        """Whether the share is below the threshold, with enough responses to say so."""
        good, total = self.sums
        return total >= MIN_REQUESTS and good < THRESHOLD * total


class Breaker:
    """One endpoint's breaker: closed (requests pass), open (none), or on probation (one)."""

    __slots__ = ("failed_in_row", "open", "probation", "rate", "reopens", "trips")

    def __init__(self) -> None:
        self.rate = SuccessRate()
        self.failed_in_row = 0
        self.open = False
        self.probation = False
        self.trips = 0  # in a row: the exponent of the back-off
        self.reopens = 0.0  # when the back-off ends

    def trip(self, now: float, u: float) -> None:
        """Opens for min(60 s, 2**trips s), and up to half as long again by `u`, uniform in [0, 1); 60 s at most."""
        base = min(MAX_BACKOFF, MIN_BACKOFF * 2.0 ** min(self.trips, 30))
        self.reopens = now + base + min(u * JITTER * base, MAX_BACKOFF - base)
        self.open, self.probation = True, False
        self.trips += 1


class PenaltyPeakEwma(Baseline):
    """The cheaper of two by Peak EWMA latency × (in flight + 1), a failure counting as 5 s; a breaker for each.

    Source: linkerd2-proxy, `linkerd/load-biaser` and `http/breaker/{unified,success_rate}.rs`, with the defaults that
    Linkerd's policy controller gives. The estimate starts at 30 ms, rises at once and falls with time constant 10 s. A
    failing response is recorded as max(5 s, its Retry-After; none here); a refused, reset or abandoned attempt as the
    time that it took. The breaker opens after 7 failures in a row, or where under 80 % of at least 5 responses in 10 s
    were good. After a back-off of 1 s, doubled each time up to 60 s, with jitter 0.5, one request is let through: the
    next response closes the breaker with its memory wiped, or opens it again. If all are open, requests fail (503).
    A 429 is a failure here only where the gateway classes it so. Weights are not part of the source; here they divide.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        self.peaks = [PeakEwma(DECAY) for _ in self.lanes]
        for peak in self.peaks:
            peak.value = DEFAULT_RTT
        self.breakers = [Breaker() for _ in self.lanes]
        self.opened: list[Lane] = []  # lanes whose breaker is open or on probation

    def key(self, lane: Lane) -> float:
        """Logarithm of latency × (in flight + 1), but for the decay common to all."""
        peak = self.peaks[lane.index]
        return log(peak.value * (lane.in_flight + lane.others + 1) / lane.weight) + peak.at / DECAY

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The cheaper of two of those whose breaker lets requests pass."""
        for lane in self.opened:
            breaker = self.breakers[lane.index]
            if breaker.open and now >= breaker.reopens:
                breaker.open, breaker.probation = False, True
                self.bar(lane, False)
        return self.better_of_two(now, tried)

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins; the one of a probation is the only one."""
        super().sent(lane, key, now)
        if self.opened and lane.home is self and self.breakers[lane.index].probation:
            self.bar(lane, True)

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        answered = latency is not None
        if verdict == FAILURE and answered:
            recorded = PENALTY
        else:
            recorded = latency if latency is not None else now - sent_at
        # A latency of 0 would be free for ever: a microsecond is below any network's.
        self.peaks[lane.index].add(max(recorded, 1e-6), now)
        breaker = self.breakers[lane.index]
        if breaker.open:
            return
        if breaker.probation:
            self._probed(lane, breaker, now, verdict)
        elif verdict in (SUCCESS, FAILURE):
            ok = verdict == SUCCESS
            breaker.failed_in_row = 0 if ok else breaker.failed_in_row + 1
            breaker.rate.add(ok, now)
            if not ok and (breaker.failed_in_row >= MAX_FAILURES or breaker.rate.low()):
                breaker.trip(now, self.random())
                self.opened.append(lane)
                self.bar(lane, True)

    def _probed(self, lane: Lane, breaker: Breaker, now: float, verdict: int) -> None:
        if verdict == SUCCESS:
            self.breakers[lane.index] = Breaker()
            self.opened.remove(lane)
            self.bar(lane, False)
        elif verdict == FAILURE:
            breaker.trip(now, self.random())
            self.bar(lane, True)
        else:  # given up without a response: another request may try
            self.bar(lane, False)
