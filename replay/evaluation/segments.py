"""Stretches of time in which something stays the same, found by optimal partitioning with a penalty for each change.

Observations are first summed in cells of time; the best set of changes is then exact (dynamic programming, O(cells²)).
The penalty is that of Yao's criterion (1988), 2·log n for each change in units of twice the log-likelihood, and half as
much again, because the spread is estimated too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from replay.evaluation.attempts import Column, Floats

CELL = 0.1  # seconds, the least width of a cell: a tenth of the shortest slow-down that is looked for
CELLS = 1200  # at most; a long trace has wider ones
PENALTY = 3.0  # times log n


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch, from `start` until `end`: `value` with its standard error, from `count` observations."""

    start: float
    end: float
    value: float
    error: float
    count: int


def levels(at: Floats, x: Floats, spread: float, seconds: float) -> list[Segment]:
    """Stretches of a constant mean of `x`, whose standard deviation around it is `spread`."""
    width, cell, cells = _grid(at, seconds)
    n = _cumulate(np.bincount(cell, minlength=cells))
    s = _cumulate(np.bincount(cell, weights=x, minlength=cells))

    def gain(a: Column, b: int) -> Floats:  # twice the log-likelihood, but for a constant
        count = n[b] - n[a]
        total = s[b] - s[a]
        return np.asarray(total * total / (np.maximum(count, 1.0) * spread * spread))

    found = []
    for a, b in _partition(gain, cells, PENALTY * np.log(max(2, len(x)))):
        count = int(n[b] - n[a])
        mean = float((s[b] - s[a]) / count) if count else float("nan")
        found.append(Segment(a * width, min(seconds, b * width), mean, spread / np.sqrt(max(1, count)), count))
    return _filled(found)


def shares(at: Floats, hit: Column, seconds: float) -> list[Segment]:
    """Stretches of a constant probability of `hit`."""
    width, cell, cells = _grid(at, seconds)
    n = _cumulate(np.bincount(cell, minlength=cells))
    k = _cumulate(np.bincount(cell, weights=hit.astype(float), minlength=cells))

    def gain(a: Column, b: int) -> Floats:
        count, hits = n[b] - n[a], k[b] - k[a]
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(hits > 0, hits * np.log(hits / count), 0.0)
            down = np.where(count > hits, (count - hits) * np.log((count - hits) / count), 0.0)
        return np.asarray(2.0 * (up + down))

    found = []
    for a, b in _partition(gain, cells, PENALTY * np.log(max(2, len(at)))):
        count, hits = n[b] - n[a], k[b] - k[a]
        p = float(hits / count) if count else float("nan")
        q = (hits + 1.0) / (count + 2.0)  # Laplace's rule, so that the error of 0 of n is not 0
        error = float(np.sqrt(q * (1.0 - q) / (count + 3.0)))
        found.append(Segment(a * width, min(seconds, b * width), p, error, int(count)))
    return _filled(found)


def _grid(at: Floats, seconds: float) -> tuple[float, Column, int]:
    cells = int(np.clip(np.ceil(seconds / CELL), 1, CELLS))
    width = max(seconds, 1e-9) / cells
    return width, np.clip((at / width).astype(int), 0, cells - 1), cells


def _cumulate(x: Column) -> Floats:
    return np.concatenate(([0.0], np.cumsum(x.astype(float))))


def _partition(gain: Callable[[Column, int], Floats], cells: int, penalty: float) -> list[tuple[int, int]]:
    best = np.zeros(cells + 1)
    back = np.zeros(cells + 1, dtype=int)
    starts = np.arange(cells)
    for b in range(1, cells + 1):
        value = best[:b] + gain(starts[:b], b) - penalty
        back[b] = int(np.argmax(value))
        best[b] = value[back[b]]
    cuts, b = [], cells
    while b > 0:
        cuts.append((int(back[b]), b))
        b = int(back[b])
    return cuts[::-1]


def _filled(found: list[Segment]) -> list[Segment]:
    """Without stretches of no observation: the one before, or else the one after, is taken to last."""
    kept = [s for s in found if s.count]
    if not kept:
        return []
    out = []
    for i, s in enumerate(kept):
        start = 0.0 if i == 0 else s.start
        end = kept[i + 1].start if i + 1 < len(kept) else found[-1].end
        out.append(Segment(start, end, s.value, s.error, s.count))
    return out
