"""Log-odds become shares that come true, and what the model tells apart stays apart."""

from __future__ import annotations

import numpy as np

from models.calibration import calibrate


def test_shares_that_would_descend_are_pooled_and_the_line_goes_on_rising() -> None:
    """Between -1 and 2 every row breaches equally often: chance makes shares of bins descend there."""
    rng = np.random.default_rng(0)
    odds = rng.uniform(-4, 4, 20_000)
    share = np.where(odds < -1, 0.05, np.where(odds < 2, 0.4, 0.9))
    labels = (rng.random(len(odds)) < share).astype(np.float64)
    made = calibrate(odds, labels, np.ones(len(odds)), rng.integers(0, 50, len(odds)), rng)
    assert (np.diff(made.middle) > 0).all()
    assert (np.diff(made.odds) > 0).all()
    inner = np.linspace(made.odds[0], made.odds[-1], 100)
    assert (np.diff(made.probability(inner)) > 0).all()
    low, high = made.interval(inner)
    assert (low <= made.probability(inner)).all()
    assert (made.probability(inner) <= high).all()
    # 5,000 rows: their share is 0.4 within 0.02, three standard errors; the bins at the edges hold some of the others.
    middle = (odds > -0.5) & (odds < 1.5)
    assert abs(made.probability(odds[middle]).mean() - 0.4) < 0.05


def test_a_model_that_knows_nothing_says_the_same_of_all() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(1000) < 0.3).astype(np.float64)
    made = calibrate(np.zeros(1000), labels, np.ones(1000), rng.integers(0, 10, 1000), rng)
    np.testing.assert_allclose(made.probability(np.array([-3.0, 0.0, 3.0])), labels.mean(), atol=0.01)
