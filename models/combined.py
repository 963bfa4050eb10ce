"""The predictor that serves: boosted trees and the online line, mixed in log-odds, calibrated, with an interval.

The trees know the shapes of failures, from training; the line goes on learning from the fleet that it serves, and pulls
the mix along. Where the interval of the calibrated probability is wider than UNSURE it abstains, and the policy goes by
the rule. Everything is plain arrays; the library that grew the trees is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import Calibration
from models.columns import Floats
from models.features import COUNT, SCHEMA
from models.online import OnlinePredictor
from models.predictor import Pair
from models.trees import Trees

UNSURE = 0.5  # width of the interval from which a probability says nothing
PARTS = ("soon", "ahead")
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(slots=True)
class Combined:
    """A Predictor (see `models.predictor`). `mix` is the intercept, the trees' and the line's weight; `standing`
    (2, 3) what it was worth in training, by label: sum of weights, of its own log losses, of the rule's.
    """

    trees: Trees
    linear: OnlinePredictor
    mix: Floats
    calibration: Calibration
    horizon: float
    standing: Floats
    name: str = "combined"
    schema: str = SCHEMA
    rows: int = 0  # learned from since it serves
    sure: bool = field(init=False)  # no interval of its calibration is wide enough to abstain

    def __post_init__(self) -> None:
        self.sure = float((self.calibration.high - self.calibration.low).max()) < UNSURE - 1e-9

    def odds(self, features: Floats) -> Floats:
        """Mixed log-odds (n,), not calibrated."""
        found: Floats = self.mix[0] + self.mix[1] * self.trees.predict(features)
        if self.mix[2] != 0.0:
            found = found + self.mix[2] * self.linear.odds(features)
        return found

    def predict(self, features: Floats) -> Floats:
        """Probabilities (n,); NaN for rows with NaN in them, and where it is unsure."""
        return self.calibration.probability(self.odds(features)) if self.sure else self.predict_between(features)[0]

    def predict_between(self, features: Floats) -> tuple[Floats, Floats, Floats]:
        """The same, and both ends (n,) of the interval of each."""
        odds = self.odds(features)
        low, high = self.calibration.interval(odds)
        return np.where(high - low > UNSURE, np.nan, self.calibration.probability(odds)), low, high

    def contributions(self, features: Floats) -> Floats:
        """In log-odds before calibration: exact for the line, for the trees by the path that a row takes."""
        trees, line = self.trees.contributions(features), self.linear.contributions(features)
        found: Floats = self.mix[1] * trees + self.mix[2] * line
        return found

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        """Teaches the line."""
        self.linear.learn(features, labels, weights)
        self.rows = self.linear.rows

    def to_arrays(self) -> tuple[Arrays, dict[str, Any]]:
        """What `from_arrays` makes the same model of: the line as it stands now becomes its prior."""
        arrays: Arrays = {"mix": self.mix, "standing": self.standing}
        arrays["line"] = np.append(self.linear.coefficients, self.linear.intercept)
        arrays |= {f"trees/{name}": a for name, a in self.trees.to_arrays().items()}
        arrays |= {f"calibration/{name}": a for name, a in self.calibration.to_arrays().items()}
        return arrays, {"schema": self.schema, "horizon": self.horizon}

    @classmethod
    def from_arrays(cls, arrays: Arrays, meta: dict[str, Any], seed: int = 0) -> Combined:
        """Raises ValueError for arrays or a schema that this version cannot use."""
        if meta.get("schema") != SCHEMA:
            raise ValueError(f"the model was made for feature schema {meta.get('schema')}, not {SCHEMA}")
        try:
            line, mix, standing = arrays["line"], arrays["mix"], arrays["standing"]
            trees = Trees.from_arrays(_under(arrays, "trees/"))
            calibration = Calibration.from_arrays(_under(arrays, "calibration/"))
        except KeyError as error:
            raise ValueError(f"the model lacks the array {error}") from None
        if line.shape != (COUNT + 1,) or mix.shape != (3,) or standing.shape != (2, 3):
            raise ValueError(f"the model's arrays have shapes {line.shape}, {mix.shape}, {standing.shape}")
        if int(trees.feature.max()) >= COUNT:
            raise ValueError("the model's trees ask for features that do not exist")
        linear = OnlinePredictor(seed, line[:-1].copy(), float(line[-1]))
        return cls(trees, linear, mix, calibration, float(meta["horizon"]), standing)


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def to_arrays(pair: Pair) -> tuple[Arrays, dict[str, Any]]:
    """Both of a pair as one set of arrays, and what is to be noted beside them. TypeError for another kind."""
    arrays: Arrays = {}
    meta: dict[str, Any] = {"schema": SCHEMA}
    for part, predictor in zip(PARTS, pair, strict=True):
        if not isinstance(predictor, Combined):
            raise TypeError(f"{predictor.name} is no model that can be kept")
        made, meta[part] = predictor.to_arrays()
        arrays |= {f"{part}/{name}": a for name, a in made.items()}
    return arrays, meta


def from_arrays(arrays: Arrays, meta: dict[str, Any], seed: int = 0) -> Pair:
    """The pair of what `to_arrays` made. Raises ValueError where it cannot be used."""
    try:
        soon, ahead = (Combined.from_arrays(_under(arrays, f"{part}/"), meta[part], seed) for part in PARTS)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the model is not complete: {error}") from None
    return Pair(soon, ahead)
