"""95 % intervals by the block bootstrap over time: what is near in time is drawn together, for queues remember.

    ids = block_ids(due, seconds)                    # the same blocks for every policy on the same arrivals
    draw = Resampling(ids.max() + 1, rng)            # one draw of blocks, shared by all figures: they are paired
    a, b = draw.quantile(latency_a, 0.99, ids), draw.quantile(latency_b, 0.99, ids)
    draw.interval(a), draw.interval(difference(a, b))

A draw takes as many blocks as there are, with replacement. A figure keeps its value in every draw, so that the
difference of two figures keeps what they share. Percentile intervals are widened for the number of blocks (Hesterberg
2015, section 5.3: the t quantile and the factor sqrt(B / (B - 1))), and refused below FEWEST blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Column = npt.NDArray[Any]

LEVEL = 0.95
RESAMPLES = 1000  # the ends of a 95 % interval then rest on 25 draws each: their own error is a tenth of its width
# Below this many blocks the spread between blocks is itself a guess: of 9 its standard error is a quarter.
FEWEST = 10
# Blocks by default: enough for the spread to be known within 10 %, and as long as that allows.
USUAL = 50
# A block holds at least so many correlation times: variance that is lost at its two ends is then below a tenth.
CORRELATION_TIMES = 10.0
_BINS = 4096  # of time, for the autocorrelation
_CELLS = 4_000_000  # values held at once
_REACH = 6.0  # standard deviations of a draw's rank that are looked at first, for a quantile


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its interval. Where none can be given, `low` and `high` are NaN and `reason` says why."""

    estimate: float
    low: float
    high: float
    blocks: int
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in every draw. `influence`: by how much each block moves it, to first order; sums to about 0."""

    estimate: float
    draws: Floats  # (resamples,)
    influence: Floats  # (blocks,)


def block_ids(due: Floats, seconds: float) -> Ints:
    """The block of each request, from 0, by when it was due. A piece left over joins the last.

    `due` (n,) in any order. Blocks of several runs may be told apart by adding an offset to each run's.
    """
    if not len(due):
        return np.zeros(0, np.int64)
    if not (seconds > 0.0 and math.isfinite(seconds)):
        raise ValueError(f"a block of {seconds} s: must be above 0")
    first, last = float(np.min(due)), float(np.max(due))
    count = max(1, round((last - first) / seconds))
    return np.minimum(((due - first) / seconds).astype(np.int64), count - 1)


def correlation_time(due: Floats, values: Floats) -> float:
    """Seconds over which `values` remember: half the sum of their autocorrelation over time, both sides.

    Sums over small bins of time, up to the first lag from which the autocorrelation stays within its noise for five
    lags (Politis and White 2004, section 3.2).
    """
    first, last = float(np.min(due)), float(np.max(due))
    bins = int(min(_BINS, max(1, len(due) // 4)))
    if last <= first or bins < 2 * FEWEST:
        return 0.0
    at = np.minimum(((due - first) / (last - first) * bins).astype(np.int64), bins - 1)
    x = np.bincount(at, values - np.mean(values), minlength=bins)
    x -= x.mean()
    power = np.abs(np.fft.rfft(x, 2 * bins)) ** 2
    covariance = np.fft.irfft(power)[:bins]
    if covariance[0] <= 0.0:
        return 0.0
    rho = covariance / covariance[0]
    noise = 2.0 * math.sqrt(math.log10(bins) / bins)
    quiet, lags = 0, bins // 4
    for lag in range(1, lags):
        quiet = quiet + 1 if abs(rho[lag]) < noise else 0
        if quiet == 5:
            lags = lag - 4
            break
    width = (last - first) / bins
    return max(0.0, 0.5 + float(rho[1 : 2 * lags].clip(-1.0).sum())) * width if lags > 1 else 0.5 * width


def block_seconds(due: Floats, *values: Floats) -> float:
    """The length of a block for these figures' values (for a quantile: whether a value is above it).

    Ten times the longest correlation time, but never more than USUAL blocks and, unless it is needed, never fewer.
    """
    span = float(np.max(due) - np.min(due)) if len(due) else 0.0
    need = CORRELATION_TIMES * max((correlation_time(due, v.astype(np.float64)) for v in values), default=0.0)
    return max(span / USUAL, need) or 1.0


class Resampling:
    """One draw of blocks for all figures that are to be compared. `counts` (resamples, blocks): how often each came."""

    def __init__(self, blocks: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> None:
        self.blocks = blocks
        drawn = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=resamples)
        self.counts: Floats = drawn.astype(np.float64)

    def ratio(self, above: Floats, below: Floats, ids: Ints) -> Figure:
        """Sum of `above` over sum of `below`, both (n,)."""
        n = np.bincount(ids, above, minlength=self.blocks)
        d = np.bincount(ids, below, minlength=self.blocks)
        whole = float(d.sum())
        estimate = float(n.sum()) / whole if whole else math.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = (self.counts @ n) / (self.counts @ d)
        return Figure(estimate, draws, (n - estimate * d) / whole if whole else np.zeros(self.blocks))

    def mean(self, values: Column, ids: Ints) -> Figure:
        """Mean of values; of booleans, the share that is true."""
        return self.ratio(values.astype(np.float64), np.ones(len(values)), ids)

    def quantile(self, values: Floats, q: float, ids: Ints, weights: Floats | None = None) -> Figure:
        """The smallest value with more than the share `q` of the weight at or below it; exact in every draw.

        Only values near the quantile are looked at one by one: a draw moves its rank by a few standard deviations,
        which the blocks tell. Draws that moved further are done again with all values.
        """
        q = min(q, 1.0 - 1e-12)  # of 1.0: the greatest value
        order = np.argsort(values, kind="stable")
        x, block = values[order], ids[order]
        w = np.ones(len(x)) if weights is None else weights[order]
        below = np.cumsum(w)
        if not len(x) or below[-1] <= 0.0:
            return Figure(math.nan, np.full(len(self.counts), math.nan), np.zeros(self.blocks))
        at = min(int(np.searchsorted(below, q * below[-1], side="right")), len(x) - 1)
        total: Floats = np.bincount(block, w, minlength=self.blocks).astype(np.float64)
        moved = np.bincount(block[: at + 1], w[: at + 1], minlength=self.blocks) - q * total
        reach = _REACH * float(np.sqrt((moved**2).sum())) + 8.0 * float(w.max())
        first = int(np.searchsorted(below, below[at] - reach))
        last = min(int(np.searchsorted(below, below[at] + reach)) + 1, len(x))
        draws = self._quantiles(x, w, block, q, total, (first, last), np.arange(len(self.counts)))
        lost = np.flatnonzero(np.isnan(draws))
        if len(lost):
            draws[lost] = self._quantiles(x, w, block, q, total, (0, len(x)), lost)
        h = max(1, round(0.5 * reach / _REACH * len(x) / float(below[-1])))
        slope = (x[min(at + h, len(x) - 1)] - x[max(at - h, 0)]) / max(
            below[min(at + h, len(x) - 1)] - below[max(at - h, 0)], 1e-300
        )
        return Figure(float(x[at]), draws, -(moved - moved.mean()) * slope)

    def _quantiles(
        self, x: Floats, w: Floats, block: Ints, q: float, total: Floats, window: tuple[int, int], which: Ints
    ) -> Floats:
        """The quantile in these draws; NaN where it lies outside of the window of sorted values."""
        first, last = window
        base = np.bincount(block[:first], w[:first], minlength=self.blocks)
        out = np.full(len(which), math.nan)
        step = max(1, _CELLS // max(1, last - first))
        for start in range(0, len(which), step):
            counts = self.counts[which[start : start + step]]
            before, whole = counts @ base, counts @ total
            sums = np.cumsum(counts[:, block[first:last]] * w[first:last], axis=1)
            need = (q * whole - before)[:, None]
            found = (sums > need).argmax(axis=1)
            good = (sums[:, -1] > need[:, 0]) & ((need[:, 0] >= 0.0) | (first == 0))
            good |= (last == len(x)) & (whole > 0.0) & (need[:, 0] >= 0.0)
            found = np.where(sums[:, -1] > need[:, 0], found, last - first - 1)
            out[start : start + step] = np.where(good, x[first + found], math.nan)
        return out

    def interval(self, figure: Figure, level: float = LEVEL, bca: bool = False) -> Interval:
        """The figure's interval: percentiles of its draws, widened for few blocks; with `bca`, also for bias and skew.

        BCa: Efron 1987, its acceleration from the blocks' influence.
        """
        if self.blocks < FEWEST:
            reason = f"{self.blocks} blocks of time: an interval needs at least {FEWEST}; record for longer"
            return Interval(figure.estimate, math.nan, math.nan, self.blocks, reason)
        draws = figure.draws[np.isfinite(figure.draws)]
        if not math.isfinite(figure.estimate) or len(draws) < 0.9 * len(figure.draws):
            reason = "the figure does not exist in a tenth of the draws: too few requests count for it"
            return Interval(figure.estimate, math.nan, math.nan, self.blocks, reason)
        b = self.blocks
        z = math.sqrt(b / (b - 1)) * float(special.stdtrit(b - 1, 0.5 + 0.5 * level))
        shift = acceleration = 0.0
        if bca:
            share = (np.sum(draws < figure.estimate) + 0.5 * np.sum(draws == figure.estimate)) / len(draws)
            shift = NormalDist().inv_cdf(float(np.clip(share, 1.0 / len(draws), 1.0 - 1.0 / len(draws))))
            second = float((figure.influence**2).sum())
            acceleration = float((figure.influence**3).sum()) / (6.0 * second**1.5) if second > 0.0 else 0.0
        ends = [float(special.ndtr(shift + (shift + s) / (1.0 - acceleration * (shift + s)))) for s in (-z, z)]
        low, high = np.quantile(draws, ends)
        return Interval(figure.estimate, float(low), float(high), b)


def combine(f: Callable[[Any, Any], Any], a: Figure, b: Figure, slopes: tuple[float, float]) -> Figure:
    """A figure made of two; `slopes` are the derivatives of `f` by each at their estimates."""
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = f(a.draws, b.draws)
    return Figure(float(f(a.estimate, b.estimate)), draws, slopes[0] * a.influence + slopes[1] * b.influence)


def difference(a: Figure, b: Figure) -> Figure:
    """a - b."""
    return combine(lambda x, y: x - y, a, b, (1.0, -1.0))


def quotient(a: Figure, b: Figure) -> Figure:
    """a / b; NaN where b is 0."""
    if b.estimate == 0.0:
        return Figure(math.nan, np.full(len(a.draws), math.nan), np.zeros(len(a.influence)))
    return combine(lambda x, y: x / y, a, b, (1.0 / b.estimate, -a.estimate / b.estimate**2))
