"""What every model of endpoint failure must be able to do, and the smallest one that does it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from models.columns import Floats


class Predictor(Protocol):
    """Probability that an endpoint breaches its objective within the horizon.

    Asking changes nothing, and the same rows get the same answers until the next `learn`. A row with NaN in it, and any
    row that the model has nothing to say about, gets NaN: it abstains.
    """

    name: str
    schema: str  # id of the feature schema that it was made for
    rows: int  # labelled rows learned from so far

    def predict(self, features: Floats) -> Floats:
        """Probabilities (n,) in [0, 1] or NaN, for features (n, k)."""
        ...

    def contributions(self, features: Floats) -> Floats:
        """What each feature adds to the log-odds, (n, k)."""
        ...

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        """Takes labelled rows in: features (n, k), labels (n,) 0 or 1, weights (n,) >= 0."""
        ...


class Silent:
    """Abstains from everything; what is left of a model that cannot be used."""

    name = "silent"

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.rows = 0

    def predict(self, features: Floats) -> Floats:
        """NaN for every row."""
        return np.full(len(features), np.nan)

    def contributions(self, features: Floats) -> Floats:
        """Nothing, for every feature."""
        return np.zeros_like(features)

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        """Counts the rows and forgets them."""
        self.rows += len(labels)


class Pair(NamedTuple):
    """The two that serve: a breach at once (within the configured horizon, seconds), and one that is coming (within
    AHEAD seconds). Both see the same features.
    """

    soon: Predictor
    ahead: Predictor


AHEAD = 30.0  # seconds; precursors of ten seconds and more fit in, and what is seen now still bears on it


def paired(predictor: Predictor | Pair) -> Pair:
    """As a pair; a predictor alone sees nothing coming."""
    return predictor if isinstance(predictor, Pair) else Pair(predictor, Silent(predictor.schema))
