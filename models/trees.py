"""Boosted trees as plain arrays, read without the library that grew them.

All trees are walked together, a level at a time, for all rows: a leaf points to itself and is never left. The children
of a node stand side by side, so that a step is one comparison and one addition. For 100 rows of 40 trees of depth 5
that is five rounds over 4,000 numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.columns import Floats, Ints

KEPT = 4096  # most rows for which what is the same for any rows as many is kept


class Trees:
    """The sum of trees, in log-odds. Nodes of all trees in one list: `feature`, `threshold` (x <= threshold goes to
    `child`, else to the one after it), `value` (of a leaf its part of the sum, of others the mean below them).
    """

    def __init__(self, base: float, roots: Ints, feature: Ints, threshold: Floats, child: Ints, value: Floats) -> None:
        """Raises ValueError for arrays that are no trees over so many nodes."""
        n = len(feature)
        if not (len(threshold) == len(child) == len(value) == n and len(roots) > 0 and n > 0):
            raise ValueError("the arrays of the trees differ in length")
        if roots.min() < 0 or roots.max() >= n or child.min() < 0 or feature.min() < 0 or not np.isfinite(value).all():
            raise ValueError("the trees point outside their nodes")
        self.base = base
        self.roots, self.feature, self.threshold, self.child, self.value = roots, feature, threshold, child, value
        leaf = child == np.arange(n)
        if (np.where(leaf, child, child + 1) >= n).any() or (child < np.arange(n)).any():
            raise ValueError("the trees point outside their nodes")
        self.depth = _depth(roots, child)
        self._begun: tuple[tuple[int, int], Ints, Ints] | None = None  # what `_begin` keeps

    def predict(self, features: Floats) -> Floats:
        """Log-odds (n,) of features (n, k); NaN where any feature is NaN."""
        rows = len(features)
        flat = np.ascontiguousarray(features).reshape(-1)
        start, at = self._begin(*features.shape)
        for _ in range(self.depth):
            right = flat.take(start + self.feature.take(at)) > self.threshold.take(at)
            at = self.child.take(at) + right
        found: Floats = np.add.reduce(self.value.take(at).reshape(rows, len(self.roots)), axis=1) + self.base
        found[np.logical_or.reduce(np.isnan(features), axis=1)] = np.nan
        return found

    def contributions(self, features: Floats) -> Floats:
        """What each feature adds, (n, k): at each step the change of the mean below (Saabas 2014). With the means of
        the roots and the base they add up to the prediction.
        """
        rows, width = features.shape
        found = np.zeros(rows * width)
        flat = np.nan_to_num(features).reshape(-1)
        start, at = self._begin(rows, width)
        for _ in range(self.depth):
            place = start + self.feature.take(at)
            to = self.child.take(at) + (flat.take(place) > self.threshold.take(at))
            found += np.bincount(place, weights=self.value.take(to) - self.value.take(at), minlength=rows * width)
            at = to
        return found.reshape(rows, width)

    def _begin(self, rows: int, width: int) -> tuple[Ints, Ints]:
        """Where each row begins, once for each tree, and the root that it is at. Kept for the next ones where they are
        few, as when it serves.
        """
        if self._begun is not None and self._begun[0] == (rows, width):
            return self._begun[1:]
        start, at = np.repeat(np.arange(rows) * width, len(self.roots)), np.tile(self.roots, rows)
        if rows <= KEPT:
            self._begun = (rows, width), start, at
        return start, at

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `from_arrays` takes."""
        return {
            "base": np.array([self.base]),
            "roots": self.roots.astype(np.int32),
            "feature": self.feature.astype(np.int16),
            "threshold": self.threshold,
            "child": self.child.astype(np.int32),
            "value": self.value,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Trees:
        """Raises KeyError or ValueError for arrays that are none."""
        roots, feature, child = (arrays[name].astype(np.int64) for name in ("roots", "feature", "child"))
        threshold, value = (arrays[name].astype(np.float64) for name in ("threshold", "value"))
        return cls(float(arrays["base"][0]), roots, feature, threshold, child, value)


def _depth(roots: Ints, child: Ints) -> int:
    """Steps after which every path has reached its leaf. Children stand after their parents, so this ends."""
    level, depth = roots, 0
    while True:
        inner = level[child[level] != level]
        if not len(inner):
            return depth
        level, depth = np.concatenate([child[inner], child[inner] + 1]), depth + 1


def exported(model: Any) -> Trees:
    """The trees of a fitted scikit-learn HistGradientBoostingClassifier of two classes, without categories."""
    roots: list[int] = []
    feature: list[int] = []
    threshold: list[float] = []
    child: list[int] = []
    value: list[float] = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        means = _means(nodes)
        roots.append(len(feature))
        waiting = [(0, len(feature))]
        _grow(feature, threshold, child, value)
        while waiting:
            node, place = waiting.pop(0)
            value[place] = means[node]
            if nodes["is_leaf"][node]:
                child[place], threshold[place] = place, np.inf
                continue
            feature[place] = int(nodes["feature_idx"][node])
            threshold[place] = float(nodes["num_threshold"][node])
            child[place] = len(feature)
            for side in ("left", "right"):
                waiting.append((int(nodes[side][node]), len(feature)))
                _grow(feature, threshold, child, value)
    base = float(np.ravel(model._baseline_prediction)[0])
    return Trees(base, np.array(roots), np.array(feature), np.array(threshold), np.array(child), np.array(value))


def _grow(feature: list[int], threshold: list[float], child: list[int], value: list[float]) -> None:
    """One more node."""
    feature.append(0)
    threshold.append(0.0)
    child.append(0)
    value.append(0.0)


def _means(nodes: npt.NDArray[Any]) -> list[float]:
    """Each node's value, of an inner one the mean of its leaves by the rows that fell there."""
    found: list[float] = nodes["value"].astype(np.float64).tolist()

    def mean(node: int) -> float:
        if not nodes["is_leaf"][node]:
            left, right = int(nodes["left"][node]), int(nodes["right"][node])
            a, b = float(nodes["count"][left]), float(nodes["count"][right])
            found[node] = (a * mean(left) + b * mean(right)) / max(a + b, 1.0)
        return float(found[node])

    mean(0)
    return found
