"""When a simulation counts as like life, and what the table says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from adaptive.bench import fidelity, foretold
from adaptive.bench.fidelity import Result, Row
from adaptive.bench.foretold import Foretold
from adaptive.bench.likeness import PREDICTED, SIMULATED, Figures, by_chance, misorders, misses, pairs, spread
from replay import scenario_file

LIFE = Figures(0.035, 0.140, 40.0)
ROW = Row("calm", "least_request", 1000, LIFE, None, LIFE, (LIFE, LIFE), 0.001)


@pytest.mark.parametrize(
    ("said", "bounds", "wrong"),
    [
        (Figures(0.0367, 0.127, 45.0), SIMULATED, []),
        (Figures(0.0369, 0.140, 40.0), SIMULATED, ["p50 +5.4%"]),
        (Figures(0.0369, 0.115, 40.0), PREDICTED, []),
        (Figures(0.0392, 0.115, 90.0), PREDICTED, ["p50 +12.0%"]),  # of failures, intervals are asked
        (Figures(0.035, 0.140, 46.0), SIMULATED, ["failed +6"]),
        (Figures(0.035, 0.125, 34.0), SIMULATED, ["p99 -10.7%", "failed -6"]),
    ],
)
def test_figures_may_be_off_by_so_much(said: Figures, bounds: object, wrong: list[str]) -> None:
    assert misses(said, LIFE, bounds) == wrong  # type: ignore[arg-type]


def test_many_failures_may_be_off_by_a_tenth() -> None:
    assert misses(dataclasses.replace(LIFE, failed=1090.0), dataclasses.replace(LIFE, failed=1000.0), SIMULATED) == []


def test_policies_that_differ_must_come_in_the_right_order() -> None:
    truth = {"a": LIFE, "b": Figures(0.036, 0.160, 100.0)}
    assert pairs(truth) == 2  # p50 is within 5 %
    assert misorders(truth, truth) == []
    said = {"a": Figures(0.037, 0.170, 41.0), "b": Figures(0.036, 0.160, 99.0)}
    assert misorders(said, truth) == ["p99 of a is less than of b"]


def test_quantiles_are_by_rank() -> None:
    assert Figures.of(np.arange(100.0), 3.0) == Figures(50.0, 99.0, 3.0)


def test_two_live_runs_are_apart_by_the_median() -> None:
    off = spread([LIFE] * 3, [LIFE, Figures(0.0357, 0.147, 42.0), Figures(0.0357, 0.147, 42.0)])
    assert (off.p50, off.p99, off.failed) == pytest.approx((0.02, 0.05, 2.0), rel=0.05)


def test_the_verdict_counts_rows_orders_and_predictions() -> None:
    wrong = dataclasses.replace(ROW, policy="adaptive", simulated=Figures(0.04, 0.14, 40.0))
    said = dataclasses.replace(LIFE, failed=48.0)
    told = Foretold(
        "calm", "least_request", "adaptive", LIFE, said, ((0.03, 0.04), (0.1, 0.2), (41.0, 50.0)), None, LIFE
    )
    result = Result(0.0008, (ROW, wrong), (told, dataclasses.replace(told, said=None, intervals=None, reason="why")))
    text = "\n".join(fidelity.table(result))
    assert "1 of 2 rows" in text and "1 of 2 within 10 %" in text and "1 refused" in text
    assert "0 of 1 rows within 10 % or 5 requests, off by +8 to +8 requests" in text
    assert "intervals hold 2 of 3 figures" in text and "plain IPS: 0 of 1 fail" in text
    assert not result.passed and Result(0.0008, (ROW,), ()).passed
    assert "outside: failed" in foretold.line(told)
    assert "WRONG: p50 +14.3%" in fidelity.line(wrong)


def test_chance_explains_life_only_as_far_as_other_luck_moves_the_simulation() -> None:
    draws = tuple(Figures(0.035, 0.14 * (1 + 0.01 * k), 40.0 + 10.0 * k) for k in (-2, -1, 0, 1, 2))
    assert by_chance(draws, Figures(0.035, 0.145, 70.0)) == [True, True, True]
    assert by_chance(draws, Figures(0.036, 0.16, 100.0)) == [False, False, False]
    assert by_chance(draws, Figures(0.035, 0.14, 75.0), lives=4) == [True, True, False]  # a mean of four varies less
    off = dataclasses.replace(ROW, live=dataclasses.replace(LIFE, p50=0.0351, failed=70.0), draws=draws)
    assert "WRONG: failed -30, which chance explains" in fidelity.line(off)
    text = "\n".join(fidelity.table(Result(0.0008, (ROW, off), ())))
    assert "1 of 2 rows" in text and "1 more within what chance explains" in text
    assert not Result(0.0008, (ROW, off), ()).passed


def test_a_row_whose_load_was_late_is_not_judged() -> None:
    late = dataclasses.replace(ROW, simulated=Figures(0.08, 0.4, 40.0), late=0.02)
    assert "not judged: the load was 20.0 ms late" in fidelity.line(late)
    assert Result(0.0008, (ROW, late), ()).passed and not Result(0.0008, (late,), ()).passed
    assert "1 not judged" in "\n".join(fidelity.table(Result(0.0008, (ROW, late), ())))


def test_answers_that_must_fail_are_checked_for_failing() -> None:
    off = Figures(0.07, 0.3, 400.0)
    told = Foretold("calm", "a", "b", LIFE, LIFE, ((0.03, 0.04), (0.1, 0.2), (30.0, 50.0)), off, off)
    assert foretold.shown([told]) and Result(0.0008, (ROW,), (told,)).passed
    right = dataclasses.replace(told, naive=LIFE)  # as good as ours: nothing is shown
    assert not foretold.shown([right]) and not Result(0.0008, (ROW,), (right,)).passed
    assert foretold.shown([told, right])
    text = "\n".join(foretold.table([told, right]))
    assert "reassigned: 1 of 2 fail the same check, of ours 0" in text and "IPS: 2 of 2" in text
    assert "oftener than ours: holds" in text and "does not hold" in "\n".join(foretold.table([right]))


def test_our_own_scenarios_are_whole() -> None:
    assert [one.name for one in fidelity.scenarios(fidelity.OWN)] == ["pauses", "restart"]


def test_judging_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no live runs"):
        fidelity.judge(tmp_path, print)


def test_a_scenario_file_is_written_back_the_same() -> None:
    for one in fidelity.scenarios(fidelity.OWN):
        assert scenario_file.of(scenario_file.to_json(one), one.name) == one
