"""Rows of a made-up world, the pair that is fitted to them once, and moments at which nothing was seen."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from models.columns import Observed
from models.combined import Combined
from models.features import COUNT
from models.fitting import Rows, fit
from models.predictor import Pair

RUNS, EACH = 24, 250


def world(seed: int = 0) -> Rows:
    """The first two features matter; runs differ in how often things break."""
    rng = np.random.default_rng(seed)
    n = RUNS * EACH
    runs = np.repeat(np.arange(RUNS), EACH)
    x = rng.normal(size=(n, COUNT))
    odds = 2 * x[:, 0] + 1.5 * np.maximum(x[:, 1], 0) - 3 + rng.normal(0, 0.4, RUNS)[runs]
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
    return Rows(x, labels, np.ones(n), np.full(n, labels.mean()), runs)


@cache
def fitted() -> Combined:
    return fit(world(), 2.0)


def pair() -> Pair:
    """One of its own for each caller."""
    arrays, meta = fitted().to_arrays()
    return Pair(Combined.from_arrays(arrays, meta), Combined.from_arrays(arrays, {**meta, "horizon": 30.0}))


def moment(at: float, slots: int, **columns: Any) -> Observed:
    """All zero but for these columns."""
    windows = {"attempts", "failures", "connect", "timeouts", "late", "measured", "latency", "flight"}
    empty = {f.name: np.zeros((3, slots) if f.name in windows else slots) for f in fields(Observed)}
    return Observed(**{**empty, **columns, "at": at})
