"""What a trace tells of its gateway beside the picks: as its header says, or as attempts show that were given up."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptive.types import Cause
from replay.evaluation.attempts import EvaluationError, seen
from replay.evaluation.evaluate import evaluate
from replay.evaluation.gateway import rules
from replay.scenario import Clients, Fault, Instance, Load, Rules, Scenario, Service
from replay.simulator.simulation import simulate
from tests.unit.replay.evaluation.test_fit import queue, trace

ROUTE = 0  # of every row in `trace`


def given_up(after: list[float], longest: float = 0.0) -> Any:
    """A recording in which the first attempts were given up after these times; one other took `longest`."""

    def edit(made: Any) -> None:
        took = np.array([*after, longest] if longest else after)
        made["done"][: len(took)] = made["sent_at"][: len(took)] + took
        made["cause"][: len(after)], made["status"][: len(after)] = Cause.TIMEOUT_ATTEMPT, 0

    return trace([queue(np.random.default_rng(k), 9, 50.0) for k in range(2)], edit=edit)


def test_the_rules_in_the_header_are_those_of_the_route_that_most_took() -> None:
    recording = trace([queue(np.random.default_rng(k), 9, 50.0) for k in range(2)])
    recording.rows["route"][:10] = 1
    told = {"usual": {"attempt_timeout": 0.25, "retries": 1, "check_interval": 0.0}, "other": {"retries": 5}}
    recording.header |= {"routes": ["usual", "other"], "rules": told}
    assert rules(recording.header, seen(recording)) == replace(
        Rules(), attempt_timeout=0.25, retries=1, check_interval=0.0
    )


def test_no_time_out_of_a_route_is_none() -> None:
    recording = trace([queue(np.random.default_rng(k), 9, 50.0) for k in range(2)])
    recording.header |= {"routes": ["usual"], "rules": {"usual": {"route_timeout": 0.0}}}
    assert rules(recording.header, seen(recording)).route_timeout == inf


def test_rules_that_are_none_are_named() -> None:
    recording = trace([queue(np.random.default_rng(k), 9, 50.0) for k in range(2)])
    recording.header |= {"routes": ["usual"], "rules": {"usual": {"budget": [0.2]}}}
    with pytest.raises(EvaluationError, match="rules of the route usual are none"):
        rules(recording.header, seen(recording))


@pytest.mark.parametrize(
    ("recording", "found"),
    [
        (given_up([0.8, 0.803, 0.809]), 0.803),
        (given_up([0.8, 0.803]), 0.0),  # too few
        (given_up([0.3, 0.6, 0.8]), 0.0),  # as learned time-outs do, which differ
        (given_up([0.8, 0.803, 0.809], longest=1.2), 0.0),  # none that every attempt has
    ],
)
def test_without_them_a_time_out_of_attempts_shows_in_those_that_ended_by_it(recording: Any, found: float) -> None:
    assert rules(recording.header, seen(recording)).attempt_timeout == pytest.approx(found)


def test_other_policies_are_judged_under_the_time_outs_that_the_recording_gateway_had() -> None:
    """Some seconds: a recording is fitted and simulated many times over.

    Where an instance hangs, a time-out of attempts with a retry behind it saves nearly every request. A gateway without
    it would lose all of those, and the fit is refused that was made for it.
    """
    hangs = (Fault("hang", 6.0, 14.0, {"p": 1.0}),)
    fleet = tuple(Instance(f"10.0.0.{i}:80", Service(0.04, 0.6), 6, faults=hangs if not i else ()) for i in range(4))
    whole = Scenario(
        "hang", fleet, Load(((0.0, 200.0),), 0.0), Clients(2.0), Rules(attempt_timeout=0.4), seconds=20.0, warm=2.0
    )
    run = simulate(whole, "least_request", 7, record=True)
    header = {
        "clusters": ["fleet"],
        "endpoints": {str(i): ("fleet", one.name) for i, one in enumerate(fleet)},
        "routes": ["route"],
        "rules": {"route": asdict(whole.rules)},
    }
    recording = SimpleNamespace(header=header, rows=run.outcomes, partial="")
    asked: dict[str, Any] = {"logged": "least_request", "warm": whole.warm, "seeds": 2, "draws": 2, "estimators": False}
    found = evaluate(recording, ["peak_ewma"], **asked).of("peak_ewma")
    truth = simulate(whole, "peak_ewma", 7).failures()
    assert found is not None
    assert found.figures["failed"].low <= truth <= found.figures["failed"].high
    with pytest.raises(EvaluationError, match="does not give back what was recorded: p99"):
        evaluate(recording, ["peak_ewma"], rules=Rules(), **asked)
