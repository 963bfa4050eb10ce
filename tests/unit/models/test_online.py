"""The online model: sensible before any data, better after, the same for the same seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

from models.features import COUNT, NAMES
from models.online import BATCH, BREACH, INTERCEPT, PULL, RATE, RATE_LEAST, OnlinePredictor, descend


def row(**values: float) -> np.ndarray:
    made = np.zeros((1, COUNT))
    for name, value in values.items():
        made[0, NAMES.index(name)] = value
    return made


def test_in_its_first_second_it_knows_good_from_bad() -> None:
    model = OnlinePredictor()
    assert model.predict(row())[0] < 0.01
    assert model.predict(row(failures_1s=6, failures_5s=6, failures_peers=6))[0] > 0.9
    slow = row(latency_peers_1s=2.2, latency_peers_5s=2.2, tail_peers_5s=2.2)
    assert 0.3 < model.predict(slow)[0] < 0.8


def test_contributions_add_up_to_the_log_odds() -> None:
    model = OnlinePredictor()
    features = np.random.default_rng(0).normal(size=(20, COUNT))
    odds = model.contributions(features).sum(axis=1) + model.intercept
    np.testing.assert_allclose(model.predict(features), 1 / (1 + np.exp(-odds)))


def test_it_learns_a_sign_that_the_prior_does_not_know_and_stays_calibrated() -> None:
    rng = np.random.default_rng(1)
    model = OnlinePredictor()
    before = model.coefficients[NAMES.index("youth")]
    for _ in range(300):
        features = rng.normal(size=(100, COUNT)) * 0.3
        truth = 1 / (1 + np.exp(-(3 * features[:, NAMES.index("youth")] - 3)))
        model.learn(features, (rng.random(100) < truth).astype(float), np.ones(100))
    assert model.coefficients[NAMES.index("youth")] > before + 0.5
    features = rng.normal(size=(4000, COUNT)) * 0.3
    truth = 1 / (1 + np.exp(-(3 * features[:, NAMES.index("youth")] - 3)))
    assert model.predict(features).mean() == pytest.approx(truth.mean(), abs=0.03)


def test_hours_of_calm_do_not_wash_away_what_a_breach_looks_like() -> None:
    model = OnlinePredictor()
    calm = np.random.default_rng(2).normal(size=(40, COUNT)) * 0.1
    for _ in range(2000):
        model.learn(calm, np.zeros(40), np.ones(40))
    assert model.intercept > INTERCEPT - 1.5
    assert model.predict(row(failures_1s=6, failures_5s=6, failures_peers=6))[0] > 0.8


def test_rows_with_nan_or_no_weight_teach_nothing() -> None:
    model = OnlinePredictor()
    before = model.coefficients.copy()
    model.learn(np.full((3, COUNT), np.nan), np.ones(3), np.ones(3))
    model.learn(np.ones((3, COUNT)), np.ones(3), np.zeros(3))
    assert model.rows == 0
    assert (model.coefficients == before).all()


def test_extreme_rows_leave_it_finite() -> None:
    model = OnlinePredictor()
    for sign in (1.0, -1.0) * 20:
        model.learn(np.full((BATCH, COUNT), 6.0 * sign), np.ones(BATCH), np.ones(BATCH))
    assert np.isfinite(model.coefficients).all()
    assert np.isfinite(model.predict(np.full((1, COUNT), 6.0))).all()


def test_the_rate_falls_and_does_not_vanish() -> None:
    moved = []
    for fits in (0, 5000, 50000):
        model = OnlinePredictor()
        model.fits = fits
        model.learn(np.zeros((1, COUNT)), np.array([1.0]), np.ones(1))
        moved.append((model.intercept - INTERCEPT) / (1 - PULL))
    wrong = BREACH * (1 - 1 / (1 + np.exp(-(INTERCEPT + np.log(BREACH)))))  # the gradient of a breach not foreseen
    assert moved == pytest.approx([RATE * wrong, RATE_LEAST * wrong, RATE_LEAST * wrong])


@pytest.mark.parametrize("n", [1, 2, 20, BATCH])
def test_a_pass_is_that_of_scikit_learn(n: int) -> None:
    rng = np.random.default_rng(n)
    theirs = SGDClassifier(penalty=None, loss="log_loss", learning_rate="constant", eta0=RATE, random_state=7)
    theirs.partial_fit(np.zeros((2, COUNT)), [0.0, 1.0], classes=[0.0, 1.0])
    ours, intercept = rng.normal(size=COUNT), 0.5
    theirs.coef_, theirs.intercept_ = ours[None].copy(), np.array([intercept])
    for scale in (1.0, 3.0, 6.0):  # far from the middle, too
        features, labels = scale * rng.normal(size=(n, COUNT)), (rng.random(n) < 0.3).astype(float)
        weights = rng.random(n) + 0.1
        theirs.partial_fit(features, labels, sample_weight=weights)
        ours, intercept = descend(features, labels, RATE * weights, ours, intercept, 7)
        np.testing.assert_allclose(ours, theirs.coef_[0], rtol=1e-9, atol=1e-12)
        assert intercept == pytest.approx(theirs.intercept_[0], rel=1e-9)


def test_importing_the_models_imports_no_scikit_learn() -> None:
    code = "import sys, models.learner, models.online; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
