"""Scores of probabilities against what came true, with intervals over blocks of time.

Rows that follow each other are alike, so that intervals are drawn over whole blocks (moving-block bootstrap, Kuensch
1989), never over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.columns import Bools, Floats, Ints

DRAWS = 400  # of blocks: the ends of a 95 % interval vary by a tenth of its width
LEVEL = 0.95
GAP = 60.0  # seconds without a row that end a block
BLOCK = 600.0  # seconds of the longest block
BINS = 10  # of probabilities, for the calibration error


class Figure(NamedTuple):
    """A score and its interval; NaN where there is too little to say."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "unknown"
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def average_precision(labels: Bools, scores: Floats) -> float:
    """The area under precision over recall as steps, equal scores taken together; NaN where no label is true."""
    positives = int(labels.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(labels[order]), scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    gained = np.diff(np.concatenate(([0], hits[last])))
    return float((gained * hits[last] / (last + 1)).sum() / positives)


def calibration_error(labels: Bools, probabilities: Floats) -> float:
    """Mean distance of said and seen shares over bins of equal counts, weighed by rows."""
    if not len(labels):
        return float("nan")
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(BINS, len(labels)))
    return float(sum(len(p) * abs(labels[p].mean() - probabilities[p].mean()) for p in parts) / len(labels))


def log_loss(labels: Bools, probabilities: Floats) -> float:
    """Nats a row; probabilities are kept 1e-6 from 0 and 1."""
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return float(-np.where(labels, np.log(p), np.log(1 - p)).mean()) if len(labels) else float("nan")


def blocks(at: Floats) -> Ints:
    """The block of each row, by its time: one ends at a gap, or when it gets long."""
    times = np.unique(at)
    number, began, found = 0, times[0] if len(times) else 0.0, {}
    previous = began
    for time in times.tolist():
        if time - previous > GAP or time - began >= BLOCK:
            number, began = number + 1, time
        previous, found[time] = time, number
    return np.array([found[time] for time in at.tolist()], dtype=np.int64)


def with_interval(
    score: Callable[[Bools, Floats], float], labels: Bools, scores: Floats, block: Ints, rng: np.random.Generator
) -> Figure:
    """A score with its interval over blocks."""
    value = score(labels, scores)
    members: list[npt.NDArray[np.int64]] = [np.flatnonzero(block == b) for b in np.unique(block)]
    if len(members) < 4 or np.isnan(value):  # of fewer blocks no interval can be told
        return Figure(value, float("nan"), float("nan"))
    drawn = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn.append(score(labels[rows], scores[rows]))
    known = np.array(drawn)[~np.isnan(drawn)]
    if len(known) < DRAWS // 2:
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value, float(low), float(high))
