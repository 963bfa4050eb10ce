"""The ladder, rung by rung."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adaptive.policy import ladder
from adaptive.policy.ladder import Rung, Sight
from adaptive.types import Health

CALM = Sight(0.02, 0.02, False, float("nan"), 0, 0, 0, 0, 0, "")
BAD = CALM._replace(suspicion=0.99, solid=True, evidence="it fails")
TICK = 0.1


def run(rung: Rung, at: float, seconds: float, sight: Sight) -> float:
    """Ticks with one sight, taking every move; returns the time after."""
    for _ in range(round(seconds / TICK)):
        at += TICK
        move = rung.propose(at, sight)
        if move is not None:
            rung.move(at, move.to, move.reason, sight.attempts, sight.failures)
    return at


def at_rung(health: Health, **fields: Any) -> Rung:
    return Rung(health=health, since=0.0, **fields)


def test_calm_moves_nothing() -> None:
    rung = Rung()
    run(rung, 0.0, 60.0, CALM)
    assert rung == Rung()


def test_doubt_lowers_after_two_ticks_and_certainty_at_once() -> None:
    doubt = CALM._replace(suspicion=0.6)
    rung = Rung()
    assert rung.propose(0.1, doubt) is None
    assert rung.propose(0.2, CALM) is None
    assert rung.propose(0.3, doubt) is None
    move = rung.propose(0.4, doubt)
    assert move is not None
    assert move.to == Health.DEGRADED
    assert Rung().propose(0.1, BAD) is not None


def test_doubt_alone_never_goes_below_lowered() -> None:
    rung = Rung()
    run(rung, 0.0, 120.0, CALM._replace(suspicion=0.99, probability=1.0))
    assert rung.health == Health.DEGRADED


def test_a_prediction_lowers_and_never_ejects() -> None:
    rung = Rung()
    run(rung, 0.0, 120.0, CALM._replace(probability=0.95))
    assert rung.health == Health.DEGRADED
    assert rung.reason == "predicted to fail with probability 0.95"


def test_solid_evidence_goes_down_rung_by_rung() -> None:
    rung = Rung()
    run(rung, 0.0, 3.0, BAD)
    assert [after for _, _, after, _ in rung.history] == [Health.DEGRADED, Health.CANARY, Health.EJECTED]


def test_between_the_two_thresholds_nothing_moves() -> None:
    between = CALM._replace(suspicion=(ladder.LOWER + ladder.RAISE) / 2)
    for health in (Health.HEALTHY, Health.DEGRADED):
        rung = at_rung(health)
        run(rung, 0.0, 60.0, between)
        assert rung.health == health


def test_each_relapse_doubles_the_stay_up_to_a_bound_and_calm_heals_it() -> None:
    rung, at, stays = Rung(), 0.0, []
    for _ in range(8):
        at = run(rung, at, 0.3, CALM._replace(suspicion=0.95))
        since = rung.since
        while rung.health != Health.HEALTHY:
            at = run(rung, at, TICK, CALM._replace(attempts=rung.attempts + ladder.PROOF))
        stays.append(round(at - since, 1))
    assert stays == pytest.approx([2.0, 4.0, 8.0, 16.0, 32.0, 32.0, 32.0, 32.0], abs=1.5 * TICK)
    run(rung, at, ladder.HEAL * ladder.LEVELS + 1, CALM)
    assert rung.level == 0


def test_an_ejected_endpoint_waits_and_gets_a_trial() -> None:
    rung = at_rung(Health.EJECTED)
    run(rung, 0.0, ladder.EJECTED_HOLD - 0.1, CALM)
    assert rung.health == Health.EJECTED
    run(rung, ladder.EJECTED_HOLD - 0.1, 0.2, CALM)
    assert rung.health == Health.CANARY
    assert rung.trial


def test_failing_checks_keep_it_out_and_their_passing_brings_an_early_trial() -> None:
    rung = at_rung(Health.EJECTED, level=5)
    at = run(rung, 0.0, 200.0, CALM._replace(checks_failed=3))
    assert rung.health == Health.EJECTED
    run(rung, at, 0.2, CALM._replace(checks_passed=2))
    assert rung.health == Health.CANARY


def test_checks_that_passed_all_along_earn_nothing() -> None:
    rung = at_rung(Health.EJECTED, level=3)
    run(rung, 0.0, 11.0, CALM._replace(checks_passed=50))
    assert rung.health == Health.EJECTED


def test_a_canary_whose_trial_requests_succeed_comes_back() -> None:
    rung = at_rung(Health.CANARY, trial=True)
    run(rung, 0.0, 0.2, CALM._replace(attempts=5))
    assert rung.health == Health.HEALTHY
    assert rung.reason == "5 of 5 requests succeeded since"


def test_a_canary_whose_trial_requests_fail_is_ejected_for_longer() -> None:
    rung = at_rung(Health.CANARY, trial=True, level=1)
    run(rung, 0.0, 1.2, CALM._replace(attempts=3, failures=3, checks_passed=9))
    assert rung.health == Health.EJECTED
    assert rung.level == 2


def test_what_was_seen_before_a_trial_does_not_fail_it() -> None:
    rung = at_rung(Health.CANARY, trial=True)
    run(rung, 0.0, 4.0, BAD._replace(streak=20))
    assert rung.health == Health.CANARY


def test_passing_checks_bring_nobody_back_who_has_had_requests() -> None:
    for health in (Health.DEGRADED, Health.CANARY):
        rung = at_rung(health, attempts=9)
        run(rung, 0.0, ladder.UNTRIED - 0.2, CALM._replace(attempts=9, checks_passed=50))
        assert rung.health == health
        run(rung, ladder.UNTRIED - 0.2, 0.4, CALM._replace(attempts=9, checks_passed=50))
        assert rung.health == Health.HEALTHY


@pytest.mark.parametrize("health", [Health.DEGRADED, Health.CANARY])
def test_what_failed_as_it_was_lowered_does_not_keep_it_out_for_good_where_nobody_tries_it(health: Health) -> None:
    """Requests that must not be sent twice go elsewhere, so that no success can ever show that it works again."""
    rung = at_rung(health, attempts=100, failures=3, failed=3, level=1, trial=True)
    after = CALM._replace(attempts=101, failures=4)
    at = run(rung, 0.0, 5.0, CALM._replace(attempts=100, failures=3))
    at = run(rung, at, ladder.UNTRIED - 1.0, after)
    assert rung.health == health
    run(rung, at, 2.0, after)
    assert rung.health == Health.HEALTHY


def test_failures_now_and_then_keep_it_out() -> None:
    rung = at_rung(Health.DEGRADED, attempts=100, failures=3, failed=3, level=1)
    at = 0.0
    for k in range(10):
        at = run(rung, at, 20.0, CALM._replace(attempts=100 + k, failures=3 + k))
    assert rung.health == Health.DEGRADED


def test_without_any_requests_passing_checks_are_enough() -> None:
    rung = at_rung(Health.CANARY)
    run(rung, 0.0, ladder.LOWERED_HOLD + 0.2, CALM._replace(checks_passed=2))
    assert rung.health == Health.HEALTHY


def test_the_history_is_bounded() -> None:
    rung = Rung()
    for i in range(50):
        rung.move(float(i), Health.DEGRADED if i % 2 else Health.HEALTHY, "x", 0, 0)
    assert len(rung.history) == 10


@pytest.mark.parametrize("trial", [True, False])
def test_a_canary_that_answers_ten_in_a_row_returns_whatever_the_windows_still_hold(trial: bool) -> None:
    rung = at_rung(Health.CANARY, trial=trial, attempts=90, failures=40, failed=40)
    old = BAD._replace(attempts=99, failures=40)
    assert rung.propose(0.1, old) is None
    move = rung.propose(0.2, old._replace(attempts=100))
    assert move is not None
    assert move.to == Health.HEALTHY


def test_a_canary_that_fails_now_and_then_or_is_slow_does_not_return_by_its_answers() -> None:
    failing = at_rung(Health.CANARY, trial=True, attempts=90, failures=40, failed=40)
    assert failing.propose(0.1, BAD._replace(attempts=99, failures=41)) is None
    assert failing.propose(0.2, BAD._replace(attempts=108, failures=41)) is None  # nine since the last failure
    slow = at_rung(Health.CANARY, trial=True, attempts=90, failures=40, failed=40)
    assert slow.propose(0.1, BAD._replace(attempts=120, failures=40, aside=0.6)) is None


def test_a_canary_on_its_way_down_that_answers_again_is_not_ejected_for_what_was_before() -> None:
    rung = at_rung(Health.CANARY, attempts=90, failures=40, failed=40)
    assert rung.propose(1.5, BAD._replace(attempts=95, failures=40, streak=0)) is None
    move = rung.propose(1.6, BAD._replace(attempts=96, failures=41, streak=1))
    assert move is not None
    assert move.to == Health.EJECTED


def test_one_that_the_rest_cannot_do_without_is_tried_again_soon_however_often_it_fell() -> None:
    for needed, least in ((False, ladder.EJECTED_HOLD * 2 ** (ladder.LEVELS - 1)), (True, ladder.NEEDED_HOLD)):
        rung = at_rung(Health.EJECTED, level=ladder.LEVELS)
        assert rung.propose(least - TICK, BAD._replace(needed=needed)) is None
        assert rung.propose(least + TICK, BAD._replace(needed=needed)) is not None


def test_failures_alone_do_not_eject_one_that_the_rest_cannot_do_without_but_failing_checks_do() -> None:
    failing = BAD._replace(attempts=100, failures=100, streak=100)
    for sight, after in (
        (failing, Health.EJECTED),
        (failing._replace(needed=True), Health.CANARY),
        (failing._replace(needed=True, checks_failed=2), Health.EJECTED),
    ):
        rung = at_rung(Health.CANARY)
        run(rung, 0.0, 2 * ladder.EJECT_AFTER, sight)
        assert rung.health == after


def test_fewer_answers_in_a_row_bring_back_one_that_the_rest_cannot_do_without() -> None:
    answered = CALM._replace(suspicion=0.99, attempts=ladder.NEEDED_PROOF)
    assert at_rung(Health.CANARY).propose(1.0, answered) is None
    move = at_rung(Health.CANARY).propose(1.0, answered._replace(needed=True))
    assert move is not None
    assert move.to == Health.HEALTHY


def test_a_canary_that_answers_again_is_not_ejected_for_what_failed_before_nor_at_once_for_checks_that_are_older() -> (
    None
):
    rung = at_rung(Health.CANARY)
    down = BAD._replace(checks_failed=3)
    at = run(rung, 0.0, ladder.EJECT_AFTER - TICK, down._replace(attempts=10, failures=10, streak=10))
    assert rung.health == Health.CANARY
    back = down._replace(attempts=10 + ladder.NEEDED_PROOF, failures=10)
    run(rung, at, ladder.AGAIN - ladder.EJECT_AFTER, back)
    assert rung.health == Health.CANARY
    fallen = dataclasses.replace(rung)
    run(fallen, at + 1.0, TICK, back._replace(attempts=11 + ladder.NEEDED_PROOF, failures=11, streak=1))
    assert fallen.health == Health.EJECTED
    run(rung, at, 2 * ladder.AGAIN, back)  # its checks go on failing
    assert rung.health == Health.EJECTED
