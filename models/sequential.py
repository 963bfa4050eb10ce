"""The detectors of `models.detectors` as predictors: how sure is it that this endpoint has changed?

They are the reference that a learned model has to beat, and need no teaching. Nats above the threshold are log-odds:
where a change is as likely beforehand as the threshold makes it unlikely, that is Bayes' rule.
"""

from __future__ import annotations

import numpy as np

from models.columns import Floats
from models.detectors import threshold
from models.features import CLIP, FEATURES, NAMES, SCHEMA

USUAL_RATE = 50.0  # observations a second for which the threshold is set


class Sequential:
    """A Predictor of one cumulative sum: `failure_nats` (Bernoulli shares) or `slow_nats` (log latency residuals)."""

    schema = SCHEMA

    def __init__(self, column: str, per_second: float = USUAL_RATE) -> None:
        self.name = column.replace("_nats", "_cusum")
        self.column = NAMES.index(column)
        self.scale = FEATURES[self.column].scale
        self.level = min(threshold(per_second), CLIP * self.scale)
        self.rows = 0

    def predict(self, features: Floats) -> Floats:
        """Probabilities (n,); NaN for rows with NaN in them."""
        odds = np.clip(features[:, self.column], -CLIP, CLIP) * self.scale - self.level
        found: Floats = np.where(np.isnan(features).any(axis=1), np.nan, 1 / (1 + np.exp(-odds)))
        return found

    def contributions(self, features: Floats) -> Floats:
        """All of it is the one column's."""
        found = np.zeros_like(features)
        found[:, self.column] = features[:, self.column] * self.scale
        return found

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        """Counts the rows: there is nothing to teach."""
        self.rows += len(labels)
