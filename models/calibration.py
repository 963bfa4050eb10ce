"""Log-odds to honest probabilities, with an interval: a monotone line through bins, and what it varies by from run to
run.

Where the shares of neighbouring bins would descend, they are pooled into one knot, and the line goes on rising from
knot to knot (centred isotonic regression, Oron and Flournoy 2017): the flat steps of plain isotonic regression would
say the same of rows that the model tells apart.

Rows of one run are no independent witnesses: the interval comes from drawing whole runs anew (cluster bootstrap), so
that it is as wide as a fleet not yet seen may differ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.columns import Floats, Ints

BINS = 24
DRAWS = 200
LEVEL = 0.9  # of the interval
LEAST = 1e-4  # no probability is nearer to 0 or 1


class Calibration(NamedTuple):
    """Knots (k,), ascending in `odds`; between them straight lines, beyond them the last value."""

    odds: Floats
    middle: Floats
    low: Floats
    high: Floats

    def probability(self, odds: Floats) -> Floats:
        """(n,); NaN stays NaN."""
        return np.asarray(np.interp(odds, self.odds, self.middle))

    def interval(self, odds: Floats) -> tuple[Floats, Floats]:
        """Lower and upper ends, (n,) each."""
        return np.interp(odds, self.odds, self.low), np.interp(odds, self.odds, self.high)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays by name."""
        return dict(self._asdict())

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Calibration:
        """Raises KeyError or ValueError for what is no calibration."""
        made = cls(*(np.asarray(arrays[name], dtype=np.float64) for name in cls._fields))
        if len({len(column) for column in made}) != 1 or len(made.odds) < 2:
            raise ValueError("the knots of the calibration differ in length")
        ordered = all(np.isfinite(column).all() and (np.diff(column) >= 0).all() for column in made)
        if not ordered or made.low.min() < 0 or made.high.max() > 1:
            raise ValueError("the knots of the calibration do not ascend from 0 to 1")
        return made


def calibrate(odds: Floats, labels: Floats, weights: Floats, runs: Ints, rng: np.random.Generator) -> Calibration:
    """Fitted to rows (n,) with the run that each belongs to. Knots stand at the means of bins that hold equal parts of
    the rows below one half and of those above, so that the rare high scores get knots of their own.
    """
    edges = np.unique(np.quantile(odds, np.concatenate([np.linspace(0, 0.9, 10), 1 - np.geomspace(0.1, 0.002, BINS)])))
    place = np.clip(np.searchsorted(edges, odds, side="right") - 1, 0, max(len(edges) - 2, 0))
    _, run = np.unique(runs, return_inverse=True)
    count = max(len(edges) - 1, 1)
    size = int(run.max()) + 1
    cell = run * count + place
    weight = np.bincount(cell, weights, minlength=size * count).reshape(size, count)
    hits = np.bincount(cell, weights * labels, minlength=size * count).reshape(size, count)
    mean = np.bincount(place, weights * odds, minlength=count) / np.maximum(weight.sum(axis=0), 1e-9)
    full = weight.sum(axis=0) > 0
    draws = rng.multinomial(size, np.full(size, 1 / size), size=DRAWS).astype(np.float64)
    usual = hits.sum() / max(weight.sum(), 1e-9)
    rates = (draws @ hits + usual) / (draws @ weight + 1.0)
    middle = (hits.sum(axis=0) + usual) / (weight.sum(axis=0) + 1.0)
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    weigh = weight.sum(axis=0)[full]
    pools = _pools(middle[full], weigh)
    # The mean of each pool, of the knot's place as of what it says.
    x, middle, low, high = (
        np.add.reduceat(column * weigh, pools) / np.add.reduceat(weigh, pools)
        for column in (mean[full], middle[full], low[full], high[full])
    )
    columns = [middle, np.maximum.accumulate(low), np.maximum.accumulate(high)]
    if len(x) < 2:
        x, columns = np.array([x[0] - 1, x[0] + 1]), [np.repeat(c, 2) for c in columns]
    middle, low, high = (np.clip(c, LEAST, 1 - LEAST) for c in columns)
    return Calibration(x, middle, np.minimum(low, middle), np.maximum(high, middle))


def _pools(values: Floats, weights: Floats) -> Ints:
    """Where the pools begin whose means ascend (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for place, (value, weight) in enumerate(zip(values.tolist(), weights.tolist(), strict=True)):
        start = place
        while pools and pools[-1][0] >= value:
            before, more, start = pools.pop()
            value, weight = (before * more + value * weight) / (more + weight), more + weight
        pools.append((value, weight, start))
    return np.array([start for _, _, start in pools], dtype=np.int64)
