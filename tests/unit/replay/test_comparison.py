"""`adaptive simulate`: policies compared in a scenario; intervals, series, traces; equal bytes from equal seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from adaptive.cli import app
from adaptive.failure import Failure
from replay.comparison import SEEDS, over_seeds, part, report
from replay.sweep.cells import Stock, grid
from replay.trace import read

ROOT = Path(__file__).resolve().parents[3]
ARENA = ROOT.parent / "shared" / "arena" / "scenarios"
SHORT = ["--seconds", "6", "-n", "5"]


def told(*arguments: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, ["simulate", *arguments, "--out", "json"])
    assert found.exit_code == 0, found.output
    made: dict[str, Any] = json.loads(found.stdout)
    return made


@pytest.fixture(scope="module")
def hang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet in the flat form, one instance of which hangs from 3 to 9 s."""
    path = tmp_path_factory.mktemp("scenarios") / "hang.json"
    hung = {"kind": "hang", "from": 3, "to": 9, "p": 1}
    fleet = [{"port": 9100 + i, "mean_ms": 20, "sigma": 0.5, "faults": [hung] * (i == 1)} for i in range(4)]
    flat = {"name": "hung", "seed": 3, "seconds": 10, "warm_s": 1, "rate": 300, "post_share": 0.5, "instances": fleet}
    path.write_text(json.dumps(flat))
    return path


def test_a_file_is_compared_under_several_policies(hang: Path) -> None:
    made = told(str(hang), "--policy", "adaptive,round_robin,clairvoyant")
    assert [row["policy"] for row in made["rows"]] == ["adaptive", "round_robin", "clairvoyant"]
    adaptive, turns, limit = made["rows"]
    assert turns["p99"] > 2 * adaptive["p99"] > 1.6 * limit["p99"]
    assert turns["failed"] > 20 > adaptive["failed"]
    for row in made["rows"]:
        assert row["scenario"] == "hung"
        assert row["intervals"]["p99"] == [None, None]  # one event fills a third of it: chance cannot be told
        assert row["attempts_per_request"] >= 1.0
    assert "blocks of time: an interval needs at least 10" in made["warnings"][0]
    worse = next(c for c in made["compared"] if c["policy"] == "round_robin" and c["figure"] == "failed")
    assert worse["to"] == "adaptive" and worse["difference"] > 20
    assert set(made["series"]["latency"]) == {"adaptive", "round_robin", "clairvoyant"}
    assert made["series"]["weights"]["adaptive"]["of"] == "weight"
    assert made["series"]["weights"]["clairvoyant"]["of"] == "attempts"
    first = made["moves"][0]
    assert (first["endpoint"], first["policy"]) == ("127.0.0.1:9101", "adaptive")
    assert "timed out" in first["reason"]
    steps = made["series"]["states"]["adaptive"]["127.0.0.1:9101"]
    assert steps[0] == [0.0, "HEALTHY"] and steps[1][1] == "DEGRADED"


def test_the_arena_s_own_files_are_read_as_they_are() -> None:
    """Two seconds: 40 s of 1,000 requests/s."""
    path = ARENA / "hang.json"
    if not path.exists():
        pytest.skip("the arena's scenarios are not here")
    made = told(str(path), "--policy", "gates")
    assert made["rows"][0]["scenario"] == "hang" and made["rows"][0]["requests"] == 35035


def test_several_scenarios_have_rows_and_series_of_their_own() -> None:
    made = told("s4_crash", "s1_slow_node", *SHORT, "--policy", "gates,least_request_all")
    assert [(r["scenario"], r["policy"]) for r in made["rows"]] == [
        (s, p) for s in ("s4_crash", "s1_slow_node") for p in ("gates", "least_request_all")
    ]
    assert "s4_crash: gates" in made["series"]["latency"]
    assert set(made["hashes"]) == {"scenario s4_crash", "scenario s1_slow_node", "runs"}


# Intervals.


