"""Sequential detectors of a change: cumulative sums of log-likelihood ratios, all endpoints at once, in nats.

CUSUM (Page 1954): S = max(0, S + log of the ratio of what was seen under trouble and under none). For independent
observations the mean time between false alarms at threshold h is at least e^h observations, and no detector with so
few false alarms sees the change sooner than h / KL on average in the worst case (Lorden 1971). The size of a change is
not known beforehand, so each detector runs a few sizes at once and takes the strongest, less the log of their number.
"""

from __future__ import annotations

import math

import numpy as np

from models.columns import Floats

# Shares of failure that are looked for. Between two of them the drift of the nearer one is within a sixth of the best.
SHARES = (0.01, 0.03, 0.1, 0.5)
LEAST_SHARE = 0.001  # a healthy endpoint is taken to fail so many at least: none in 30 s proves no smaller share
APART = 2.5  # times the usual share; nearer ones are left out, for peers differ by as much without being ill
SLOWER = (1.2, 1.6, 2.5, 5.0, 12.0)  # factors on latency that are looked for
# Share of attempts that take very long though nothing is wrong with the endpoint: downloads, streams, unlucky queries.
# An outstanding attempt speaks with 4 nats at most, so that it takes several to raise an alarm.
ODD = 0.01
MOST = 60.0  # nats at which a sum stops growing: what is certain need not become more so, and must be forgotten in time
_SHARES, _SHIFTS = np.array(SHARES)[:, None], np.log(np.array(SLOWER))[:, None]
_HALVES, _LARGEST = _SHIFTS / 2, float(_SHIFTS[-1, 0])
ALARM_HOURS = 100.0  # instance-hours between false alarms that a threshold promises


def threshold(per_second: float, hours: float = ALARM_HOURS) -> float:
    """Nats at which an alarm is false once in so many instance-hours, at so many observations a second."""
    return math.log(max(per_second, 0.1) * hours * 3600.0)


def lorden(nats: float, divergence: float) -> float:
    """The fewest observations, in the mean of the worst case, for a change of this Kullback-Leibler divergence."""
    return nats / divergence


class Failures:
    """Bernoulli shares against the usual one; state (sizes, slots)."""

    def __init__(self, slots: int) -> None:
        self.sums = np.zeros((len(SHARES), slots))

    def add(self, attempts: Floats, failures: Floats, usual: Floats) -> Floats:
        """Takes the attempts since the last call; returns the nats against each endpoint, (slots,)."""
        if not (np.count_nonzero(failures) or np.count_nonzero(self.sums)):
            return np.zeros(len(attempts))  # what goes well takes nothing from sums of nothing
        p0, p1 = np.minimum(np.maximum(usual, LEAST_SHARE), 0.4), _SHARES
        gain = failures * np.log(p1 / p0) + (attempts - failures) * np.log((1 - p1) / (1 - p0))
        gain[p1 < APART * p0] = -1.0
        gain[:, attempts <= 0] = 0.0
        self.sums = np.minimum(np.maximum(self.sums + gain, 0.0), MOST)
        found: Floats = np.maximum(np.maximum.reduce(self.sums) - math.log(len(SHARES)), 0.0)
        return found


class Slowness:
    """Gaussian residuals of log latency against a shift of the mean; state (sizes, slots)."""

    def __init__(self, slots: int) -> None:
        self.sums = np.zeros((len(SLOWER), slots))

    def add(self, residual: Floats, variance: Floats, trusted: float = 1.0, waiting: Floats | float = 0.0) -> Floats:
        """Takes a mean `residual` with its own `variance`, infinite where it says nothing, both (slots,). `waiting`
        (sizes, slots) is what the outstanding attempts say at this moment (`lateness`): it counts until they close, and
        speak for themselves. Returns the nats against each endpoint.
        """
        gain = trusted * _SHIFTS / variance * (residual - _HALVES)
        self.sums = np.minimum(np.maximum(self.sums + gain, 0.0), MOST)
        nats = np.minimum(np.maximum.reduce(self.sums + waiting), MOST)
        found: Floats = np.maximum(nats - math.log(len(SLOWER)), 0.0)
        return found


def lateness(late: Floats, spread: Floats) -> Floats:
    """Log-likelihood ratios (sizes, n) of waiting for so long, for each size of a shift: what a censored latency says.

    `late` (n,) is log of the wait by the latency to be expected, in standard deviations; `spread` (n,) is one of them.
    """
    z = np.empty((1 + len(SLOWER), len(late)))  # as usual, and with each shift
    np.minimum(late, _LARGEST / spread, out=z[0])  # later than by the largest factor is no less telling
    np.subtract(z[0], _SHIFTS / spread, out=z[1:])
    chance = (1 - ODD) * _beyond(z) + ODD
    found: Floats = np.log(chance[1:] / chance[0])
    return found


def _beyond(z: Floats) -> Floats:
    """The normal distribution's upper tail, within 0.0002 (Page 1977, as phi accrual detectors have it)."""
    z = np.minimum(np.maximum(z, -8.0), 8.0)
    found: Floats = 1 / (1 + np.exp(z * (1.5976 + 0.070566 * z * z)))
    return found
