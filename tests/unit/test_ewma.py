"""Averages and quantiles that forget with time."""

from __future__ import annotations

import math
import random

import pytest

from adaptive.ewma import Decayed, Ewma, PeakEwma, Quantiles


def test_a_mean_without_samples_is_not_a_number() -> None:
    assert math.isnan(Ewma(1.0).get(0.0))


def test_samples_of_one_instant_count_all_the_same() -> None:
    mean = Ewma(2.0)
    for value in (1.0, 2.0, 6.0):
        mean.add(value, 5.0)
    assert mean.get(5.0) == pytest.approx(3.0)
    assert mean.weight(5.0) == pytest.approx(3.0)


def test_an_old_sample_weighs_less_by_e_in_each_tau() -> None:
    mean = Ewma(2.0)
    mean.add(10.0, 0.0)
    mean.add(0.0, 4.0)
    old = math.exp(-2.0)
    assert mean.get(4.0) == pytest.approx(10.0 * old / (1.0 + old))
    assert mean.weight(6.0) == pytest.approx((1.0 + old) * math.exp(-1.0))


def test_a_clock_that_steps_back_counts_as_no_time() -> None:
    mean = Ewma(1.0)
    mean.add(1.0, 10.0)
    mean.add(3.0, 9.0)
    assert mean.get(9.0) == pytest.approx(2.0)
    peak = PeakEwma(1.0)
    peak.add(4.0, 10.0)
    peak.add(1.0, 9.0)
    assert peak.get(9.5) == pytest.approx(4.0)


def test_the_peak_rises_at_once_and_falls_slowly() -> None:
    peak = PeakEwma(10.0)
    peak.add(1.0, 0.0)
    peak.add(5.0, 0.1)
    assert peak.get(0.1) == pytest.approx(5.0)
    peak.add(1.0, 10.1)
    assert peak.get(10.1) == pytest.approx(5.0 * math.exp(-1) + 1.0 * (1 - math.exp(-1)))
    assert peak.get(20.1) == pytest.approx(peak.get(10.1) * math.exp(-1))


def test_a_decayed_sum_halves_in_its_half_life() -> None:
    failures = Decayed(3.5)
    failures.add(0.5, 0.0)
    failures.add(0.5, 3.5)
    assert failures.get(3.5) == pytest.approx(0.75)
    failures.scale(0.5)
    assert failures.get(7.0) == pytest.approx(0.1875)


@pytest.mark.parametrize("kind", [Ewma, PeakEwma, Decayed, Quantiles])
def test_a_time_constant_that_is_not_positive_is_refused(kind: type) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        kind(0.0)


def test_quantiles_are_right_to_the_width_of_a_bucket() -> None:
    rng = random.Random(7)
    window = Quantiles(half_life=1000.0)
    values = sorted(rng.lognormvariate(-3.4, 0.6) for _ in range(4000))
    for value in values:
        window.add(value, 0.0)
    for q in (0.1, 0.5, 0.9, 0.99):
        # half a bucket is 4.4 %; one rank more or less moves the p99 of 4,000 by under 3 %
        assert window.get(q) == pytest.approx(values[int(q * len(values))], rel=0.075)


def test_quantiles_forget() -> None:
    window = Quantiles(half_life=5.0)
    for _ in range(1000):
        window.add(1.0, 0.0)
    for _ in range(100):
        window.add(0.01, 50.0)  # ten half-lives later: 1000 / 1024 of a sample is left
    assert window.get(0.5) == pytest.approx(0.01, rel=0.05)
    assert window.mass == pytest.approx(100 + 1000 / 1024)


def test_values_out_of_range_fall_into_the_outer_buckets() -> None:
    window = Quantiles(half_life=5.0)
    assert math.isnan(window.get(0.5))
    window.add(0.0, 0.0)
    assert 0.0 < window.get(1.0) < 1.1e-4
    window.add(1e9, 0.0)
    assert window.get(1.0) > 100.0
