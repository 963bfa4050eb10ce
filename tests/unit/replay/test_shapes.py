"""Shapes of load: the rise and fall of recorded traffic over a scenario of any length and load."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replay import arrivals
from replay.importers.base import Options
from replay.importers.importing import run
from replay.scenario import Instance, Load, Scenario, ScenarioError
from replay.scenario_file import load, of, to_json
from replay.shapes import mean_rate, shape_of, shaped

SCENARIO = Scenario("s", (Instance("a:1"),), Load(rates=((0.0, 400.0), (50.0, 600.0)), post_share=0.25), seconds=100.0)
COUNTS = "period,count\n" + "".join(
    f"1998-06-10 20:{minute:02}:00,{count}\n" for minute, count in enumerate([100, 100, 400, 100, 50])
)


def counted(tmp_path: Path) -> Path:
    path = tmp_path / "counts.csv"
    path.write_text(COUNTS)
    return path


def test_a_shape_keeps_the_scenarios_length_and_load(tmp_path: Path) -> None:
    made = shaped(SCENARIO, shape_of(counted(tmp_path)))
    assert [start for start, _ in made.load.rates] == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert [rate for _, rate in made.load.rates] == pytest.approx([500 * c / 150 for c in (100, 100, 400, 100, 50)])
    assert mean_rate(made) == pytest.approx(mean_rate(SCENARIO)) == 500.0
    assert made.load.post_share == 0.25
    due = arrivals.draw(made, 3).due
    share = np.histogram(due, 5, (0.0, 100.0))[0] / len(due)
    # 50,000 arrivals: a share p is known to sqrt(p / 50,000), five times which is allowed.
    np.testing.assert_allclose(share, np.array([100, 100, 400, 100, 50]) / 750, atol=5 * math.sqrt(0.53 / 50_000))


def test_a_part_of_a_shape_can_be_taken(tmp_path: Path) -> None:
    shape = {"file": str(counted(tmp_path)), "from": "1998-06-10 20:01", "to": "1998-06-10 20:03"}
    document = {**to_json(SCENARIO), "load": {"rates": [[0, 500]], "shape": shape}}
    scenario = of(document, str(tmp_path / "s.json"))
    assert scenario.load.rates == ((0.0, pytest.approx(200.0)), (50.0, pytest.approx(800.0)))


def test_a_trace_gives_its_shape_or_its_very_arrivals(tmp_path: Path) -> None:
    log = tmp_path / "in.csv"
    rng = np.random.default_rng(1)
    times = np.sort(np.concatenate([rng.uniform(0, 50, 2000), rng.uniform(50, 100, 8000)]))
    log.write_text("at\n" + "".join(f"{t:.9f}\n" for t in times))
    run("csv", [log], tmp_path / "t.parquet", Options(mapping=(("at", "sent_at"),)))
    shape = shape_of(tmp_path / "t.parquet")
    made = shaped(replace(SCENARIO, seconds=10.0), shape)
    due = arrivals.draw(made, 1).due
    assert np.mean(due < 5.0) == pytest.approx(0.2, abs=0.03)
    exact = shaped(replace(SCENARIO, seconds=60.0), shape, exact=True)
    np.testing.assert_allclose(arrivals.draw(exact, 1).due, times[times - times[0] < 60.0] - times[0], atol=1e-6)


def test_a_scenarios_file_names_a_shape_beside_it_and_what_is_written_needs_it_no_more(tmp_path: Path) -> None:
    counted(tmp_path)
    document = {**to_json(SCENARIO), "load": {"rates": [[0, 500]], "shape": "counts.csv"}}
    path = tmp_path / "s.json"
    path.write_text(json.dumps(document))
    found = load(path)
    assert len(found.load.rates) == 5
    assert of(to_json(found), "again") == found


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("gone.csv", "gone.csv: No such file"),
        ("gone.txt", "gone.txt: No such file"),
        ({"file": "counts.csv", "fro": 1}, "load.shape.fro: there is no such key"),
        ({"file": "counts.csv", "from": "noon"}, "load.shape.from: from 'noon' is no time"),
        ({"file": "counts.csv", "from": "1999-01-01"}, "no requests are counted in it, in that time"),
        ({"file": "counts.csv", "exact": 1}, "load.shape.exact: 1 is not true or false"),
        ({"file": "counts.csv", "exact": True}, "only counts are known"),
        ({"file": "s.txt"}, "no shape: a trace"),
        ({"file": "bad.csv"}, "bad.csv: line 2: .* wrong it is no shape"),
        ({}, "load.shape.file: is missing"),
        (7, "load.shape: an object is wanted"),
    ],
)
def test_a_shape_that_cannot_be_used_is_named(tmp_path: Path, shape: object, why: str) -> None:
    counted(tmp_path)
    (tmp_path / "bad.csv").write_text("period,count\nx\ny\nz\n")
    (tmp_path / "s.txt").write_text("1\n")
    document = {**to_json(SCENARIO), "load": {"rates": [[0, 500]], "shape": shape}}
    with pytest.raises(ScenarioError, match=why):
        of(document, str(tmp_path / "s.json"))


def test_a_shape_and_given_arrivals_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"load\.shape: load\.due or load\.burst says already"):
        of({**to_json(SCENARIO), "load": {"due": [1.0], "shape": "x.csv"}}, str(tmp_path / "s.json"))


@pytest.mark.skipif(
    not (Path(__file__).resolve().parents[3].parent / "shared" / "data").is_dir(),
    reason="the public recordings are not here",
)
@pytest.mark.parametrize("file", ["worldcup98/requests_per_minute.csv", "mooncake/conversation_trace.jsonl"])
def test_public_recordings_drive_any_scenario(file: str) -> None:
    """Reads 87 days of counts, 125,000 lines: a second."""
    path = Path(__file__).resolve().parents[3].parent / "shared" / "data" / file
    made = shaped(SCENARIO, shape_of(path))
    rates = [rate for _, rate in made.load.rates]
    assert mean_rate(made) == pytest.approx(500.0)
    assert max(rates) > 1.2 * 500.0 and len(rates) > 100
