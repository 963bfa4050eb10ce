"""Service times of the demo's instances."""

from __future__ import annotations

import math
import statistics

from adaptive.demo import schedule
from adaptive.demo.fleet import NOISE, noise, number


def test_the_same_seed_gives_the_same_service_times() -> None:
    plan = schedule.plan()
    assert noise(3, plan) == noise(3, plan)
    assert noise(3, plan) != noise(4, plan)


def test_service_times_have_the_plans_mean() -> None:
    plan = schedule.plan()
    times = noise(1, plan)
    # Four standard errors of the mean of a log-normal.
    spread = plan.service * math.sqrt(math.exp(plan.sigma**2) - 1)
    assert abs(statistics.fmean(times) - plan.service) < 4 * spread / math.sqrt(NOISE)
    assert min(times) > 0


def test_a_requests_number_is_the_end_of_its_path() -> None:
    assert number(b"/item/4711") == 4711


def test_a_path_without_a_number_counts_as_nought() -> None:
    for url in (b"/", b"/health", b"/item/x", b"/item/-1", b"/item/" + b"9" * 40, b""):
        assert number(url) == 0
