"""How slow an endpoint is given its attempts in flight, beside its peers at the same moment, and beside its usual self.

Log latency follows log(1 + attempts in flight) by a line that a cluster's endpoints share. What is left of a tick's
latencies is compared with the median of what is left of the peers' over the last RECENT seconds, so that requests that
change alike for all, and a gateway that stalls, say nothing of one. How sure the mean of so many is, is measured: by
the spread of single latencies among the peers, by the peers' number, and by how much more the means of whole seconds
vary than those of independent latencies would (batch means): requests that wait, wait together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.columns import Bools, Floats, Observed, Peers, known

RECENT = 0.2  # seconds in which what the peers show fades: a mix that changes is followed in two ticks
SPREAD = 10.0  # seconds in which line and spread follow the windows: a window emptied after a stall knows neither
USUAL = 300.0  # seconds in which an endpoint's usual residual follows what is seen, once it is known
KNOWN = 150.0  # latencies that make it known: their mean is within 5 % (sigma 0.6), and machines differ by 20 %
DOUBT = 0.5  # standard errors of its usual residual that an endpoint is given
CALM = 3.0  # nats up to which what is seen may be usual
BATCH, BATCHES, MOST_BATCH = 1.0, 40.0, 9.0  # seconds of a batch; batches remembered; the most that one counts
LEAST_VARIANCE, MOST_ELASTICITY = 0.02, 1.5
FIRST_VARIANCE, FIRST = 0.36, 50.0  # before any latency is known, and how many latencies outweigh that
MOST = 5.0  # standard deviations that a tick's mean counts at most
MEDIAN = 1.57  # variance of a median by that of a mean: pi / 2


class Residual(NamedTuple):
    """Of one tick, columns (slots,)."""

    mean: Floats  # of the latencies of this tick; 0 where none, or where the usual is not known yet
    variance: Floats  # of that mean; infinite where it says nothing
    expected: Floats  # log seconds to be expected of an attempt that is sent now
    spread: Floats  # standard deviation of one
    known: Floats  # 1 where the usual is known, else 0
    dependence: Floats  # variance of a mean by that of as many independent latencies


class Residuals:
    """The state, a column an endpoint."""

    def __init__(self, slots: int) -> None:
        self.elastic, self.variance = np.zeros(slots), np.full(slots, FIRST_VARIANCE)
        self.settled = np.zeros(slots, dtype=bool)
        self.recent = np.zeros((2, slots))  # latencies, and the sum of their residuals, fading
        self.common = np.zeros(slots)
        self.usual, self.heard = np.zeros(slots), np.zeros(slots)  # and the latencies that it was learned from
        self.batch = np.zeros((2, slots))
        self.batches, self.ratio, self.dependence = np.zeros(slots), np.ones(slots), np.ones(slots)
        self.batched = float("nan")
        self.tick = np.zeros((2, slots))

    def take(self, seen: Observed, peers: Peers, passed: float, tick: tuple[Floats, Floats, Floats]) -> Floats:
        """Takes a tick: latencies, sums of their logarithm, and of log(1 + in flight). Returns the recent residuals
        (slots,), of which the peers' medians are to be taken; where there were none, what was common before.
        """
        self._regress(seen, peers, passed)
        count, logs, flights = tick
        mine = logs - self.elastic * flights
        self.tick[0], self.tick[1] = count, mine
        recent = self.recent
        recent *= np.exp(-passed / RECENT)
        recent[0] += count
        recent[1] += mine - count * self.usual
        some = recent[0] > 0.05
        found: Floats = recent[1] / np.maximum(recent[0], 0.05)
        return found if np.count_nonzero(some) == len(some) else np.where(some, found, self.common)

    def beside(self, others: Floats, peers: Peers, in_flight: Floats) -> Residual:
        """This tick beside the peers' medians (slots,) of what `take` returned."""
        self.common = np.where(np.isnan(others), self.common, others)
        (count, sums), sure = self.tick, self.heard >= KNOWN
        some = np.maximum(count, 1.0)
        single = self.dependence * self.variance
        doubt = DOUBT * np.sqrt(single / np.maximum(self.heard, 1.0))
        spread = np.sqrt(self.variance)
        mean = np.minimum(sums / some - self.usual - self.common - doubt, MOST * spread)
        beside = np.maximum(peers.sums(self.recent[:1])[0] - self.recent[0], 0.5)
        variance = single * (1 / some + MEDIAN / beside)
        expected = self.common + self.usual + self.elastic * np.log1p(in_flight)
        silent = ~(sure & (count > 0))
        mean[silent], variance[silent] = 0.0, np.inf
        return Residual(mean, variance, expected, spread, sure.astype(np.float64), self.dependence)

    def learn(self, at: float, peers: Peers, passed: float, nats: Floats) -> None:
        """Learns the usual from this tick where nothing speaks against the endpoint, and how batches vary.

        A machine that is slower than its peers for good is not ill: until its usual is known, nothing speaks against
        it, and after that it is learned only while nothing does.
        """
        (count, sums), sure = self.tick, self.heard >= KNOWN
        off = sums - count * (self.usual + self.common)
        share = np.maximum(1 / (self.heard + count + 1.0), sure * min(passed / USUAL, 0.05))
        ill = sure & (nats >= CALM)  # none that closed nothing has anything to learn
        if np.count_nonzero(ill):
            share[ill] = 0.0
            self.heard += np.where(ill, 0.0, count)
        else:
            self.heard += count
        self.usual += off * share
        self.batch[0] += count
        self.batch[1] += off
        if not at - self.batched < BATCH:
            self.batched = at
            self._vary(peers, sure)

    def _vary(self, peers: Peers, sure: Bools) -> None:
        count, off = self.batch
        told = sure & (count >= 2)
        square = np.minimum(off * off / np.maximum(count, 1.0) / self.variance, MOST_BATCH)
        self.batches += told
        self.ratio += np.where(told, (square - self.ratio) / np.clip(self.batches, 1.0, BATCHES), 0.0)
        self.batch[...] = 0.0
        self.dependence = np.maximum(known(peers.others(np.where(self.batches > 0, self.ratio, np.nan))), 1.0)

    def _regress(self, seen: Observed, peers: Peers, passed: float) -> None:
        """How log latency follows attempts in flight in each endpoint's cluster; and what is left of the variance among
        its peers, for its own is larger when it is ill.
        """
        columns = np.array([seen.flight_var, seen.flight_log, seen.log_var, np.maximum(seen.measured[2] - 1.0, 0.0)])
        columns = known(columns)
        of_all = peers.sums(columns)
        slope = np.minimum(np.maximum(of_all[1] / (of_all[0] + 1.0), 0.0), MOST_ELASTICITY)
        xx, xy, yy, free = of_all - peers.accompanied * columns  # alone, it is all that there is
        left = (yy - 2 * slope * xy + slope * slope * xx + 10 * FIRST_VARIANCE) / (free + 10)
        step = weight = free / (free + FIRST)
        settled = np.count_nonzero(self.settled)
        if settled:
            slowly = min(passed / SPREAD, 1.0) * weight
            step = slowly if settled == len(weight) else np.where(self.settled, slowly, weight)
        self.elastic += step * (slope - self.elastic)
        self.variance += step * (np.maximum(left, LEAST_VARIANCE) - self.variance)
        self.settled |= free > 4 * FIRST
