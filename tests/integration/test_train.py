"""`adaptive train` and `adaptive models` on days of calls: real ones where they are at hand, and bad ones."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.commands import failure, run

NEZHA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "nezha"
DAY = NEZHA / "2022-08-22"
needs_nezha = pytest.mark.skipif(not DAY.is_dir(), reason="../shared/data/nezha is not here")
HEADER = "trace,start_ns,caller,callee,op,client_us,server_us,ok\n"


@needs_nezha
def test_a_real_day_trains_a_model_that_beats_every_rule_on_its_later_part(tmp_path: Path) -> None:
    """Takes some ten seconds: two readings of 203,000 calls, and intervals over blocks."""
    trained = run("train", DAY, "--faults", DAY / "2022-08-22-fault_list.json", "--store", tmp_path, "--as", "champion")
    assert trained.exit_code == 0, trained.output
    name = trained.stdout.strip()
    scored = run("models", "score", "champion", DAY, "--after", "0.6", "--out", "json", "--store", tmp_path)
    told = json.loads(scored.stdout)["average_precision"]
    value = {key: figure[0] for key, figure in told.items()}
    model = value.pop("model")
    assert model > 0.80
    assert model > max(v for key, v in value.items() if "p95" in key or "rule" in key) + 0.1
    shown = run("models", "show", name, "--store", tmp_path).stdout
    assert "# Model of pods" in shown and f"{model:.3f}" in shown
    assert "champion" in run("models", "list", "--store", tmp_path).stdout


def day(folder: Path, kind: str = "cpu_consumed") -> Path:
    """Half an hour of two pods, one of which is slow for three minutes early and late."""
    folder.mkdir()
    lines = []
    for i in range(3600):
        at = i * 0.5
        for pod, slow in (("a", 300 <= at < 480 or 1500 <= at < 1680), ("b", False)):
            lines.append(f"t{i},{int(at * 1e9)},front,{pod},op,{200_000 if slow else 9_000 + i % 7 * 500},1000,1\n")
    (folder / "d_edges.csv").write_text(HEADER + "".join(lines))
    times = ("1970-01-01 00:05:00", "1970-01-01 00:25:00")
    faults = [{"inject_time": time, "inject_pod": "a", "inject_type": kind} for time in times]
    (folder / "d-fault_list.json").write_text(json.dumps(faults))
    return folder


def test_the_default_model_scores_any_day_and_writes_its_probabilities(tmp_path: Path) -> None:
    file = tmp_path / "said.csv"
    scored = run("models", "score", "default", day(tmp_path / "day"), "--out", "json", "--predictions", file)
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["average_precision"]["model"][0] > 0.8
    said = file.read_text().splitlines()
    assert said[0] == "pod,at_seconds,calls,probability,fault_within_30s"
    assert len(said) == 1 + 2 * 180 and said[1].startswith("a,10,")


def other_system(folder: Path, seed: int) -> Path:
    """Most of an hour of eight pods that no model has seen, in a chain, with queues that come and go everywhere; three
    are ill for three minutes, in other ways than those of training. The table is as another exporter writes it: columns
    in another order, one more, none that nobody reads, a byte order mark; the faults' times have a zone.
    """
    folder.mkdir()
    rng = np.random.default_rng(seed)
    pods = [f"ts-{name}-service-7d9c5b8f4-x{i}k2v" for i, name in enumerate("abcdefgh")]
    slow, busy_node = "network_delay", "cpu_contention"
    ill = {1: (600.0, 2.5, slow), 4: (1400.0, 4.0, busy_node), 6: (2200.0, 1.8, slow)}
    lines = []
    for callee in range(1, len(pods)):
        at = np.sort(rng.uniform(0, 2700.0, 2700))
        busy = np.interp(at, np.arange(0, 2760, 60), rng.lognormal(0.0, 0.25, 46))
        waited = 20e3 * busy * rng.lognormal(0.0, 0.6, len(at))
        if callee in ill:
            start, factor, _ = ill[callee]
            waited[(at >= start) & (at < start + 180)] *= factor
        own = 0.4 * 20e3 * rng.lognormal(0.0, 0.4, len(at))
        for t, both, mine in zip(at, waited + own, own, strict=True):
            lines.append(f"{int(mine)},{int(both)},{pods[callee]},{pods[callee - 1]},GET /{callee},{int(t * 1e9)},x\n")
    head = "\ufeffserver_us,client_us,callee,caller,op,start_ns,cluster\n"
    (folder / "other_edges.csv").write_text(head + "".join(lines))
    faults = [
        {
            "inject_time": datetime.fromtimestamp(start, timezone(timedelta(hours=8))).isoformat(),
            "inject_pod": pods[pod],
            "inject_type": kind,
        }
        for pod, (start, _, kind) in ill.items()
    ]
    (folder / "other-fault_list.json").write_text(json.dumps({"0": faults}))
    return folder


@pytest.mark.parametrize("seed", [1, 2])
def test_on_another_system_with_other_faults_no_rule_is_better_than_the_default_model(
    tmp_path: Path, seed: int
) -> None:
    """Some two seconds each: 19,000 calls, and intervals over blocks."""
    scored = run("models", "score", "default", other_system(tmp_path / "day", seed), "--out", "json")
    assert scored.exit_code == 0, scored.output
    told = {name: figure[0] for name, figure in json.loads(scored.stdout)["average_precision"].items()}
    rules = {name: value for name, value in told.items() if "p95" in name or "rule" in name}
    assert len(rules) == 3
    assert told["model"] >= max(rules.values())
    assert max(rules.values()) < 0.99  # else nothing is compared


def test_one_class_only_is_said_and_nothing_is_saved(tmp_path: Path) -> None:
    calm = day(tmp_path / "day", kind="return")
    said = failure("train", calm, "--store", tmp_path / "store")
    assert "one class only: no row has a latency fault" in said
    assert not (tmp_path / "store").exists()
    assert "one class only" in failure("models", "score", "default", calm)


def test_a_file_without_a_list_of_faults_is_asked_for_one(tmp_path: Path) -> None:
    file = day(tmp_path / "day") / "d_edges.csv"
    assert failure("models", "score", "default", file).endswith("Name the list with --faults FILE")


def test_an_unknown_version_is_named(tmp_path: Path) -> None:
    assert "has no version 'abc'" in failure("models", "show", "abc", "--store", tmp_path)
    assert "has no champion" in failure("models", "score", "champion", day(tmp_path / "day"), "--store", tmp_path)


def test_names_are_given_and_taken_back(tmp_path: Path) -> None:
    where = day(tmp_path / "day")
    (store := tmp_path / "store").mkdir()
    first = run("train", where, "--store", store).stdout.strip()
    second = run("train", where, "--store", store, "--seed", "1").stdout.strip()
    assert first != second
    assert run("models", "promote", first[:8], "--store", store).stdout == f"{first} is the champion\n"
    assert run("models", "promote", second, "--store", store, "--reason", "newer").exit_code == 0
    assert run("models", "rollback", "--store", store).stdout == f"{first} is the champion again\n"
    assert run("models", "rollback", "--store", store).stdout == "the default model serves\n"
    assert "no champion to roll back" in failure("models", "rollback", "--store", store)
