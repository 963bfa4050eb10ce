"""The model of pods: the probability that a latency fault is in force on a pod soon, from its excess and lead.

A logistic line with few weights, none below zero (slower is never better), which are drawn from what they were set to
by hand as much as a day of a dozen faults can justify. In a system that it was not made for, it is a guest: there its
log-odds and those of the best simple rule count half each, and the rule alone where the model can say nothing. A model
made of a few faults of one kind is a guest at home too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calls import NAMES, SCHEMA, PodBins
from models.columns import Bools, Floats

KIND = "pods"
# Set by hand: the lead says most, because a fault shows at its neighbours too; what lasts says more than what came just
# now. An excess is clipped at 12, which with these is nearly certain.
WEIGHTS = (0.2, 0.3, 0.1, 0.2, 0.1, 0.1)
INTERCEPT = -3.5
RULE_INTERCEPT, RULE_WEIGHT = -3.5, 1.0  # of a log ratio: five times as slow is even odds with the intercept's 3 %
LEAST_FAULTS, LEAST_KINDS = 6, 2  # from which on a model is at home: other days bring other faults
HOLD = 100.0  # how much the weights hold on to these: like a hundred rows that say so, some seven faults' worth
_HASHES = re.compile(r"(-[0-9a-f]{6,10})?-[0-9a-z]{5}$")  # what a deployment adds to a service's name


def service(pod: str) -> str:
    """The service that a pod belongs to: its name without the hashes of its deployment."""
    return _HASHES.sub("", pod)


@dataclass(frozen=True, slots=True)
class PodModel:
    """See above. `services` are those that it was made for; none: for all. A `guest` is one everywhere."""

    intercept: float = INTERCEPT
    weights: tuple[float, ...] = WEIGHTS
    rule_intercept: float = RULE_INTERCEPT
    rule_weight: float = RULE_WEIGHT
    services: frozenset[str] = field(default_factory=frozenset)
    guest: bool = False
    schema: str = SCHEMA

    def known(self, rows: PodBins) -> Bools:
        """Which rows are of services that the model was made for."""
        if self.guest:
            return np.zeros(len(rows.pod), dtype=bool)
        if not self.services:
            return np.ones(len(rows.pod), dtype=bool)
        of = np.array([service(pod) in self.services for pod in rows.pods], dtype=bool)
        found: Bools = of[rows.pod]
        return found

    def log_odds(self, rows: PodBins) -> Floats:
        """Of every row, (n,)."""
        own = rows.features @ np.array(self.weights) + self.intercept
        rule = self.rule_weight * rows.rule + self.rule_intercept
        found: Floats = np.where(self.known(rows), own, (own + rule) / 2)
        return np.where(np.isfinite(found), found, rule)

    def predict(self, rows: PodBins) -> Floats:
        """Probabilities (n,)."""
        with np.errstate(over="ignore"):
            found: Floats = 1 / (1 + np.exp(-self.log_odds(rows)))
        return found

    def contributions(self, rows: PodBins) -> Floats:
        """What each feature adds to the model's own log-odds, (n, features)."""
        found: Floats = rows.features * np.array(self.weights)
        return found

    def to_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """What `from_arrays` makes the same model of."""
        arrays = {
            "weights": np.array(self.weights),
            "intercept": np.array(self.intercept),
            "rule": np.array([self.rule_intercept, self.rule_weight]),
        }
        return arrays, {
            "features": list(NAMES),
            "services": sorted(self.services),
            "guest": self.guest,
            "schema": self.schema,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], meta: dict[str, Any]) -> PodModel:
        """Raises ValueError where it was made for other features, or is none."""
        if meta.get("schema") != SCHEMA:
            raise ValueError(f"the model was made for feature schema {meta.get('schema')}, not {SCHEMA}")
        weights, rule = arrays["weights"], arrays["rule"]
        if weights.shape != (len(NAMES),) or rule.shape != (2,) or not np.isfinite(weights).all():
            raise ValueError(f"weights of shape {weights.shape}, and not ({len(NAMES)},) finite numbers")
        return cls(
            float(arrays["intercept"]),
            tuple(weights.tolist()),
            float(rule[0]),
            float(rule[1]),
            frozenset(str(name) for name in meta.get("services", ())),
            bool(meta.get("guest")),
        )


def fit(rows: PodBins, labels: Bools, kinds: Sequence[str]) -> PodModel:
    """The model of these rows; `kinds` has the type of each fault in them. Of too few faults, or of one type alone, it
    stays a guest. Raises ValueError where the rows hold one class only.
    """
    if labels.all() or not labels.any():
        which = "no row has" if not labels.any() else "every row has"
        raise ValueError(f"one class only: {which} a latency fault in force; nothing can be learned")
    intercept, weights = _line(rows.features, labels, np.array(WEIGHTS), INTERCEPT)
    rule_intercept, rule_weight = _line(rows.rule[:, None], labels, np.array([RULE_WEIGHT]), RULE_INTERCEPT)
    guest = len(kinds) < LEAST_FAULTS or len(set(kinds)) < LEAST_KINDS
    services = frozenset(service(rows.pods[pod]) for pod in np.unique(rows.pod).tolist())
    return PodModel(intercept, tuple(weights.tolist()), rule_intercept, float(rule_weight[0]), services, guest)


def _line(features: Floats, labels: Bools, weights: Floats, intercept: float) -> tuple[float, Floats]:
    """Logistic regression with weights of at least 0, held to those given by HOLD / 2 times their squared distance."""
    from scipy.optimize import minimize

    good = np.isfinite(features).all(axis=1)
    x, y = features[good], labels[good].astype(np.float64)

    def loss(at: Floats) -> tuple[float, Floats]:
        odds = x @ at[1:] + at[0]
        away = at[1:] - weights
        slope = 1 / (1 + np.exp(-odds)) - y
        value = float((np.logaddexp(0, odds) - y * odds).sum() + HOLD / 2 * (away**2).sum())
        return value, np.concatenate(([slope.sum()], x.T @ slope + HOLD * away))

    bounds = [(None, None), *[(0.0, None)] * len(weights)]
    found = minimize(loss, np.concatenate(([intercept], weights)), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), found[1:]
