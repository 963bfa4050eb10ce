"""What is outstanding is never taken for older than it is, and says nothing that its peers' say too."""

from __future__ import annotations

import numpy as np
import pytest

from models.detectors import threshold
from models.outstanding import TICKS, Outstanding
from models.residuals import Residual
from tests.unit.models.made import moment

N, TICK = 4, 0.1
EXPECTED = np.log(0.05)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_ends_first_they_are_at_least_as_old(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, open_now, closed = Outstanding(1), list[float](), 0
    for tick in range(1, 200):
        at = tick * TICK
        sent = sorted((at - TICK * rng.random(rng.poisson(2))).tolist())
        open_now += sent
        ends = min(len(open_now), rng.poisson(2))
        for _ in range(ends):
            open_now.pop(rng.integers(len(open_now)))
        closed += ends
        ages, counts = seen.update(at, np.array([float(len(open_now))]), np.array([closed]))
        told = np.repeat(ages[counts[:, 0] > 0], counts[counts[:, 0] > 0, 0].astype(int))
        real = np.sort(at - np.array(open_now))[: len(told)]
        assert (np.sort(told) <= real + 1e-9).all()


def said(waits: float, who: list[int], each: int = 4) -> np.ndarray:
    """Nats by endpoint, where those in `who` answer nothing for `waits` seconds, with `each` sent at its beginning."""
    seen, ill = Outstanding(N), np.isin(np.arange(N), who)
    beside = Residual(np.zeros(N), np.full(N, np.inf), np.full(N, EXPECTED), np.full(N, 0.5), np.ones(N), np.ones(N))
    found = np.zeros((1, N))
    for tick in range(TICKS + round(waits / TICK)):
        late = (tick - TICKS) * TICK
        open_now = np.where(ill & (late >= 0), float(each), 0.0)
        oldest = np.where(open_now > 0, late + TICK, np.nan)
        now = moment(100.0 + tick * TICK, N, in_flight=open_now, oldest=oldest)
        others = np.array([np.median(np.delete(seen.late, i)) for i in range(N)])
        found = seen.speak(now, beside, others, np.ones(N, dtype=bool), TICK)
    return found.max(axis=0)


def test_five_that_wait_twenty_times_too_long_are_an_alarm_and_one_is_not() -> None:
    assert said(1.0, [2], each=5)[2] > threshold(50.0)
    assert said(1.0, [2])[[0, 1, 3]].max() == 0.0
    assert said(1.0, [2], each=1)[2] < 5.0


def test_where_all_wait_none_is_blamed() -> None:
    assert said(1.0, [0, 1, 2, 3], each=5).max() < threshold(50.0) / 2


def test_what_has_been_open_for_very_long_is_a_stream() -> None:
    assert said(TICKS * TICK + 1.0, [2])[2] < 5.0


def test_forty_in_one_queue_tell_no_more_than_five() -> None:
    assert said(0.3, [2], each=40)[2] == pytest.approx(said(0.3, [2], each=5)[2], abs=0.5)
