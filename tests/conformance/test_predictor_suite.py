"""What every Predictor must keep; each implementation is registered below and runs it all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.features import COUNT, SCHEMA
from models.online import OnlinePredictor
from models.predictor import Predictor, Silent
from models.sequential import Sequential
from tests.unit.models import made

PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "online": lambda: OnlinePredictor(seed=3),
    "failure_cusum": lambda: Sequential("failure_nats"),
    "slow_cusum": lambda: Sequential("slow_nats"),
    "combined": lambda: made.pair().soon,
    "silent": lambda: Silent(SCHEMA),
}


@pytest.fixture(params=PREDICTORS)
def make(request: pytest.FixtureRequest) -> Callable[[], Predictor]:
    return PREDICTORS[request.param]


def some(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, COUNT))


def taught(make: Callable[[], Predictor]) -> Predictor:
    model = make()
    for seed in range(20):
        features = some(50, seed)
        model.learn(features, (features[:, 0] > 1).astype(float), np.ones(50))
    return model


def test_it_says_who_it_is_and_for_which_features(make: Callable[[], Predictor]) -> None:
    assert make().name
    assert make().schema == SCHEMA


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_probabilities_are_between_zero_and_one_or_nan(make: Callable[[], Predictor], rows: int) -> None:
    said = taught(make).predict(some(rows) * 100)
    assert said.shape == (rows,)
    assert np.all(np.isnan(said) | ((said >= 0) & (said <= 1)))


def test_it_abstains_from_rows_with_nan_and_only_from_these(make: Callable[[], Predictor]) -> None:
    features = some(4) / 10
    whole = make().predict(features)
    features[2, 5] = np.nan
    said = make().predict(features)
    assert np.isnan(said[2])
    np.testing.assert_array_equal(np.delete(said, 2), np.delete(whole, 2))


def test_asking_changes_nothing(make: Callable[[], Predictor]) -> None:
    model = taught(make)
    features = some(9)
    before = features.copy()
    np.testing.assert_array_equal(model.predict(features), model.predict(features))
    np.testing.assert_array_equal(features, before)


def test_a_row_gets_its_answer_whatever_stands_beside_it(make: Callable[[], Predictor]) -> None:
    model, features = taught(make), some(9)
    alone = np.concatenate([model.predict(features[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(model.predict(features), alone)


def test_every_feature_of_every_row_has_its_contribution(make: Callable[[], Predictor]) -> None:
    assert taught(make).contributions(some(5)).shape == (5, COUNT)


def test_the_same_seed_and_rows_make_the_same_model(make: Callable[[], Predictor]) -> None:
    np.testing.assert_array_equal(taught(make).predict(some(9)), taught(make).predict(some(9)))


def test_it_survives_one_class_no_rows_and_nonsense(make: Callable[[], Predictor]) -> None:
    model = make()
    model.learn(np.zeros((0, COUNT)), np.zeros(0), np.zeros(0))
    model.learn(some(5), np.zeros(5), np.ones(5))
    model.learn(np.full((5, COUNT), np.inf), np.ones(5), np.ones(5))
    said = model.predict(some(5))
    assert np.all(np.isnan(said) | np.isfinite(said))


def test_it_counts_what_it_learned_from(make: Callable[[], Predictor]) -> None:
    assert taught(make).rows == 1000
