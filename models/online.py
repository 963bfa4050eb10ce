"""Logistic regression that learns online: minibatches of delayed labels in, plain arrays out.

A fit is one pass of stochastic gradient descent on the log loss, row by row in a shuffled order: what scikit-learn's
SGDClassifier does without a penalty, but for a second to import it and half a millisecond of checks on each batch. It
starts from PRIOR, and after each fit goes back towards it by PULL: that is the penalty, towards what is known
beforehand instead of towards zero, so that hours of calm do not wash away what a breach looks like. Breaches are rare
and weigh BREACH times as much in fitting; log(BREACH) is taken off the log-odds again in predicting (prior correction,
King and Zeng 2001), so that probabilities stay honest.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np

from models.columns import Floats
from models.features import NAMES, SCHEMA

# Log-odds added by one scale of each feature, set by hand: with INTERCEPT, an endpoint that does as its peers do has
# 0.7 %; one three times as slow as they are some 60 %; one that fails a third of its attempts over 80 %.
INTERCEPT = -5.0
PRIOR = {
    "failures_1s": 0.7,
    "failures_5s": 0.7,
    "failures_30s": 0.05,
    "failures_peers": 0.4,
    "connect_5s": 0.3,
    "timeouts_5s": 0.3,
    "late_5s": 0.3,
    "latency_peers_1s": 1.0,
    "latency_peers_5s": 0.8,
    "latency_own": 0.3,
    "latency_slope": 0.4,
    "tail_peers_5s": 0.4,
    "oldest": 0.3,
    "in_flight_peers": 0.2,
    "silence": 0.5,
    "checks_failed": 1.0,
    "check_latency": 0.2,
    "load_peers": 0.2,
    "streak": 0.5,
}  # others: 0
BREACH = 5.0
# Learning rate: RATE at first, falling with the square root of fits / SETTLE, never below RATE_LEAST: a fleet changes.
RATE, RATE_LEAST, SETTLE = 0.03, 0.005, 60.0
PULL = 0.002  # of the distance to the prior, per fit: half in some six minutes at a fit a second
BATCH = 256  # most rows of one fit; more are drawn from at random. At 2 us a row, 0.5 ms
_CERTAIN = 700.0  # log-odds that a double's exponential still holds
_MOST, _WORD = 0x7FFFFFFF, 0xFFFFFFFF


class OnlinePredictor:
    """A Predictor (see `models.predictor`). Deterministic by its seed and the order of what it is taught."""

    name = "online"
    schema = SCHEMA

    def __init__(self, seed: int = 0, prior: Floats | None = None, intercept: float = INTERCEPT) -> None:
        """Begins at `prior` (COUNT,) and `intercept`, and goes back towards them; by default at PRIOR."""
        self.rows = 0
        self.fits = 0
        self.prior = np.array([PRIOR.get(name, 0.0) for name in NAMES]) if prior is None else prior
        self.coefficients = self.prior.copy()
        self.intercept = self.first = intercept
        self._rng = np.random.default_rng([seed, 0x0417E])
        self._seed = seed

    def odds(self, features: Floats) -> Floats:
        """Log-odds (n,); NaN for rows with NaN in them."""
        found: Floats = features @ self.coefficients + self.intercept
        return found

    def predict(self, features: Floats) -> Floats:
        """Probabilities (n,); NaN for rows with NaN in them."""
        with np.errstate(over="ignore"):
            found: Floats = 1 / (1 + np.exp(-self.odds(features)))
        return found

    def contributions(self, features: Floats) -> Floats:
        """Exact: each feature times its coefficient, in log-odds."""
        found: Floats = features * self.coefficients
        return found

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        """One step over at most BATCH rows; rows that are not finite are left out."""
        good = np.isfinite(features).all(axis=1) & np.isfinite(weights) & (weights > 0)
        rows = np.flatnonzero(good)
        self.rows += len(rows)
        if len(rows) > BATCH:
            rows = np.sort(self._rng.choice(rows, BATCH, replace=False))
        if not len(rows):
            return
        rate = max(RATE_LEAST, RATE / math.sqrt(1 + self.fits / SETTLE))
        weight = np.where(labels[rows] > 0.5, BREACH, 1.0) * weights[rows]
        first = self.intercept + math.log(BREACH)
        fitted, intercept = descend(features[rows], labels[rows], rate * weight, self.coefficients, first, self._seed)
        intercept -= math.log(BREACH)
        if not (np.isfinite(fitted).all() and math.isfinite(intercept)):
            fitted, intercept = self.prior, self.first  # it blew up: begin again
        self.coefficients = fitted + PULL * (self.prior - fitted)
        self.intercept = intercept + PULL * (self.first - intercept)
        self.fits += 1


def descend(
    rows: Floats, labels: Floats, steps: Floats, coefficients: Floats, intercept: float, seed: int
) -> tuple[Floats, float]:
    """Coefficients (k,) and intercept after one pass over rows (n, k) with labels 0 and 1 (n,); each row's gradient of
    the log loss is taken times its step (n,). The order is the seed's.
    """
    fitted = coefficients.copy()
    sure, size = labels.tolist(), steps.tolist()
    for i in _order(len(rows), seed):
        row = rows[i]
        odds = float(row @ fitted) + intercept
        unlikely = math.exp(-odds) if odds > -_CERTAIN else math.inf  # beyond, the probability is 0
        step = size[i] * (sure[i] - 1 / (1 + unlikely))
        fitted += step * row
        intercept += step
    return fitted, intercept


@lru_cache(maxsize=BATCH)
def _order(n: int, seed: int) -> tuple[int, ...]:
    """The numbers below n, shuffled (Fisher and Yates) by xorshift (Marsaglia 2003), as SGDClassifier does."""
    state, order = _first(seed), list(range(n))
    for i in range(n - 1):
        state ^= state << 13 & _WORD
        state ^= state >> 17
        state ^= state << 5 & _WORD
        j = i + (state & _MOST) % (n - i)
        order[i], order[j] = order[j], order[i]
    return tuple(order)


@lru_cache(maxsize=16)
def _first(seed: int) -> int:
    """Where its shuffle begins: the second number of a Mersenne twister that is seeded with one word (Matsumoto and
    Nishimura 1998), which Python's own way of seeding one is not.
    """
    words = [seed & _WORD]
    for i in range(1, 624):
        words.append(1812433253 * (words[-1] ^ words[-1] >> 30) + i & _WORD)
    twister = random.Random(seed)
    twister.setstate((3, (*words, 624), None))
    twister.getrandbits(32)
    return twister.getrandbits(32) & _MOST or 1