def test_intervals_are_over_seeds_where_there_are_enough() -> None:
    cells = grid(["s4_crash"], ["gates", "c3_ranking"], [5], [0.7], range(SEEDS), Stock(seconds=3.0))
    made = report([part(cell) for cell in cells], "again")
    row = made["rows"][0]
    own = np.log([part(cell).figures()["p99"] for cell in cells if cell.policy == "gates"])
    assert row["p99"] == pytest.approx(np.exp(own.mean()))
    half = 2.776 * own.std(ddof=1) / np.sqrt(SEEDS)  # Student's t with 4 degrees of freedom
    assert row["intervals"]["p99"] == pytest.approx([np.exp(own.mean() - half), np.exp(own.mean() + half)], rel=1e-3)
    assert made["seeds"] == list(range(SEEDS))


def test_differences_are_paired_and_so_narrower_than_their_parts() -> None:
    cells = grid(["s14_other_mix"], ["least_request_all", "gates"], [5], [0.7], [0], Stock(seconds=20.0))
    made = report([part(cell) for cell in cells], "again")
    one = next(c for c in made["compared"] if c["figure"] == "p50")
    low, high = one["interval"]
    first, second = made["rows"][0]["intervals"]["p50"]
    assert low is not None and high is not None and first is not None and second is not None
    assert first <= made["rows"][0]["p50"] <= second
    assert high - low < 0.5 * (second - first)


def test_the_same_policy_differs_from_itself_by_nothing() -> None:
    value, (low, high) = over_seeds(np.zeros(6), logarithms=False)
    assert (value, low, high) == (0.0, 0.0, 0.0)
    value, (low, high) = over_seeds(np.full(5, 0.2), logarithms=True)
    assert (value, low, high) == pytest.approx((0.2, 0.2, 0.2))


# Promises and what goes wrong.


def test_a_broken_threshold_is_exit_code_99() -> None:
    asked = ["simulate", "s4_crash", *SHORT, "--policy", "gates"]
    assert CliRunner().invoke(app, [*asked, "--threshold", "p99<1s"]).exit_code == 0
    broken = CliRunner().invoke(app, [*asked, "--threshold", "p99<1ms"])
    assert broken.exit_code == 99
    assert "broken: p99<1ms" in broken.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["s4_crash", "--policy", "nobody"], ["s4_crash", "--threshold", "p98<1s"], ["s4_crash", "-n", "0"],
        ["s4_crash", "--record", "x.parquet"], ["s4_crash", "--exact"], [],
    ],
)  # fmt: skip
def test_wrong_usage_is_told(wrong: list[str]) -> None:
    assert CliRunner().invoke(app, ["simulate", *wrong]).exit_code == 2


def test_a_scenario_that_cannot_be_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"rate": -5, "instances": [{"port": 9100}]}')
    with pytest.raises(Failure, match=r"bad\.json: rate: -5"):
        CliRunner().invoke(app, ["simulate", str(path)], catch_exceptions=False)
    with pytest.raises(Failure, match="there is no scenario 's99'"):
        CliRunner().invoke(app, ["simulate", "s99"], catch_exceptions=False)


