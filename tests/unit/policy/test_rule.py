"""How strongly the rule speaks, and of whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adaptive.policy import rule
from models.columns import Observed, Peers

N = 5
PEERS = Peers(np.zeros(N, dtype=np.int64), 1)
YES, NO = np.ones(N, dtype=bool), np.zeros(N, dtype=bool)
ERRORS, NONE = np.full(N, 0.05), np.full(N, np.nan)


def calm() -> Observed:
    """Five endpoints at 100 requests/s each, nothing wrong."""
    per = np.array([[100], [500], [3000]]) * np.ones(N, dtype=np.int64)
    none = np.zeros((3, N), dtype=np.int64)
    return Observed(
        at=1000.0, attempts=per, failures=none, connect=none, timeouts=none, late=none, measured=per,
        latency=np.full((3, N), 0.04), p95=np.full(N, 0.1), in_flight=np.full(N, 4.0), oldest=np.full(N, 0.1),
        silence=np.full(N, 0.01), unlucky=np.full(N, 0.01), streak=np.zeros(N, dtype=np.int64),
        checks_failed=np.zeros(N, dtype=np.int64), checks_passed=np.full(N, 5), check_seconds=np.full(N, 0.002),
        load=np.full(N, np.nan), age=np.full(N, 1e4), typical=np.full(N, 0.04), p99=np.full(N, 0.14),
        flight=np.full((3, N), np.log(5.0)), flight_var=np.full(N, 10.0), flight_log=np.full(N, 1.0),
        log_var=np.full(N, 30.0), cpu=np.full(N, np.nan), memory=np.full(N, np.nan),
        closed=np.zeros(N, dtype=np.int64),
    )  # fmt: skip


def first(column: Any, value: float) -> Any:
    """The column with another value for the first endpoint, in every window."""
    made = np.array(column, dtype=np.float64 if isinstance(value, float) else None)
    made[..., 0] = value
    return made


def judge(seen: Observed, **changes: Any) -> rule.Judgement:
    given = {"errors": ERRORS, "latency": NONE, "requests": YES, "checked": NO, "lowered": NO} | changes
    return rule.judge(seen, PEERS, **given)


def test_in_calm_nobody_is_suspected() -> None:
    judged = judge(calm())
    assert judged.suspicion.max() < 0.05
    assert not judged.solid.any()


@pytest.mark.parametrize(("failures", "attempts", "low", "high"), [(1, 1, 0, 1.5), (2, 2, 2, 3.9), (3, 3, 4, 6)])
def test_one_failure_says_little_and_three_in_a_row_are_doubt(
    failures: int, attempts: int, low: float, high: float
) -> None:
    assert low <= rule.evidence(np.array([failures]), np.array([attempts]), np.array([0.05]))[0] <= high


def test_a_share_at_what_is_allowed_is_no_evidence() -> None:
    assert rule.evidence(np.array([5]), np.array([100]), np.array([0.05]))[0] == 0


def test_an_endpoint_that_fails_a_third_is_solidly_bad_and_its_peers_are_not() -> None:
    seen = calm()
    judged = judge(replace(seen, failures=first(seen.failures, 0) + np.eye(N, dtype=int)[0] * seen.attempts // 3))
    assert judged.solid.tolist() == [True, False, False, False, False]
    assert judged.suspicion[0] > 0.99
    assert judged.suspicion[1:].max() < 0.05


def test_failures_that_all_share_suspect_nobody() -> None:
    seen = calm()
    assert judge(replace(seen, failures=seen.attempts // 5)).suspicion.max() < 0.05


def test_a_run_of_failures_shows_what_the_windows_hide() -> None:
    seen = replace(calm(), streak=first(np.zeros(N, dtype=int), 5), unlucky=first(calm().unlucky, 1.0))
    judged = judge(seen)
    assert judged.solid[0]
    assert not judge(replace(seen, unlucky=calm().unlucky)).solid[0]  # it has not yet had time to succeed


def test_slow_beside_its_peers_is_doubt_and_never_solid() -> None:
    judged = judge(replace(calm(), latency=first(calm().latency, 0.2)))
    assert judged.suspicion[0] > 0.5
    assert not judged.solid.any()


def test_an_uneven_machine_or_one_slow_second_is_no_doubt() -> None:
    assert judge(replace(calm(), latency=first(calm().latency, 0.07))).suspicion[0] < 0.2
    burst = calm().latency.copy()
    burst[0, 0] = 0.4
    assert judge(replace(calm(), latency=burst)).suspicion[0] < 0.2


def test_microseconds_of_difference_are_the_gateways_own() -> None:
    seen = replace(calm(), latency=first(np.full((3, N), 0.0004), 0.003))
    assert judge(seen).suspicion[0] < 0.2


def test_a_broken_latency_objective_is_doubt_unless_the_peers_break_it_too() -> None:
    goal = np.full(N, 0.06)
    assert judge(replace(calm(), latency=first(calm().latency, 0.07)), latency=goal).suspicion[0] > 0.5
    assert judge(replace(calm(), latency=np.full((3, N), 0.07)), latency=goal).suspicion.max() < 0.2


def test_a_stall_is_seen_before_any_time_out_unless_everyone_stalls() -> None:
    quiet, old = first(calm().silence, 1.5), first(calm().oldest, 1.6)
    assert judge(replace(calm(), silence=quiet, oldest=old)).suspicion[0] > 0.5
    assert judge(replace(calm(), silence=np.full(N, 1.5), oldest=np.full(N, 1.6))).suspicion.max() < 0.2


def test_a_tunnel_open_for_hours_is_no_stall() -> None:
    seen = replace(calm(), silence=first(calm().silence, 60.0), oldest=first(calm().oldest, 7200.0))
    assert judge(seen).suspicion[0] < 0.2


def test_failing_checks_lower_and_passing_ones_excuse_nothing() -> None:
    seen = replace(calm(), checks_failed=first(np.zeros(N, dtype=int), 2))
    judged = judge(seen, checked=YES)
    assert judged.suspicion[0] > 0.5
    assert not judged.solid[0]
    failing = replace(calm(), failures=np.eye(N, dtype=int)[0] * calm().attempts)
    assert judge(failing, checked=YES).solid[0]


def test_without_requests_the_checks_decide() -> None:
    none = first(calm().attempts, 0)
    seen = replace(calm(), attempts=none, in_flight=np.zeros(N), checks_failed=first(np.zeros(N, dtype=int), 2))
    assert judge(seen, checked=YES).solid.tolist() == [True, False, False, False, False]


def test_checks_that_fail_everywhere_while_requests_succeed_are_void() -> None:
    assert judge(replace(calm(), checks_failed=np.full(N, 5)), checked=YES).suspicion.max() < 0.05


def test_under_a_classical_policy_requests_move_nobody() -> None:
    seen = replace(calm(), failures=np.eye(N, dtype=int)[0] * calm().attempts)
    assert judge(seen, requests=NO).suspicion.max() < 0.05


def test_the_evidence_reads_as_phrases_strongest_first() -> None:
    seen = replace(calm(), failures=np.eye(N, dtype=int)[0] * calm().attempts, latency=first(calm().latency, 0.2))
    phrases = rule.describe(seen, judge(seen), 0)
    assert phrases == ["500 of 500 attempts failed in 5 s", "latency 200 ms, 5.0 times its peers'"]
    assert rule.describe(seen, judge(seen), 1) == []


def test_a_run_that_the_usual_failures_explain_is_no_end_and_one_that_they_do_not_is() -> None:
    """Four in a row of an endpoint that fails 38 % are chance; ten of one that failed next to nothing are its end."""
    seen = calm()
    run = replace(seen, unlucky=first(seen.unlucky, 0.5))
    often = replace(run, streak=first(seen.streak, 4), failures=first(seen.failures, 190))
    sudden = replace(run, streak=first(seen.streak, 10), failures=first(seen.failures, 10))
    for observed, useless in ((often, False), (sudden, True)):
        judged = judge(observed)
        assert judged.suspicion[0] > 0.9
        assert judged.solid[0]
        assert judged.useless[0] == useless


def test_a_run_of_time_outs_is_one_pause_and_no_end() -> None:
    seen = calm()
    run = replace(
        seen, unlucky=first(seen.unlucky, 0.5), streak=first(seen.streak, 10), failures=first(seen.failures, 10)
    )
    paused = judge(replace(run, timeouts=first(seen.timeouts, 10)))
    assert paused.suspicion[0] > 0.9  # doubt enough to lower it
    assert not paused.solid.any()
    assert judge(run).solid[0]
