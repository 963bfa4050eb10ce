"""Two policies side by side: what the command tells of them, and what it refuses to tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import Cause, Mark
from replay import trace as traces
from replay.evaluation.attempts import EvaluationError
from replay.evaluation.experiment import document, experiment
from replay.trace import Header, Trace
from tests.commands import failure, run
from tests.unit.replay.evaluation.test_differences import TRUTH, queue


def recording(n: int, seed: int = 3) -> Trace:
    """The queue of `queue`, as if one endpoint had been that of two clusters, a policy each."""
    due, latency, second = queue(seed, n)
    rows = np.zeros(n, OUTCOME_DTYPE)
    rows["sent_at"], rows["done"], rows["first_byte"] = due, due + latency, due + latency
    rows["request"], rows["attempt"], rows["status"] = np.arange(n), 1, 200
    rows["cause"], rows["propensity"], rows["connect"] = int(Cause.RESPONSE), 1.0, 0.0
    rows["marks"] = int(Mark.FINAL | Mark.REPEATABLE)
    rows["cluster"] = rows["slot"] = second
    endpoints = {"0": ("api", "127.0.0.1:9100"), "1": ("api-b", "127.0.0.1:9100")}
    header = Header(clusters=["api", "api-b"], routes=["route-1"], endpoints=endpoints)
    return Trace(header, rows)


def changed(made: Trace, **columns: np.ndarray) -> Trace:
    """The same with other columns."""
    rows = made.rows.copy()
    for name, values in columns.items():
        rows[name] = values
    return replace(made, rows=rows)


def test_all_traffic_under_the_second_is_told_from_half_of_it() -> None:
    """One server: closed forms say what a switch would do, and the plain difference is a seventeenth of it."""
    found = experiment(recording(100_000), "api", "api-b", timeout=100.0)
    effect = found.effects["mean"]
    assert effect.dq.low < TRUTH < effect.dq.high
    assert effect.dq.high < 0.0
    assert effect.naive.low > TRUTH
    assert found.effects["failed_share"].dq.estimate == 0.0
    made = document(found, "adaptive evaluate", {}, 0)
    assert [(c["policy"], c["to"], c["figure"], c["better"]) for c in made["compared"]] == [
        ("api-b", "api", "mean", True),
        ("api-b", "api", "failed_share", None),
    ]
    assert sum(row["requests"] for row in made["rows"]) == pytest.approx(100_000, abs=20)
    assert "by chance" in made["facts"][0]


def test_what_was_not_divided_by_chance_is_refused() -> None:
    """Each time with what tells it: turns, kinds of requests, queues that one policy met and the other did not."""
    made = recording(20_000)
    n = len(made.rows)
    turns = np.arange(n) // 2000 % 2
    with pytest.raises(EvaluationError, match=r"share of api-b goes from 0\.0% to 100\.0% over time"):
        experiment(changed(made, cluster=turns, slot=turns), "api", "api-b")
    marks = np.where(made.rows["cluster"] == 1, int(Mark.FINAL), made.rows["marks"])
    with pytest.raises(EvaluationError, match=r"0\.0% of the requests of api and 100\.0% of those of api-b"):
        experiment(changed(made, marks=marks), "api", "api-b")
    longer = (np.roll(made.rows["done"], 1) > made.rows["sent_at"] + 1.0).astype(int)
    late = np.where(np.random.default_rng([2]).random(n) < 0.8, made.rows["cluster"], longer)
    with pytest.raises(EvaluationError, match="feature 0 of the state differs"):
        experiment(changed(made, cluster=late, slot=late), "api", "api-b")


def test_what_holds_no_experiment_is_refused() -> None:
    made = recording(4_000)
    n = len(made.rows)
    apart = replace(made.header, endpoints={**made.header.endpoints, "1": ("api-b", "127.0.0.1:9101")})
    with pytest.raises(EvaluationError, match=r"not one fleet: only one of them has 127.0.0.1:9100, 127.0.0.1:9101"):
        experiment(replace(made, header=apart), "api", "api-b")
    with pytest.raises(EvaluationError, match="no rows of cluster 'other'"):
        experiment(made, "api", "other")
    with pytest.raises(EvaluationError, match="named twice"):
        experiment(made, "api", "api")
    halves = (np.arange(n) >= n // 2).astype(int)
    with pytest.raises(EvaluationError, match=r"at the same time for 0 s"):
        experiment(changed(made, cluster=halves, slot=halves), "api", "api-b")
    few = (np.random.default_rng([1]).random(n) < 0.01).astype(int)
    with pytest.raises(EvaluationError, match=r"each needs at least 100"):
        experiment(changed(made, cluster=few, slot=few), "api", "api-b")


def test_the_command_answers_from_a_file_and_says_what_it_wants(tmp_path: Path) -> None:
    path = tmp_path / "both.parquet"
    traces.write(recording(20_000), path)
    found = run("evaluate", path, "--experiment", "api,api-b", "--timeout", "100", "--threshold", "api-b:p50<1us")
    assert found.exit_code == 99
    assert "had all of the traffic been the one's, and not the other's" in found.stdout
    assert "plain difference of mean" in found.stdout
    assert "has 127" not in failure("evaluate", path, "--experiment", "api,nobody")
    assert run("evaluate", path, "--experiment", "api").exit_code == 2
    assert run("evaluate", path, "--experiment", "api,api-b", "--policy", "adaptive").exit_code == 2
    assert run("evaluate", path).exit_code == 2
