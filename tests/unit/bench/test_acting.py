"""Whether acting spoils predictions: the same fleets, two models, and the difference of their precisions."""

from __future__ import annotations

import re

import numpy as np

from adaptive.bench.acting import kinds, verdict
from models.columns import Floats
from models.features import COUNT, SCHEMA
from models.predictor import Pair, Silent
from replay.asking import Table
from replay.episodes import ABRUPT, CALM, FORECASTABLE, Episode


class Seer(Silent):
    """Says what the first feature holds, with noise."""

    def __init__(self, noise: float) -> None:
        super().__init__(SCHEMA)
        self.noise = noise

    def predict(self, features: Floats) -> Floats:
        rng = np.random.default_rng(0)
        found: Floats = 0.8 * features[:, 0] + self.noise * rng.random(len(features))
        return found


def episode(seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    label = (rng.random(200) < 0.2).astype(np.float64)
    features = np.zeros((200, COUNT), dtype=np.float32)
    features[:, 0] = label
    one = np.ones(200)
    said = np.full((200, 2), 0.1)
    table = Table(one, one, features, one * 0.1, said, one > 2, label, one, label, one)
    return Episode("leak", seed, (), table, np.zeros((0, 2, 1)), (), (), 0, (0, 0), 1000, 0.1)


def difference(acting: Seer, truth: Seer) -> list[float]:
    fleets = [episode(seed) for seed in range(6)]
    lines = list(verdict(fleets, Pair(acting, acting), Pair(truth, truth), 0))
    assert len(lines) == 2
    return [float(re.search(r"difference (-?[\d.]+) ", line).group(1)) for line in lines]  # type: ignore[union-attr]


def test_the_same_model_twice_differs_by_nothing() -> None:
    assert difference(Seer(0.1), Seer(0.1)) == [0.0, 0.0]


def test_a_model_that_acting_has_spoilt_is_seen() -> None:
    assert max(difference(Seer(5.0), Seer(0.1))) < -0.3


def test_every_kind_of_fleet_has_its_turn() -> None:
    assert set(kinds()) == {*FORECASTABLE, *ABRUPT, *CALM}
