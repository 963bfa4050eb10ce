"""Off-policy estimators: what a target policy's mean reward or quantile would have been, from logged propensities.

With w = target probability / logged propensity of the logged pick, r the reward, q̂ a regression of the reward:
    IPS     mean(w r)                                    unbiased where every target pick has a logged chance
    SNIPS   sum(w r) / sum(w)                            a little bias for much less variance
    DM      mean(Σ_a π(a) q̂(a))                          as good as q̂
    DR      mean(Σ_a π(a) q̂(a) + w (r - q̂(pick)))         unbiased if either the propensities or q̂ are right
    SWITCH  as DR, but without the correction where w > τ   (Wang, Agarwal, Dudík 2017; this form is SWITCH-DR)
All of them hold the recorded queues fixed: each judges single picks in the states that the recording policy made. A
policy that would make other queues must be simulated; `overlap.refusals` says when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from replay.evaluation.intervals import Figure, Interval, Resampling

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# SWITCH's τ unless given: a pick that counts for more than ten others is left to the regression.
SWITCH = 10.0


@dataclass(frozen=True, slots=True)
class Logged:
    """Logged decisions, each column (n,). `reward` may be a latency, a failure (0 or 1) or latency > threshold."""

    reward: Floats
    propensity: Floats  # of the logged pick under the recording policy
    target: Floats  # of the logged pick under the target policy
    ids: Ints  # block of time of each decision
    q_logged: Floats | None = None  # q̂ of the logged pick
    q_target: Floats | None = None  # Σ_a π(a) q̂(a)

    def weights(self, clip: float = math.inf) -> Floats:
        """Importance weights, at most `clip`."""
        return np.minimum(self.target / self.propensity, clip)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimator's answer. `error`: standard error by the influence function, as if decisions were independent."""

    name: str
    value: float
    error: float
    interval: Interval  # by blocks of time
    effective: float  # effective sample size
    clipped: float  # share of the weights' sum that clipping took away
    figure: Figure  # in every draw, to compare with others'


def effective(weights: Floats) -> float:
    """Effective sample size, (Σw)² / Σw²: so many decisions of the target itself would tell as much."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0.0 else 0.0


def ips(log: Logged, draw: Resampling, clip: float = math.inf) -> Estimate:
    """Inverse propensity scoring."""
    w = log.weights(clip)
    return _estimate("ips", w * log.reward, np.ones(len(w)), w, log, draw)


def snips(log: Logged, draw: Resampling, clip: float = math.inf) -> Estimate:
    """Self-normalised IPS: the scale of the weights cancels."""
    w = log.weights(clip)
    return _estimate("snips", w * log.reward, w, w, log, draw)


def dm(log: Logged, draw: Resampling) -> Estimate:
    """Direct method: the regression alone. Its effective sample size is that of the data it was fitted to."""
    _, q_target = _regression(log)
    one = np.ones(len(q_target))
    return _estimate("dm", q_target, one, one, log, draw)


def dr(log: Logged, draw: Resampling, clip: float = math.inf) -> Estimate:
    """Doubly robust."""
    q_logged, q_target = _regression(log)
    w = log.weights(clip)
    return _estimate("dr", q_target + w * (log.reward - q_logged), np.ones(len(w)), w, log, draw)


def switch(log: Logged, draw: Resampling, threshold: float = SWITCH) -> Estimate:
    """SWITCH-DR."""
    q_logged, q_target = _regression(log)
    w = log.weights()
    w = np.where(w <= threshold, w, 0.0)
    return _estimate("switch", q_target + w * (log.reward - q_logged), np.ones(len(w)), w, log, draw)


def every(log: Logged, draw: Resampling, clip: float = math.inf) -> dict[str, Estimate]:
    """All estimators that the log has data for, by name."""
    found = [ips(log, draw, clip), snips(log, draw, clip)]
    if log.q_logged is not None and log.q_target is not None:
        found += [dm(log, draw), dr(log, draw, clip), switch(log, draw)]
    return {one.name: one for one in found}


def quantile(log: Logged, q: float, draw: Resampling, clip: float = math.inf) -> Estimate:
    """A quantile of the reward under the target policy: of the distribution weighted by w / Σw.

    Its standard error is that of the draws: a quantile has no simple influence function.
    """
    w = log.weights(clip)
    figure = draw.quantile(log.reward, q, log.ids, w)
    interval = draw.interval(figure)
    return Estimate(
        f"p{100.0 * q:g}", figure.estimate, float(np.std(figure.draws)), interval, effective(w), _lost(log, w), figure
    )


def _estimate(name: str, above: Floats, below: Floats, w: Floats, log: Logged, draw: Resampling) -> Estimate:
    figure = draw.ratio(above, below, log.ids)
    n = len(above)
    influence = (above - figure.estimate * below) / max(float(below.mean()), 1e-300)
    error = float(influence.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    lost = 0.0 if name == "dm" else _lost(log, w)
    return Estimate(name, figure.estimate, error, draw.interval(figure), effective(w), lost, figure)


def _lost(log: Logged, w: Floats) -> float:
    whole = float(log.weights().sum())
    return 1.0 - float(w.sum()) / whole if whole > 0.0 else 0.0


def _regression(log: Logged) -> tuple[Floats, Floats]:
    if log.q_logged is None or log.q_target is None:
        raise ValueError("DM, DR and SWITCH need a regression of the reward: q_logged and q_target")
    return log.q_logged, log.q_target


class Regression:
    """q̂: a cross-fitted ridge regression of the reward on what was known at the pick, for every instance.

    First one regression for all instances, then each instance's own, drawn towards it by `pull` decisions' worth: an
    instance that was hardly picked is taken for an ordinary one. Decisions of one fold, every fifth block of time, are
    predicted from the other folds only, so that DR corrects with residuals that the regression has not seen.
    """

    FOLDS = 5

    def __init__(self, features: Floats, slot: Ints, reward: Floats, ids: Ints, pull: float = 50.0) -> None:
        """`features` (n, instances, k): of each instance at each decision; `slot` (n,): the one that was picked."""
        n, instances, k = features.shape
        picked = features[np.arange(n), slot]
        self._middle, spread = picked.mean(axis=0), picked.std(axis=0)
        self._scale = np.where(spread > 0.0, spread, 1.0)
        fold = ids % self.FOLDS
        x = self._design(picked)
        self.q: Floats = np.empty((n, instances))  # prediction for each instance at each decision
        for f in range(self.FOLDS):
            train, test = fold != f, fold == f
            if not test.any():
                continue
            if not train.any():
                train = test
            common = _ridge(x[train], reward[train], np.zeros(k + 1), 1e-6 * len(reward))
            for i in range(instances):
                mine = train & (slot == i)
                own = _ridge(x[mine], reward[mine], common, pull) if mine.any() else common
                self.q[test, i] = self._design(features[test, i]) @ own

    def _design(self, features: Floats) -> Floats:
        x = (features - self._middle) / self._scale
        return np.column_stack([np.ones(len(x)), x])

    def apply(self, log: dict[str, Any], slot: Ints, target: Floats) -> Logged:
        """A log with q̂. `log`: the other columns of Logged; `target` (n, instances): the target's probabilities."""
        return Logged(**log, q_logged=self.q[np.arange(len(slot)), slot], q_target=(target * self.q).sum(axis=1))


def _ridge(x: Floats, y: Floats, towards: Floats, pull: float) -> Floats:
    """Least squares, drawn to the coefficients `towards`."""
    gram = x.T @ x + pull * np.eye(x.shape[1])
    solved: Floats = towards + np.linalg.solve(gram, x.T @ (y - x @ towards))
    return solved