def test_a_run_is_recorded_as_a_trace(hang: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    made = told(str(hang), "--policy", "least_request@random=0.01", "--record", str(path))
    trace = read([path])
    assert not trace.partial
    assert trace.header.seeds == {"simulation": 3}
    assert {pair[1] for pair in trace.header.endpoints.values()} == {f"127.0.0.1:{9100 + i}" for i in range(4)}
    judged = trace.rows["sent_at"] >= 1.0
    assert judged.sum() == pytest.approx(
        made["rows"][0]["requests"] * made["rows"][0]["attempts_per_request"], rel=0.01
    )


def test_any_scenario_takes_the_arrivals_of_a_file(hang: Path, tmp_path: Path) -> None:
    counts = tmp_path / "counts.csv"  # nothing at first, and three times as much in the last third
    counts.write_text("period,count\n" + "".join(f"2024-01-01 0{i}:00:00,{n}\n" for i, n in enumerate((0, 100, 300))))
    made = [
        read_recorded(hang, tmp_path / f"{i}.parquet", *more) for i, more in enumerate(([], ["--arrivals", counts]))
    ]
    plain, shaped = (np.histogram(found, 3, (0.0, 10.0))[0] for found in made)
    assert plain.min() > 800 and shaped[0] == 0
    assert shaped[2] == pytest.approx(3 * shaped[1], rel=0.15) and shaped.sum() == pytest.approx(plain.sum(), rel=0.1)
    exact = read_recorded(hang, tmp_path / "exact.parquet", "--arrivals", tmp_path / "0.parquet", "--exact")
    due = np.sort(made[0]) - made[0].min()
    assert np.allclose(np.sort(exact), due[due < 10.0])
    with pytest.raises(Failure, match=r"counts\.csv: only counts are known"):
        read_recorded(hang, tmp_path / "none.parquet", "--arrivals", counts, "--exact")
    with pytest.raises(Failure, match=r"nothing\.csv: No such file"):
        read_recorded(hang, tmp_path / "none.parquet", "--arrivals", tmp_path / "nothing.csv")


def read_recorded(scenario: Path, path: Path, *more: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    """When the first attempts of a run were sent."""
    asked = ["simulate", str(scenario), "--policy", "random", "--record", str(path), *map(str, more)]
    assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    rows = read([path]).rows
    return rows["sent_at"][rows["attempt"] == 1]


@pytest.mark.parametrize("wrong", [["--policy", "nobody"], ["--policy", ","], ["--policy", "random", "--logged", "me"]])
def test_evaluate_refuses_a_policy_that_does_not_exist_before_it_reads_the_trace(wrong: list[str]) -> None:
    refused = CliRunner().invoke(app, ["evaluate", "/not/there", *wrong])
    assert refused.exit_code == 2
    assert "there is no policy" in refused.stderr or "no policy is named" in refused.stderr


# The same bytes.


def bytes_of(path: Path, hash_seed: str, jobs: str, command: str = "simulate") -> bytes:
    """What another process writes, with a hash seed of its own."""
    asked = {
        "simulate": ["simulate", str(path), "--policy", "adaptive,c3", "--seeds", "2", "--out", "json"],
        "evaluate": ["evaluate", str(path), "--policy", "random,round_robin", "--seeds", "2", "--out", "json"],
        "sweep": ["sweep", str(path), "--policy", "adaptive,prequal", "--seeds", "2", "--out", "json"],
    }[command]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    code = [sys.executable, "-W", "ignore", "-m", "adaptive.cli", *asked, "--jobs", jobs]
    return subprocess.run(code, capture_output=True, check=True, env=env, cwd=ROOT).stdout


def test_equal_seeds_give_equal_bytes_in_any_process_with_any_hash_seed_on_any_number_of_cores(hang: Path) -> None:
    """Ten seconds: two processes, the second of which starts two more. The report says the command, with the jobs."""
    first = bytes_of(hang, "1", "1")
    assert bytes_of(hang, "4242", "2").replace(b"--jobs 2", b"--jobs 1") == first
    assert len(json.loads(first)["hashes"]["runs"]) == 64


def test_a_sweep_s_rows_have_equal_bytes_too(hang: Path) -> None:
    """Ten seconds, as above."""
    assert bytes_of(hang, "1", "1", "sweep") == bytes_of(hang, "4242", "2", "sweep")


def test_an_evaluation_has_equal_bytes_too(hang: Path, tmp_path: Path) -> None:
    """Ten seconds, as above; its figures are those of a dozen runs."""
    path = tmp_path / "trace.parquet"
    read_recorded(hang, path)
    first = bytes_of(path, "1", "1", "evaluate")
    assert bytes_of(path, "4242", "2", "evaluate").replace(b"--jobs 2", b"--jobs 1") == first
    assert len(json.loads(first)["rows"]) == 2


def test_another_seed_gives_another_digest(hang: Path) -> None:
    one, other = (told(str(hang), "--policy", "gates", "--seed", seed)["hashes"]["runs"] for seed in ("0", "1"))
    assert one != other
