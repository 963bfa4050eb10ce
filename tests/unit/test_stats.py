"""Windows are exact sums, whatever the order and lateness of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive.stats import (
    BINS,
    EDGES,
    IGNORED,
    LATE,
    LOG_MICRO,
    MEASURED,
    MICROSECONDS,
    OK,
    STATUS,
    TIMEOUT,
    UNCOUNTED,
    WIDTH,
    Stats,
    quantiles,
)
from adaptive.types import Cause, Mark
from tests.simulation.toy import rows

AT = 1000.0


def stats(slots: int = 4) -> Stats:
    return Stats(slots, np.ones(slots, dtype=bool), AT)


def attempt(at: float, slot: int = 0, latency: float = 0.04, **fields: Any) -> np.ndarray[Any, Any]:
    made = rows(1)
    made["slot"], made["done"], made["sent_at"], made["first_byte"] = slot, at, at - latency, at
    for name, value in fields.items():
        made[name] = value
    return made


def test_each_cause_counts_in_its_own_group() -> None:
    s = stats()
    for cause in Cause:
        s.fold(attempt(AT, cause=cause, status=503 if cause == Cause.RESPONSE else 0), AT)
    seen = s.observed(AT)
    assert seen.connect[0, 0] == 3
    assert seen.timeouts[0, 0] == 2
    assert s.sums[0, STATUS, 0] == 1
    assert s.sums[0, OK, 0] == 1  # the tunnel
    assert s.sums[0, IGNORED, 0] == 5  # idle reset, client gone, client error, cancelled, overflow
    assert seen.attempts[0, 0] == len(Cause) - 5
    assert s.counted()[0][0].sum() == len(Cause)


@pytest.mark.parametrize(("status", "failed"), [(200, 0), (404, 0), (500, 1), (501, 0), (503, 1)])
def test_only_a_status_that_blames_the_endpoint_is_a_failure(status: int, failed: int) -> None:
    s = stats()
    s.fold(attempt(AT, status=status), AT)
    assert s.observed(AT).failures[0, 0] == failed
    assert s.observed(AT).attempts[0, 0] == 1


def test_too_many_requests_says_nothing() -> None:
    s = stats()
    s.fold(attempt(AT, status=429), AT)
    assert s.observed(AT).attempts[0, 0] == 0


def test_a_row_leaves_each_window_in_its_time_and_totals_stay() -> None:
    s = stats()
    s.fold(attempt(AT), AT)
    held = []
    for seconds in (0.5, 2.0, 6.0, 29.0, 31.0):
        s.advance(AT + seconds)
        held.append(s.observed(AT + seconds).attempts[:, 0].tolist())
    assert held == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert s.totals[OK, 0] == 1


def test_a_late_row_counts_at_the_time_it_closed() -> None:
    s = stats()
    s.fold(attempt(AT), AT + 3.0)
    assert s.observed(AT + 3.0).attempts[:, 0].tolist() == [0, 1, 1]


def test_latency_is_the_geometric_mean_of_times_to_first_byte_of_good_answers() -> None:
    s = stats()
    s.fold(np.concatenate([attempt(AT, latency=0.01), attempt(AT, latency=0.04)]), AT)
    s.fold(attempt(AT, latency=0.0001, status=500), AT)
    assert s.observed(AT).latency[0, 0] == pytest.approx(0.02, rel=1e-3)
    assert s.sums[0, MICROSECONDS, 0] == pytest.approx(50_000, abs=2)


def test_the_p95_is_within_a_bin_of_the_truth() -> None:
    s = stats()
    times = np.random.default_rng(0).lognormal(-3.2, 0.6, 2000)
    made = rows(2000)
    made["sent_at"], made["done"] = AT - times, AT
    made["first_byte"] = AT
    s.fold(made, AT)
    assert s.observed(AT).p95[0] == pytest.approx(np.quantile(times, 0.95), rel=0.12)
    assert np.isnan(s.observed(AT).p95[1])


def test_a_time_beyond_the_last_bin_counts_in_it() -> None:
    counts = np.zeros((1, BINS), dtype=int)
    counts[0, -1] = 3
    assert quantiles(counts, 0.5)[0] > EDGES[-2]


def test_the_run_of_failures_ends_with_a_success_also_when_rows_come_out_of_order() -> None:
    s = stats()
    bad = [attempt(AT - 0.5 + i / 100, status=500) for i in range(4)]
    s.fold(np.concatenate([bad[3], attempt(AT - 0.485), bad[0], bad[1], bad[2]]), AT)
    assert s.streak[0] == 2  # the success came between the second failure and the third
    s.fold(attempt(AT, status=500), AT)
    assert s.streak[0] == 3
    s.fold(attempt(AT), AT)
    assert s.streak[0] == 0


def test_a_whole_time_out_that_ran_out_on_a_short_attempt_does_not_blame_it() -> None:
    s = stats()
    s.typical[:] = 0.04
    short = attempt(AT, latency=0.05, cause=Cause.TIMEOUT_ROUTE, status=0, first_byte=np.nan)
    long = attempt(AT, latency=1.0, cause=Cause.TIMEOUT_ROUTE, status=0, first_byte=np.nan)
    s.fold(np.concatenate([short, long]), AT)
    assert s.sums[0, TIMEOUT, 0] == 1
    assert s.sums[0, IGNORED, 0] == 1


def test_giving_up_says_slow_only_after_several_typical_latencies() -> None:
    s = stats()
    s.typical[:] = 0.04
    gone = {"cause": Cause.CLIENT_GONE, "status": 0, "marks": int(Mark.CENSORED), "first_byte": np.nan}
    s.fold(np.concatenate([attempt(AT, latency=0.1, **gone), attempt(AT, latency=1.0, **gone)]), AT)
    assert s.sums[0, LATE, 0] == 1
    assert s.observed(AT).attempts[0, 0] == 0


def test_rows_of_no_endpoint_and_rows_of_nonsense_do_no_harm() -> None:
    s = Stats(4, np.array([True, True, False, True]), AT)
    s.fold(np.concatenate([attempt(AT, slot=2), attempt(AT, slot=99), attempt(AT, slot=2**32 - 1)]), AT)
    assert s.rows == 0
    odd = np.concatenate([attempt(np.nan), attempt(AT, latency=-5.0), attempt(AT + 1e9), attempt(AT, cause=200)])
    odd["first_byte"][0] = np.inf
    s.fold(odd, AT)
    assert s.rows == 4
    assert (s.sums >= 0).all()


def test_a_forged_load_report_is_passed_over() -> None:
    s = stats()
    s.fold(np.concatenate([attempt(AT, load_cpu=0.4), attempt(AT, load_app=0.6), attempt(AT, load_cpu=1e9)]), AT)
    assert s.load[0] == pytest.approx(0.5)
    assert np.isnan(s.load[1])


def test_an_empty_batch_only_moves_time() -> None:
    s = stats()
    s.fold(rows(0), AT + 7)
    assert s.head == int((AT + 7) // WIDTH)


def test_a_pause_longer_than_every_window_empties_them() -> None:
    s = stats()
    s.fold(attempt(AT), AT)
    s.advance(AT + 3600)
    assert not s.sums.any()
    assert not s.ring.any()
    assert not s.bins.any()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40), st.booleans(), st.floats(0, 2)), max_size=60))
def test_the_running_sums_are_those_of_the_buckets(batch: list[tuple[int, float, bool, float]]) -> None:
    s = stats()
    at = AT
    for slot, late, good, wait in batch:
        at += wait
        s.fold(attempt(at - late, slot=slot, status=200 if good else 500), at)
    for window, span in enumerate((4, 20, 120)):
        held = [(s.head - age) % 120 for age in range(span)]
        assert (s.sums[window] == s.ring[held].sum(axis=0)).all()
    assert (s.bins[1] == s.bins_ring.sum(axis=0)).all()
    assert s.bins[1].sum() >= 0
    assert s.totals[MEASURED].sum() == sum(good for _, _, good, _ in batch)
    assert s.totals[LOG_MICRO].min() >= 0


def test_an_acquitted_endpoint_starts_with_empty_windows_and_its_neighbour_keeps_its_own() -> None:
    s = stats()
    for slot in (0, 1):
        s.fold(attempt(AT, slot=slot, status=500), AT)
    s.acquit(0)
    assert not s.sums[..., 0].any() and not s.bins[:, 0].any() and not s.streak[0]
    assert s.sums[..., 1].any() and s.streak[1] == 1
    s.advance(AT + 60)  # what was taken out is not taken out again
    assert not s.sums.any() and (s.bins == 0).all()


def test_counts_for_metrics_are_the_same_however_often_they_are_asked_for() -> None:
    often, seldom = stats(), stats()
    for i in range(12):
        rows = attempt(AT, slot=i % 2, status=200 if i % 3 else 503, latency=0.01 * (1 + i % 5))
        for s in (often, seldom):
            s.fold(np.repeat(rows, UNCOUNTED // 10), AT)
        often.counted()
    for a, b in zip(often.counted(), seldom.counted(), strict=True):
        assert a.sum() > 0
        assert np.array_equal(a, b)
