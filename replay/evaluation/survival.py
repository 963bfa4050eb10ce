"""Distributions from values some of which are lower bounds: the product-limit estimator, and its quantiles.

Source: Kaplan & Meier 1958. Beyond the last value the table goes on as a normal with the values' median
and lower half would: of logarithms of times, log-normal; but nowhere below the bounds of those that are hidden there.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from replay.evaluation.attempts import Column, Floats

# Where one value would stand for more than so many, having outlived as many lower bounds, it is not trusted.
MANY = 20.0
POINTS = 1001  # of a table: the last step is the last thousandth


def table(values: Floats, bound: Column, points: int = POINTS) -> Floats:
    """The quantile function at `points` evenly spaced probabilities from 0 to 1. `bound`: only known to be above."""
    order = np.lexsort((bound, values))
    x, cut = values[order], bound[order]
    n = len(x)
    alive = n - np.arange(n)
    below = 1.0 - np.cumprod(np.where(cut, 1.0, 1.0 - 1.0 / alive))
    trusted = ~cut & (n * np.diff(np.r_[0.0, below]) <= MANY)  # steps only grow: those left out are the last
    if not trusted.any():
        trusted = ~cut
    at, reached = x[trusted], below[trusted]
    if not len(at):
        raise ValueError("no value is known: all are lower bounds")
    # The k-th of n values stands for the middle of its step, so that neither end is off by a whole one.
    middle = reached - np.diff(np.r_[0.0, reached]) / 2
    p = np.linspace(0.0, 1.0, points)
    made = np.interp(p, middle, at)
    top = float(middle[-1])
    beyond = p > top
    if top < 1.0 - 1.5 / points and len(at) >= 8:  # censoring hides a part of the tail that the table has points for
        spread = float(np.interp(0.5, middle, at) - np.interp(0.16, middle, at))  # what is below is not hidden
        z = norm.ppf(np.minimum(p[beyond], 1.0 - 0.5 / points)) - norm.ppf(top)
        made[beyond] = at[-1] + spread * z
    hidden = x[x > at[-1]]
    if len(hidden):  # each is known to be as long at least
        made[beyond] = np.maximum(made[beyond], np.interp(p[beyond], np.linspace(top, 1.0, len(hidden)), hidden))
    return np.asarray(np.maximum.accumulate(made))


def rest(log_elapsed: Floats, level: Floats, spread: float) -> tuple[Floats, Floats]:
    """Of a log-normal that is known to exceed each elapsed time: the mean of its logarithm, and P(exceeding)."""
    z = (log_elapsed - level) / spread
    above = norm.sf(z)
    mills = np.exp(norm.logpdf(z) - norm.logsf(z))
    return np.asarray(level + spread * mills), np.asarray(above)
