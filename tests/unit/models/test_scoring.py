"""Scores agree with scikit-learn's, and their intervals are drawn over blocks of time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.metrics import log_loss as oracle_loss

from models.scoring import average_precision, blocks, calibration_error, log_loss, with_interval


@pytest.mark.parametrize("distinct", [3, 1000])
def test_average_precision_is_scikit_learns_with_ties_too(distinct: int) -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(500) < 0.1
    scores = np.floor(rng.random(500) * distinct)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    said = (scores + 1) / (distinct + 2)
    assert log_loss(labels, said) == pytest.approx(oracle_loss(labels, said))


def test_without_a_true_label_there_is_no_average_precision() -> None:
    assert np.isnan(average_precision(np.zeros(5, dtype=bool), np.ones(5)))


def test_probabilities_that_come_true_are_calibrated_and_doubled_ones_are_not() -> None:
    rng = np.random.default_rng(2)
    said = rng.uniform(0, 0.5, 20_000)
    labels = rng.random(20_000) < said
    assert calibration_error(labels, said) < 0.02  # ten bins of 2,000: a standard error of 0.011 at most
    assert calibration_error(labels, 2 * said) > 0.2


def test_a_block_ends_at_a_gap_or_when_it_gets_long() -> None:
    at = np.array([0.0, 10.0, 10.0, 200.0, 210.0, *np.arange(300.0, 1500.0, 10.0)])
    found = blocks(at)
    assert found[:5].tolist() == [0, 0, 0, 1, 1]
    assert np.all(np.diff(found) >= 0) and found[-1] == 3


def test_an_interval_over_blocks_is_wider_than_rows_alone_would_say() -> None:
    """Rows of a block are copies of each other: a hundred times the rows say nothing more."""
    rng = np.random.default_rng(3)
    labels = rng.random(40) < 0.3
    scores = labels + rng.normal(0, 1, 40)
    once = with_interval(average_precision, labels, scores, np.arange(40), np.random.default_rng(0))
    many = with_interval(
        average_precision, np.repeat(labels, 100), np.repeat(scores, 100), np.repeat(np.arange(40), 100),
        np.random.default_rng(0),
    )  # fmt: skip
    assert once.low < once.value < once.high
    assert many.high - many.low == pytest.approx(once.high - once.low, rel=0.05)


def test_of_few_blocks_no_interval_is_told() -> None:
    figure = with_interval(
        average_precision, np.array([True, False]), np.array([1.0, 0.0]), np.array([0, 1]), np.random.default_rng(0)
    )
    assert figure.value == 1.0 and np.isnan(figure.low)
    assert str(figure) == "1.000"
