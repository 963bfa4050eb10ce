"""What counts as growth."""

from __future__ import annotations

import random

import pytest

from adaptive.bench import flat

TIMES = [float(t) for t in range(500)]
MIB = 2.0**20


def noisy(level: float, slope: float, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [level + slope * t + rng.uniform(-0.5, 0.5) * MIB for t in TIMES]


def test_noise_is_flat() -> None:
    judged = flat.judge(TIMES, noisy(25 * MIB, 0.0), flat.MEMORY)
    assert judged.flat
    assert abs(judged.growth) < MIB


def test_a_leak_of_a_few_bytes_a_request_grows() -> None:
    judged = flat.judge(TIMES, noisy(25 * MIB, 5 * 2000.0), flat.MEMORY)
    assert not judged.flat
    assert judged.growth == pytest.approx(5 * 2000 * 499, rel=0.1)


def test_a_step_that_comes_late_is_no_leak() -> None:
    values = noisy(25 * MIB, 0.0)
    values[420:] = [value + 8 * MIB for value in values[420:]]
    assert flat.judge(TIMES, values, flat.MEMORY).flat


def test_a_step_that_stays_for_most_of_the_time_is_none_either() -> None:
    values = noisy(25 * MIB, 0.0)
    values[60:] = [value + 8 * MIB for value in values[60:]]
    assert flat.judge(TIMES, values, flat.MEMORY).flat


def test_what_shrinks_is_flat() -> None:
    assert flat.judge(TIMES, noisy(50 * MIB, -0.05 * MIB), flat.MEMORY).flat


def test_one_descriptor_a_reload_grows() -> None:
    fds = [40.0 + t // 10 for t in TIMES]
    assert not flat.judge(TIMES, fds, flat.DESCRIPTORS).flat


def test_the_slope_of_a_line_is_exact_whatever_a_quarter_of_the_samples_says() -> None:
    values = [3.0 * t for t in TIMES[:100]]
    values[::4] = [1e9] * 25
    assert flat.slope(TIMES[:100], values) == pytest.approx(3.0)


def test_too_few_samples_have_no_slope() -> None:
    assert flat.slope([1.0], [2.0]) == 0.0
