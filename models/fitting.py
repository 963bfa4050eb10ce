"""Fits the predictor that serves to labelled rows: trees and line to all of them, mix and calibration to what trees and
lines say of rows that they have not seen.

A run is one fleet for one time; rows of one run go to one side of every split, for neighbours in time know each other's
answers. The runs fall into FOLDS parts; what is said of each part comes from a fit to the others (cross-fitting, Stone
1974), so that no run is lost to either purpose. scikit-learn is imported here, when something is fitted, and nowhere
where it serves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from models.calibration import calibrate
from models.columns import Floats, Ints
from models.combined import Combined
from models.features import COUNT, NAMES
from models.online import BREACH, OnlinePredictor
from models.trees import Trees, exported
from models.trust import log_loss

TREES, LEAVES, DEPTH = 48, 16, 5  # what 100 rows are asked of in half a millisecond
RATE = 0.12
LEAST_LEAF = 60  # rows in a leaf, half a minute of an endpoint: fewer are one episode learned by heart
MOST_BINS = 64  # 255 gain nothing and take three times as long
FOLDS = 3  # parts of the runs: each fit sees two thirds of them, and there are four fits to pay for
# Features that may speak either way: one that is slow holds more attempts than its peers, one that fails at once fewer.
# Of every other one more never speaks for an endpoint. Where fewer than FEW runs teach, the trees may not say that it
# does: what they learn against that is one fleet's chance. From a hundred fleets on they know better.
FREE = ("in_flight_peers", "youth")
FEW = 100  # runs; by it the log loss of other fleets was less with 16 to 64 fleets, alike with 112, more with 164
LEAST, DRAWS = 10, 20  # breaches, and calm rows, outside every part; draws until there are
ALONE = 50_000  # rows below which one thread grows the trees
MOST_ROWS = 400_000  # of one fit


class Rows(NamedTuple):
    """Labelled rows: features (n, COUNT), and columns (n,)."""

    features: Floats
    labels: Floats
    weights: Floats
    rule: Floats  # what the rule said, a probability
    runs: Ints


class NotFitted(ValueError):
    """The rows cannot teach a model; the message says why."""


def fit(rows: Rows, horizon: float, seed: int = 0) -> Combined:
    """The fitted predictor. Raises NotFitted for rows of one class, too few rows, or nothing finite."""
    rows = _usable(rows)
    rng = np.random.default_rng([seed, 0xF17])
    part = _parts(rows, rng)
    said = np.empty((2, len(part)))
    for fold in range(FOLDS):
        trees, linear = _both(rows, np.flatnonzero(part != fold), rng, seed)
        held = rows.features[part == fold]
        said[:, part == fold] = trees.predict(held), linear.odds(held)
    mix = _mixed(said[0], said[1], rows)
    odds = mix[0] + mix[1:] @ said
    calibration = calibrate(odds, rows.labels, rows.weights, rows.runs, rng)
    trees, linear = _both(rows, np.arange(len(part)), rng, seed)
    return Combined(trees, linear, mix, calibration, horizon, _standing(rows, calibration.probability(odds)))


def _standing(rows: Rows, said: Floats) -> Floats:
    """What it was worth, by label: sum of weights, of its log losses, of the rule's."""
    found = np.zeros((2, 3))
    for label in (0, 1):
        mine = rows.labels == label
        weight = rows.weights[mine]
        own, rule = (float((weight * log_loss(rows.labels[mine], p[mine])).sum()) for p in (said, rows.rule))
        found[label] = weight.sum(), own, rule
    return found


def _parts(rows: Rows, rng: np.random.Generator) -> Ints:
    """The part of each row. Drawn anew while there is too little outside one of them. Raises NotFitted."""
    known, place = np.unique(rows.runs, return_inverse=True)
    for _ in range(DRAWS):
        part: Ints = (rng.permutation(len(known)) % FOLDS)[place]
        outside = [rows.labels[part != fold] for fold in range(FOLDS)]
        if all(min(labels.sum(), (1 - labels).sum()) >= LEAST for labels in outside):
            return part
    raise NotFitted(f"{int(rows.labels.sum())} rows of breaches in {len(known)} runs are too few to fit and to check")


def _both(rows: Rows, taught: Ints, rng: np.random.Generator, seed: int) -> tuple[Trees, OnlinePredictor]:
    """Trees and line, fitted to these rows."""
    if len(taught) > MOST_ROWS:
        taught = np.sort(rng.choice(taught, MOST_ROWS, replace=False))
    return exported(_grown(rows, taught, seed)), OnlinePredictor(seed, *_line(rows, taught, rng))


def _usable(rows: Rows) -> Rows:
    good = np.isfinite(rows.features).all(axis=1) & np.isfinite(rows.labels) & (rows.weights > 0)
    if rows.features.shape[1:] != (COUNT,):
        raise NotFitted(f"the rows have {rows.features.shape[1:]} features, not {COUNT}")
    if not good.any():
        raise NotFitted("no row is complete: every one has a value that is not finite, or no weight")
    found = Rows(rows.features[good], rows.labels[good], rows.weights[good], rows.rule[good], rows.runs[good])
    for label, name in ((0, "calm"), (1, "breach")):
        if not (found.labels == label).any():
            raise NotFitted(f"all {len(found.labels)} rows are of one class: there is no row of a {name}")
    return found


def _grown(rows: Rows, taught: Ints, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    few = len(np.unique(rows.runs)) < FEW
    model = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, max_depth=DEPTH, learning_rate=RATE, min_samples_leaf=LEAST_LEAF,
        max_bins=MOST_BINS, l2_regularization=5.0, early_stopping=False, random_state=seed,
        monotonic_cst=[0 if name in FREE else 1 for name in NAMES] if few else None,
    )  # fmt: skip
    # Threads that wait for each other at every split cost more than they save where the splits are small.
    with threadpool_limits(1 if len(taught) < ALONE else None):
        return model.fit(rows.features[taught], rows.labels[taught], rows.weights[taught])


def _line(rows: Rows, taught: Ints, rng: np.random.Generator) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression

    some = taught if len(taught) <= 60_000 else np.sort(rng.choice(taught, 60_000, replace=False))
    model = LogisticRegression(C=0.05, max_iter=300)
    weight = np.where(rows.labels[some] > 0.5, BREACH, 1.0) * rows.weights[some]
    model.fit(rows.features[some], rows.labels[some], sample_weight=weight)
    return model.coef_[0].copy(), float(model.intercept_[0]) - float(np.log(BREACH))


def _mixed(trees: Floats, line: Floats, rows: Rows) -> Floats:
    """Intercept and weights of the two, by logistic regression; neither may speak against itself."""
    from sklearn.linear_model import LogisticRegression

    both = np.column_stack([trees, line])
    model = LogisticRegression(C=1.0, max_iter=300).fit(both, rows.labels, sample_weight=rows.weights)
    weights = np.maximum(model.coef_[0], 0.0)
    # The line is what goes on learning: it keeps a voice even where training did not need it.
    weights[1] = max(weights[1], 0.1)
    return np.array([float(model.intercept_[0]), *weights])
