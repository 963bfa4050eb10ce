"""Trust is earned on delayed labels, and lost with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from models.drift import PageHinkley
from models.trust import LEAST_ROWS, STALE, Trust


def feed(trust: Trust, model: float, rule: float, batches: int = 60, start: float = 0.0, breach: float = 0.9) -> float:
    """Batches of ten endpoints, one of which breaches; `model` and `rule` are what each said of that one."""
    labels = np.array([1.0] + [0.0] * 9)
    for i in range(batches):
        said = np.where(labels > 0, model, 0.02), np.where(labels > 0, rule, 0.02)
        trust.add(start + i * 0.5, labels * (breach > 0), np.ones(10), said[0], said[1])
    return start + batches * 0.5


def test_a_model_that_sees_breaches_better_is_trusted() -> None:
    trust = Trust()
    at = feed(trust, 0.9, 0.3)
    assert trust.judge(at) == (True, "better than the rule")


@pytest.mark.parametrize(
    ("model", "rule", "batches", "reason"),
    [(0.9, 0.3, 5, "unsure"), (0.3, 0.9, 60, "worse"), (0.89, 0.9, 60, "worse")],
)
def test_a_model_with_nothing_to_show_is_not(model: float, rule: float, batches: int, reason: str) -> None:
    trust = Trust()
    at = feed(trust, model, rule, batches)
    trusted, why = trust.judge(at)
    assert not trusted
    assert why.startswith((reason, "drifting"))


def test_calm_alone_earns_no_trust() -> None:
    trust = Trust()
    at = feed(trust, 0.001, 0.02, batches=LEAST_ROWS, breach=0.0)
    assert trust.judge(at)[1].startswith("unsure: 0 of")


def test_it_is_stale_without_labels() -> None:
    trust = Trust()
    at = feed(trust, 0.9, 0.3)
    assert trust.judge(at + STALE + 1) == (False, f"stale: no label for more than {STALE:.0f} s")


def test_a_model_that_stops_seeing_breaches_drifts_within_half_a_minute() -> None:
    trust = Trust()
    at = feed(trust, 0.95, 0.3, batches=200)
    assert trust.judge(at)[0]
    at = feed(trust, 0.02, 0.3, batches=60, start=at)
    trusted, why = trust.judge(at)
    assert not trusted
    assert why.startswith("drifting")


def test_rows_where_the_model_abstained_count_for_nothing() -> None:
    trust = Trust()
    trust.add(0.0, np.ones(5), np.ones(5), np.full(5, np.nan), np.full(5, 0.5))
    assert trust.rows == 0
    assert np.isnan(trust.loss()[0])


def test_trust_once_won_does_not_flap_on_a_tie() -> None:
    trust = Trust()
    at = feed(trust, 0.9, 0.88, batches=200)
    assert trust.judge(at)[0]
    for i in range(20):
        at = feed(trust, 0.88, 0.9, batches=1, start=at)
        assert trust.judge(at)[0], i


def test_page_hinkley_sees_a_shift_and_no_shift_in_noise() -> None:
    rng = np.random.default_rng(0)
    drift = PageHinkley(delta=0.05, threshold=3.0)
    assert not any(drift.add(v) for v in rng.normal(0, 0.12, 3000))
    assert any(drift.add(v) for v in rng.normal(0.4, 0.12, 60))
