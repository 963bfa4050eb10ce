"""Tests of what is told of instances from outcomes alone, on queues whose truth is known."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import Cause, Mark
from replay.evaluation import queueing, segments, survival
from replay.evaluation.attempts import EvaluationError, seen
from replay.evaluation.document import describe
from replay.evaluation.fit import WIRE, Fit, fit, scenario
from replay.evaluation.naive import reassigned

MEDIAN = 0.033  # seconds
SPREAD = 0.6
SECONDS = 20.0
Slow = Callable[[float], float]


def queue(
    rng: np.random.Generator, servers: int, rate: float, slow: Slow = lambda t: 1.0, patience: float = np.inf
) -> tuple[Any, Any, Any]:
    """Sent, done and whether it was given up: a first-in first-out queue before `servers`."""
    sent = np.cumsum(rng.exponential(1.0 / rate, int(SECONDS * rate)))
    busy: list[float] = []
    done, gone = np.empty(len(sent)), np.zeros(len(sent), dtype=bool)
    for k, at in enumerate(sent):
        while busy and busy[0] <= at:
            heapq.heappop(busy)
        start = at
        if len(busy) >= servers:
            start = busy[0]
            if start > at + patience:
                done[k], gone[k] = at + patience, True
                continue
            heapq.heappop(busy)
        end = start + float(rng.lognormal(np.log(MEDIAN), SPREAD)) * slow(start)
        heapq.heappush(busy, end)
        gone[k] = end > at + patience
        done[k] = min(end, at + patience)
    return sent, done + WIRE, gone


def trace(parts: list[tuple[Any, Any, Any]], **change: Callable[[Any], None]) -> Any:
    """A recording in which every attempt is a request."""
    rows = []
    for slot, (sent, done, gone) in enumerate(parts):
        mine = np.zeros(len(sent), OUTCOME_DTYPE)
        mine["sent_at"], mine["done"], mine["slot"] = sent + 1000.0, done + 1000.0, slot
        mine["cause"] = np.where(gone, Cause.TIMEOUT_ATTEMPT, Cause.RESPONSE)
        mine["status"], mine["attempt"] = np.where(gone, 0, 200), 1
        mine["marks"] = np.where(gone, Mark.CENSORED, 0) | Mark.REPEATABLE
        mine["propensity"] = 1.0 / len(parts)
        rows.append(mine)
    joined = np.concatenate(rows)
    joined["request"] = np.arange(len(joined))
    for edit in change.values():
        edit(joined)
    names = {str(i): ("api", f"10.0.0.{i}:80") for i in range(len(parts))}
    return SimpleNamespace(header={"clusters": ["api"], "endpoints": names}, rows=joined, partial="")


def refused(rows: Any, hit: Any) -> None:
    """These attempts found nobody who listens."""
    rows["cause"][hit], rows["status"][hit] = Cause.CONNECT_REFUSED, 0
    rows["done"][hit] = rows["sent_at"][hit] + WIRE


def fitted(recording: Any) -> Fit:
    return fit(seen(recording), np.random.default_rng(0), timeout=2.0)


@pytest.mark.parametrize("servers", [1, 3, 6, 12])
def test_the_number_of_slots_is_found_where_attempts_had_to_wait(servers: int) -> None:
    rng = np.random.default_rng(servers)
    mean = MEDIAN * np.exp(SPREAD**2 / 2)
    sent, done, gone = queue(rng, servers, 0.75 * servers / mean)
    found = queueing.slots(sent, done - WIRE, gone, ~gone)
    assert abs(found.best - servers) <= 1
    assert found.low <= servers <= found.high


def test_an_instance_that_never_had_to_wait_is_known_to_have_no_bound() -> None:
    sent, done, gone = queue(np.random.default_rng(1), 50, 30.0)
    assert not queueing.slots(sent, done, gone, ~gone).bounded


def test_the_beginning_of_service_is_rebuilt() -> None:
    arrived, left = np.array([0.0, 0.1, 0.2, 0.3]), np.array([1.0, 0.5, 0.9, 1.4])
    nobody = np.zeros(4, dtype=bool)
    assert queueing.begin(arrived, left, nobody, np.full(4, 2)).tolist() == [0.0, 0.1, 0.5, 0.9]


def test_one_that_left_while_it_waited_takes_no_server() -> None:
    arrived, left = np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.5, 1.7])
    gone = np.array([False, True, False])
    assert queueing.begin(arrived, left, gone, np.full(3, 1)).tolist()[::2] == [0.0, 1.0]


def test_service_times_are_told_from_waiting() -> None:
    rng = np.random.default_rng(2)
    made = fitted(trace([queue(rng, 4, 85.0) for _ in range(3)]))
    assert [abs(node.servers - 4) <= 1 for node in made.nodes] == [True] * 3
    table = np.array(made.scenario.instances[0].service.table)
    z = (np.log(table[[100, 500, 900]]) - np.log(MEDIAN)) / SPREAD
    # 5,100 attempts: the standard error of these quantiles is 0.02 of a spread; the waiting at load 0.85 is 0.5.
    assert z == pytest.approx([-1.2816, 0.0, 1.2816], abs=0.08)


def test_a_slow_span_and_its_factor_are_found() -> None:
    rng = np.random.default_rng(3)
    parts = [queue(rng, 6, 80.0) for _ in range(3)] + [queue(rng, 6, 20.0, lambda t: 4.0 if 8 <= t < 14 else 1.0)]
    node = fitted(trace(parts)).nodes[3]
    start, end, log, error = max(node.factors, key=lambda f: f[1] - f[0])
    assert (start, end) == pytest.approx((8.0, 14.0), abs=0.4)
    assert log == pytest.approx(np.log(4.0), abs=max(0.15, 3 * error))


def test_what_was_given_up_counts_as_a_lower_bound() -> None:
    """With a patience of the 90th percentile, dropping what was given up would halve the spread of the rest."""
    rng = np.random.default_rng(4)
    parts = [queue(rng, 40, 100.0, patience=MEDIAN * np.exp(1.2816 * SPREAD)) for _ in range(3)]
    table = np.array(fitted(trace(parts)).scenario.instances[0].service.table)
    z = np.log(table[[850, 980]] / MEDIAN) / SPREAD
    assert z == pytest.approx([1.036, 2.054], abs=0.2)


def test_errors_are_found_with_their_share_and_their_time() -> None:
    rng = np.random.default_rng(5)

    def fail(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        hit = (rows["slot"] == 1) & (at > 6.0) & (at < 12.0) & (rng.random(len(rows)) < 0.5)
        rows["status"][hit], rows["done"][hit] = 503, rows["sent_at"][hit] + 0.002 + WIRE

    spans = fitted(trace([queue(rng, 6, 80.0) for _ in range(3)], fail=fail)).nodes[1].spans
    (span,) = [s for s in spans if s.kind == "errors"]
    assert (span.start, span.end) == pytest.approx((6.0, 12.0), abs=0.3)
    assert span.p == pytest.approx(0.5, abs=0.08)  # 480 attempts: three standard errors are 0.07
    assert span.seconds == pytest.approx(0.002, abs=1e-6)


def test_a_hung_instance_is_not_taken_for_a_slow_one() -> None:
    rng = np.random.default_rng(6)

    def hang(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        hit = (rows["slot"] == 2) & (at > 5.0) & (at < 9.0)
        rows["cause"][hit], rows["status"][hit], rows["done"][hit] = Cause.CLIENT_GONE, 0, rows["sent_at"][hit] + 2.0

    made = fitted(trace([queue(rng, 6, 80.0) for _ in range(3)], hang=hang))
    (span,) = made.nodes[2].spans
    assert span.kind == "hang"
    assert (span.start, span.end) == pytest.approx((5.0, 9.0), abs=0.2)
    assert span.p > 0.9
    assert not made.nodes[2].factors


def test_a_refusing_instance_is_down() -> None:
    rng = np.random.default_rng(7)

    def refuse(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        hit = (rows["slot"] == 0) & (at > 5.0) & (at < 9.0)
        refused(rows, hit)

    node = fitted(trace([queue(rng, 6, 80.0) for _ in range(2)], refuse=refuse)).nodes[0]
    (span,) = [s for s in node.spans if s.kind == "down"]
    assert (span.start, span.end) == pytest.approx((5.0, 9.0), abs=0.2)


def test_an_instance_that_refused_may_be_back_long_before_it_is_asked_again() -> None:
    rng = np.random.default_rng(14)

    def refuse(rows: Any) -> None:
        at = rows["sent_at"] - 1000.0
        hit = (rows["slot"] == 0) & (at > 5.0) & (at < 6.0)
        refused(rows, hit)
        rows["slot"][(rows["slot"] == 0) & (at > 6.0) & (at < 12.0)] = 1

    made = fitted(trace([queue(rng, 6, 80.0) for _ in range(2)], refuse=refuse))
    drawn = [scenario(made, np.random.default_rng(k)).instances[0].faults for k in range(40)]
    ends = [fault.end for faults in drawn for fault in faults if fault.kind == "down"]
    assert len(ends) == 40
    assert 5.9 < min(ends) < 7.5 and 10.5 < max(ends) < 12.1
    assert np.median(ends) == pytest.approx(9.0, abs=1.2)  # 40 of a spread of 1.7: four standard errors


def test_pauses_are_told_from_slow_service() -> None:
    rng = np.random.default_rng(8)

    def pause(rows: Any) -> None:
        for at in (1005.0, 1007.0, 1009.0):
            held = (rows["slot"] == 1) & (rows["sent_at"] < at + 0.3) & (rows["done"] > at) & (rows["done"] < at + 0.3)
            rows["done"][held] = at + 0.3

    made = fitted(trace([queue(rng, 6, 80.0) for _ in range(2)], pause=pause))
    found = [(s.start, s.end) for s in made.nodes[1].spans if s.kind == "gc"]
    assert [end for _, end in found] == pytest.approx([5.3, 7.3, 9.3], abs=0.02)
    assert [start for start, _ in found] == pytest.approx([5.0, 7.0, 9.0], abs=0.05)
    assert not [s for s in made.nodes[0].spans if s.kind == "gc"]


def test_fewer_slots_for_a_while_are_found() -> None:
    rng = np.random.default_rng(9)
    parts = [queue(rng, 6, 110.0) for _ in range(3)]
    sent = parts[0][0]
    half = (sent > 8.0) & (sent < 14.0)
    again = queue(np.random.default_rng(10), 3, 75.0)
    inside = (again[0] > 8.0) & (again[0] < 13.0)
    keep = ~half
    parts[0] = tuple(np.concatenate([parts[0][i][keep], again[i][inside]]) for i in range(3))  # type: ignore[assignment]
    order = np.argsort(parts[0][0])
    parts[0] = tuple(column[order] for column in parts[0])  # type: ignore[assignment]
    node = fitted(trace(parts)).nodes[0]
    assert any(a <= 9.0 and b >= 12.0 and servers <= 4 for a, b, servers in node.shrunk), describe(node)


def test_draws_of_the_fit_differ_as_far_as_the_evidence_does() -> None:
    few = fitted(trace([queue(np.random.default_rng(k), 4, 8.0) for k in range(3)]))
    many = fitted(trace([queue(np.random.default_rng(k), 4, 85.0) for k in range(3)]))
    spread = []
    for made in (few, many):
        medians = [scenario(made, np.random.default_rng(k)).instances[0].service.table[500] for k in range(20)]
        spread.append(float(np.std(np.log(medians))))
    assert spread[0] > 2.0 * spread[1] > 0.0  # ten times the attempts: a third of the error


def test_one_instance_is_refused() -> None:
    with pytest.raises(EvaluationError, match="one instance only"):
        fitted(trace([queue(np.random.default_rng(1), 4, 50.0)]))


def test_a_trace_without_answers_is_refused() -> None:
    def gone(rows: Any) -> None:
        rows["cause"], rows["status"] = Cause.CONNECT_REFUSED, 0

    with pytest.raises(EvaluationError, match="no attempt of the trace was answered"):
        fitted(trace([queue(np.random.default_rng(k), 4, 50.0) for k in range(2)], gone=gone))


def test_arrivals_alone_are_refused() -> None:
    def unknown(rows: Any) -> None:
        rows["done"] = np.nan

    with pytest.raises(EvaluationError, match="arrivals only"):
        fitted(trace([queue(np.random.default_rng(k), 4, 50.0) for k in range(2)], unknown=unknown))


def test_an_unknown_cluster_is_named() -> None:
    with pytest.raises(EvaluationError, match="no rows of cluster 'db'; it has api"):
        seen(trace([queue(np.random.default_rng(1), 4, 50.0)]), "db")


def test_attempts_of_one_request_are_one_request() -> None:
    def again(rows: Any) -> None:
        rows["request"][:2], rows["attempt"][1] = 7_000_000, 2
        rows["sent_at"][1], rows["cause"][0], rows["status"][0] = rows["done"][0], Cause.RESET, 0
        rows["done"][1] = rows["sent_at"][1] + 0.1

    recording = trace([queue(np.random.default_rng(k), 4, 50.0) for k in range(2)], again=again)
    found = seen(recording)
    assert len(found.requests.due) == len(found.rows) - 1
    k = int(np.argmax(found.requests.attempts))
    assert found.requests.attempts[k] == 2
    assert not found.requests.failed[k]
    assert found.requests.latency[k] == pytest.approx(recording.rows["done"][1] - recording.rows["sent_at"][0])


def test_changes_of_a_mean_are_found_where_they_are() -> None:
    rng = np.random.default_rng(11)
    at = np.sort(rng.random(2000)) * 20.0
    x = rng.normal(0.0, 0.6, 2000) + np.where((at > 5) & (at < 7), 1.0, 0.0)
    found = segments.levels(at, x, 0.6, 20.0)
    assert len(found) == 3
    assert [found[1].start, found[1].end] == pytest.approx([5.0, 7.0], abs=0.25)


def test_noise_has_no_changes() -> None:
    found = [
        len(segments.levels(np.sort(r.random(2000)) * 20.0, r.normal(0.0, 0.6, 2000), 0.6, 20.0))
        for r in map(np.random.default_rng, range(20))
    ]
    assert sum(n > 1 for n in found) <= 1


def test_lower_bounds_move_the_upper_quantiles_only() -> None:
    rng = np.random.default_rng(12)
    x = rng.exponential(1.0, 20_000)
    c = rng.exponential(2.0, 20_000)
    table = survival.table(np.minimum(x, c), x > c)
    assert table[[250, 500, 900]] == pytest.approx(-np.log(1.0 - np.array([0.25, 0.5, 0.9])), rel=0.04)


def test_a_tail_that_is_hidden_altogether_is_as_long_as_its_lower_bounds() -> None:
    rng = np.random.default_rng(13)
    usual, hidden = rng.normal(0.0, 0.05, 960), np.full(40, 2.0)  # what the usual ones alone say ends at 0.2
    table = survival.table(np.r_[usual, hidden], np.r_[np.zeros(960, dtype=bool), np.ones(40, dtype=bool)])
    assert table[970] >= 2.0 and table[950] < 0.2
    assert (np.diff(table) >= 0.0).all()


def test_naive_replay_draws_from_where_the_policy_would_have_sent() -> None:
    found = seen(
        trace([queue(np.random.default_rng(0), 9, 50.0), queue(np.random.default_rng(1), 9, 50.0, lambda t: 9.0)])
    )
    target = np.tile([1.0, 0.0], (len(found.requests.due), 1))
    latency, _ = reassigned(found, target, np.random.default_rng(2), 2.0)
    assert set(latency) <= set(found.requests.latency[found.requests.first == 0])


def beaten(slow: float, always: tuple[float, float] = (0.0, 0.0)) -> Any:
    """Two instances, at the first of which a share of the requests, and all within `always`, took so long that another
    attempt of theirs won after 0.3 s.
    """
    rng = np.random.default_rng(5)
    sent, done, _ = queue(rng, 12, 100.0)
    lost = (rng.random(len(sent)) < slow) | ((sent >= always[0]) & (sent < always[1]))
    recording = trace([(sent, np.where(lost, sent + 0.3, done), lost), queue(rng, 12, 100.0)])
    recording.rows["cause"][: len(lost)][lost] = Cause.CANCELLED
    return recording


def test_a_few_that_lost_to_a_second_copy_are_late_ones_and_no_hang() -> None:
    recording = beaten(0.04)
    assert not [span for span in fitted(recording).nodes[0].spans if span.kind == "hang"]


def test_an_instance_at_which_all_lost_to_second_copies_hangs() -> None:
    recording = beaten(0.0, (8.0, 12.0))
    (found,) = [span for span in fitted(recording).nodes[0].spans if span.kind == "hang"]
    assert (found.start, found.end) == (pytest.approx(8.0, abs=0.5), pytest.approx(12.0, abs=0.5))
