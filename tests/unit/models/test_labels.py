"""No label before its time, none from what was not seen, and none from the future."""

from __future__ import annotations

import numpy as np
import pytest

from models.columns import Bools, Peers
from models.features import COUNT
from models.labels import WAITING, Batch, Evidence, Ledger

N = 4
PEERS = Peers(np.zeros(N, dtype=np.int64), 1)
ERRORS, LATENCY = np.full(N, 0.05), np.full(N, np.nan)
SHOWN = np.ones(N, dtype=bool)
SAID = np.full(N, 0.1)


def evidence(attempts: int, failures: tuple[int, ...] = (0,) * N, latency: float = 0.04, slow: int = -1) -> Evidence:
    counts = np.full(N, attempts, dtype=np.int64)
    times = np.full(N, latency)
    if slow >= 0:
        times[slow] *= 5
    stalled = np.zeros(N, dtype=bool)
    return Evidence(counts, np.array(failures), counts, counts * np.log(times * 1e6), np.zeros(N), stalled)


def ask(ledger: Ledger, at: float, before: Evidence, shown: Bools = SHOWN) -> None:
    ledger.ask(at, np.zeros((N, COUNT)), before, SAID, SAID, shown)


def answered(ledger: Ledger, at: float, after: Evidence) -> list[Batch]:
    return ledger.answer(at, after, PEERS, ERRORS, LATENCY)


def test_there_is_no_answer_before_the_horizon() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(0))
    assert answered(ledger, 1.999, evidence(50, (50, 0, 0, 0))) == []
    assert answered(ledger, 2.0, evidence(50, (50, 0, 0, 0)))[0].labels.tolist() == [1, 0, 0, 0]


def test_only_what_happened_in_between_counts() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(100, (100, 0, 0, 0)))
    assert answered(ledger, 2.0, evidence(150, (100, 0, 0, 0)))[0].labels.tolist() == [0, 0, 0, 0]


def test_being_slow_beside_the_peers_is_a_breach_and_slowing_together_is_none() -> None:
    for latency, slow, expected in ((0.04, 1, [0, 1, 0, 0]), (0.4, -1, [0, 0, 0, 0])):
        ledger = Ledger(2.0)
        ask(ledger, 0.0, evidence(0))
        assert answered(ledger, 2.0, evidence(50, latency=latency, slow=slow))[0].labels.tolist() == expected


def test_failing_together_above_the_objective_is_no_endpoints_breach() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(0))
    assert answered(ledger, 2.0, evidence(100, (12, 12, 12, 12)))[0].labels.tolist() == [0, 0, 0, 0]


def test_a_latency_objective_is_a_promise_of_its_own() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(0))
    batch = ledger.answer(2.0, evidence(50, latency=0.4), PEERS, ERRORS, np.full(N, 0.1))[0]
    assert batch.labels.tolist() == [1, 1, 1, 1]


def test_without_traffic_there_is_no_label() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(100))
    assert answered(ledger, 2.0, evidence(102)) == []


def test_an_endpoint_taken_out_in_between_is_censored() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(0))
    ledger.spoil(np.array([True, False, True, True]))
    assert answered(ledger, 2.0, evidence(50))[0].slots.tolist() == [0, 2, 3]


def test_few_attempts_weigh_little() -> None:
    ledger = Ledger(2.0)
    ask(ledger, 0.0, evidence(0))
    assert answered(ledger, 2.0, evidence(5))[0].weights.tolist() == pytest.approx([0.5] * N)


def test_the_questions_that_wait_are_bounded() -> None:
    ledger = Ledger(1e9)
    for i in range(2 * WAITING):
        ask(ledger, float(i), evidence(0))
    assert len(ledger.waiting) == WAITING


def test_a_question_keeps_the_features_of_its_moment() -> None:
    ledger = Ledger(2.0)
    features = np.ones((N, COUNT))
    ledger.ask(0.0, features, evidence(0), SAID, SAID, SHOWN)
    features[:] = np.nan  # the future is poison
    assert (answered(ledger, 2.0, evidence(50))[0].features == 1).all()
