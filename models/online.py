"""Logistic regression that learns online: minibatches of delayed labels in, plain arrays out.

scikit-learn's SGDClassifier does the fitting (log loss, no penalty); after each fit its coefficients are copied out, so
that predicting is one matrix product. It starts from PRIOR, and after each fit goes back towards it by PULL: that is
the penalty, towards what is known beforehand instead of towards zero, so that hours of calm do not wash away what a
breach looks like. Breaches are rare and weigh BREACH times as much in fitting; log(BREACH) is taken off the log-odds
again in predicting (prior correction, King and Zeng 2001), so that probabilities stay honest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.columns import Floats
from models.features import COUNT, NAMES, SCHEMA

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
BATCH = 256  # most rows of one fit; more are drawn from at random. At 40 ns a row and feature, 0.2 ms


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
        self._model = _classifier(seed)

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
        from sklearn import config_context

        model = self._model
        model.eta0 = max(RATE_LEAST, RATE / math.sqrt(1 + self.fits / SETTLE))
        model.coef_ = np.ascontiguousarray(self.coefficients[None, :])
        model.intercept_ = np.array([self.intercept + math.log(BREACH)])
        weight = np.where(labels[rows] > 0.5, BREACH, 1.0) * weights[rows]
        with config_context(assume_finite=True, skip_parameter_validation=True):  # a ninth of what a fit costs
            model.partial_fit(np.ascontiguousarray(features[rows]), labels[rows], sample_weight=weight)
        fitted, intercept = model.coef_[0], float(model.intercept_[0]) - math.log(BREACH)
        if not (np.isfinite(fitted).all() and math.isfinite(intercept)):
            fitted, intercept = self.prior, self.first  # it blew up: begin again
        self.coefficients = fitted + PULL * (self.prior - fitted)
        self.intercept = intercept + PULL * (self.first - intercept)
        self.fits += 1


def _classifier(seed: int) -> Any:
    """An SGDClassifier that knows both classes. Imported here: it takes a second, and few processes need it."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=RATE, random_state=seed)
    model.partial_fit(np.zeros((2, COUNT)), np.array([0.0, 1.0]), classes=np.array([0.0, 1.0]))
    return model
