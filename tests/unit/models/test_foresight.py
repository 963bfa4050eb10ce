"""Labels of the long horizon: late, censored where we acted, and never from the future."""

from __future__ import annotations

import numpy as np
import pytest

from models.columns import Floats
from models.features import COUNT
from models.foresight import ACTED, Foresight
from models.labels import Batch

N = 3
SHOWN = np.ones(N, dtype=bool)
SAID = np.full(N, 0.1)


def short(asked: float, labels: tuple[float, ...]) -> Batch:
    """A short answer of all endpoints."""
    return Batch(np.arange(N), np.zeros((N, COUNT)), np.array(labels), np.ones(N), SAID, SAID, asked)


def asked_at(at: float) -> Foresight:
    made = Foresight(30.0)
    made.ask(at, np.zeros((N, COUNT)), SAID, SAID, SHOWN)
    return made


def labels(made: Foresight, at: float) -> Floats:
    return made.answer(at)[0].labels


def test_a_breach_within_the_time_is_a_breach_however_early_and_is_told_when_the_time_is_over() -> None:
    made = asked_at(0.0)
    for at in range(30):
        made.tell(short(float(at), (float(at == 3), 0.0, 0.0)), N)
        assert made.answer(float(at)) == []
    assert labels(made, 30.0).tolist() == [1, 0, 0]


@pytest.mark.parametrize("at", [-0.5, 30.0, 45.0])
def test_what_was_before_or_comes_after_is_none(at: float) -> None:
    made = asked_at(0.0)
    made.tell(short(1.0, (0.0, 0.0, 0.0)), N)
    made.tell(short(at, (1.0, 1.0, 1.0)), N)
    assert labels(made, 60.0).tolist() == [0, 0, 0]


def test_calm_after_we_acted_weighs_little_and_a_breach_all_the_same_counts() -> None:
    made = asked_at(0.0)
    made.act(np.array([True, True, False]))
    made.tell(short(5.0, (0.0, 1.0, 0.0)), N)
    assert made.answer(30.0)[0].weights.tolist() == [ACTED, 1.0, 1.0]


def test_what_was_not_seen_is_not_answered() -> None:
    made = asked_at(0.0)
    for at in range(10):
        batch = short(float(at), (0.0, 0.0, 0.0))
        batch.weights[1] = 0.0
        made.tell(batch, N)
    assert made.answer(30.0)[0].slots.tolist() == [0, 2]


def test_a_poisoned_future_reaches_no_label() -> None:
    """Two worlds that differ only after the horizon give the same answers, to the bit."""
    answers = []
    for poison in (0.0, np.nan):
        made = asked_at(0.0)
        for at in range(60):
            made.tell(short(float(at), (1.0, 0.0, 0.0) if at < 30 else (poison,) * 3), N)
        answers.append(made.answer(99.0)[0])
    np.testing.assert_array_equal(answers[0].labels, answers[1].labels)
    np.testing.assert_array_equal(answers[0].weights, answers[1].weights)
