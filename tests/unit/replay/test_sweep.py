"""Sweeps: cells, the rows that they become, what goes on where it stopped, and the regret table."""

from __future__ import annotations

import csv
import io
import math
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import pytest
from typer.testing import CliRunner

from adaptive.cli import app
from adaptive.commands import arguments
from adaptive.commands import sweep as sweep_command
from adaptive.commands.progress import Progress, until
from adaptive.failure import Failure
from replay.policies import named
from replay.scenario import ScenarioError
from replay.sweep import kept, regret
from replay.sweep import rows as tables
from replay.sweep.again import sample
from replay.sweep.cells import Cell, Stock, grid, known
from replay.sweep.measure import KEY, measure
from replay.sweep.regret import Regret, lines, lost, table, worth
from replay.sweep.rows import RowsError
from replay.sweep.spread import SpreadError, spread

SHORT = Stock(held_out=True, seconds=3.0)
ROOT = Path(__file__).resolve().parents[3]


def cells(*policies: str) -> list[Cell]:
    """Two scenarios of three seconds, two seeds."""
    return grid(["s1_slow_node", "s4_crash"], policies or ("gates", "clairvoyant"), [5], [0.7], [0, 1], SHORT)


# Cells.


def test_the_grid_has_every_cell_once_and_whole_seeds_together() -> None:
    found = grid(["s1_slow_node", "arena_hang"], ["gates", "c3"], [5, 8], [0.7, 0.9], [0, 1], SHORT)
    assert len(found) == len({cell.key() for cell in found}) == 2 * (2 * 2 * 2 + 2)
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)
    assert {(cell.n, cell.load) for cell in found if cell.scenario == "arena_hang"} == {(0, 0.0)}


def test_held_out_seeds_are_others_and_a_file_has_its_own_seed_first(tmp_path: Path) -> None:
    tuned, held = (grid(["s4_crash"], ["gates"], stock=Stock(held_out))[0] for held_out in (False, True))
    assert tuned.drawn(tuned.made()) != held.drawn(held.made())
    path = tmp_path / "mine.json"
    path.write_text('{"seed": 7, "rate": 100, "seconds": 9, "instances": [{"port": 9100}]}')
    first, second = grid([str(path)], ["gates"], seeds=[0, 1])
    assert (first.scenario, first.drawn(first.made()), second.drawn(second.made())) == ("mine", 7, 8)
    assert first.key() != second.key()


def test_what_does_not_exist_is_told_before_anything_runs() -> None:
    with pytest.raises(ScenarioError, match="there is no scenario 's99'"):
        grid(["s99"], ["gates"])
    with pytest.raises(ValueError, match="there is no policy 'nobody'"):
        grid(["s4_crash"], ["nobody"])
    assert len(known()) > 40


# Rows.


def test_rows_come_back_from_a_file_bit_for_bit(tmp_path: Path) -> None:
    made = [measure(cell) for cell in cells()]
    path = tmp_path / "rows.csv"
    with path.open("w") as to:
        tables.begin(to)
        for row in made:
            tables.write(to, row)
        to.write("s1_slow_node,gates,5,0.7,9,")  # the last line was cut off
    assert tables.read(path) == [{name: row[name] for name in (*KEY, *list(row)[len(KEY) :])} for row in made]
    assert tables.left(cells(), tables.read(path)[:3]) == cells()[3:]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "no table of a sweep"),
        ("a,\xe9\n", "not UTF-8 text, at byte 2"),
        (",".join(tables.COLUMNS) + "\n1,2\n", ":2: 2 fields, and 20 are wanted"),
        (",".join(tables.COLUMNS) + "\n" + ",".join(["x"] * 19) + ",\n", ":2: requests: 'x' is no number"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RowsError, match=said):
        tables.read(path)


def test_a_cell_that_fails_is_a_row_with_its_reason() -> None:
    row = measure(Cell("s4_crash", "nobody", 0, 5, 0.7, SHORT))
    assert row["error"].startswith("ValueError: there is no policy 'nobody'")
    assert tables.left([Cell("s4_crash", "nobody", 0, 5, 0.7, SHORT)], [row])


# Spreading.


def test_two_processes_give_the_same_rows_as_one() -> None:
    """Three seconds: processes start."""
    alone = list(spread(measure, cells("gates", "adaptive"), jobs=1))
    assert list(spread(measure, cells("gates", "adaptive"), jobs=2)) == alone
    assert not any(row["error"] for row in alone)


@pytest.mark.parametrize(("number", "kill"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)])
def test_what_is_ended_leaves_no_process_behind(number: int, kill: Callable[[int, int], None]) -> None:
    """Three seconds each: processes start. Ctrl-C reaches the whole group, SIGTERM the command alone."""
    code = (
        "import time\nfrom adaptive import cli\nfrom replay.sweep.spread import spread\n"
        "def app():\n    for _ in spread(time.sleep, [0.0, *[60.0] * 8], jobs=2):\n        print('begun', flush=True)\n"
        "cli.app = app\ncli.main()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        kill(process.pid, number)
        assert process.wait(30) == 128 + number
    deadline = time.monotonic() + 20.0
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def test_a_dask_cluster_of_two_processes_gives_the_same_rows_bit_for_bit() -> None:
    """Eight seconds: a cluster starts."""
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    code = (
        "from replay.sweep.spread import spread\nfrom replay.sweep.measure import measure\n"
        "from replay.sweep.rows import as_json\nfrom tests.unit.replay.test_sweep import cells\n"
        "if __name__ == '__main__':\n    print(as_json(spread(measure, cells(), 2, 'dask')), end='')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert found.stdout == tables.as_json(map(measure, cells())), found.stderr[-2000:]


def test_what_cannot_be_spread_is_told() -> None:
    with pytest.raises(SpreadError, match="-1 for one a core"):
        list(spread(measure, cells(), 0))
    with pytest.raises(SpreadError, match="an address is a cluster's"):
        list(spread(measure, cells(), 2, address="tcp://127.0.0.1:1"))
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    with pytest.raises(SpreadError, match=r"dask, tcp:/nowhere: "):
        list(spread(measure, cells(), 2, "dask", "tcp:/nowhere"))


def test_a_ray_cluster_is_given_the_work_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the functions of Ray that are called: Ray itself is too large to be installed for a test."""
    told: list[Any] = []
    stand_ins = {name: types.ModuleType(name) for name in ("ray", "ray.util", "ray.util.joblib")}
    functions = {
        "init": lambda **how: told.append(how["address"]),
        "cluster_resources": lambda: {"CPU": 2.0},
        "shutdown": lambda: told.append("shut down"),
    }
    vars(stand_ins["ray"]).update(functions)
    vars(stand_ins["ray.util.joblib"])["register_ray"] = lambda: joblib.register_parallel_backend(
        "ray", joblib.parallel.ThreadingBackend
    )
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert list(spread(abs, range(-20, 0), backend="ray", address="ray://somewhere")) == list(range(20, 0, -1))
    assert told == ["ray://somewhere", "shut down"]
    assert list(spread(abs, (), backend="ray")) == []
    assert len(told) == 2, "no cluster is started for no work"


# The command.

ASKED = ["sweep", "s1_slow_node", "s4_crash", "--policy", "gates,clairvoyant", "--fleets", "5", "--seconds", "3",
         "--held-out", "--seeds", "2", "--jobs", "1"]  # fmt: skip


def test_a_sweep_goes_on_where_it_stopped_and_draws_its_regrets(tmp_path: Path) -> None:
    """Two seconds: the picture."""
    whole, path = tmp_path / "whole.csv", tmp_path / "rows.csv"
    assert CliRunner().invoke(app, [*ASKED, "--file", str(whole)]).exit_code == 0
    text = whole.read_text()
    path.write_text(text[: len(text) // 2])
    refused = CliRunner().invoke(app, [*ASKED, "--file", str(path)])
    assert refused.exit_code == 1
    assert path.read_text() == text[: len(text) // 2]
    picture = tmp_path / "regret.svg"
    asked = [*ASKED, "--loads", "0.7", "--file", str(path), "--resume", "--regret", str(picture)]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    assert path.read_text() == text
    assert picture.read_text().startswith("<?xml")
    assert picture.with_suffix(".csv").read_text().startswith("policy,family,n,load,cells,")
    partial = "partial: 4 of 320 scenarios × fleets × loads × seeds"
    assert f"4 cells a policy, 2 seeds, 0 rows missing; {partial};" in found.stdout
    assert partial in picture.read_text()
    first = picture.read_bytes()
    CliRunner().invoke(app, asked)
    assert picture.read_bytes() == first


def test_rows_of_before_a_change_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    asked = [*ASKED, "--file", str(path)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    rows = tables.read(path)
    assert [cell.policy for cell, _ in sample(cells(), rows)] == ["gates", "clairvoyant"]
    with path.open("w") as to:
        tables.begin(to)
        for row in rows:
            tables.write(to, {**row, "mean": row["mean"] * (1 + 1e-15)} if row["policy"] == "gates" else row)
    before = path.read_text()
    error = CliRunner().invoke(app, [*asked, "--resume"]).exception
    assert isinstance(error, Failure)
    assert "rows of before a change" in str(error)
    assert [line.split()[1] for line in str(error).splitlines()[1:]] == ["gates"]
    assert "mean is" in str(error)
    assert path.read_text() == before


def test_rows_that_are_kept_are_not_made_again_and_give_the_same_regrets(tmp_path: Path) -> None:
    """Two seconds: the picture, twice."""
    store, picture = tmp_path / "rows.csv.xz", tmp_path / "regret.svg"
    asked = [*ASKED, "--loads", "0.7", "--kept", str(store), "--regret", str(picture)]
    first = CliRunner().invoke(app, [*asked, "--seeds", "1"])
    assert first.exit_code == 0, first.output
    both = CliRunner().invoke(app, asked)
    assert [line.split(",")[:5] for line in both.stdout.splitlines() if line.startswith("s")][1:] == [
        [cell.scenario, cell.policy, "5", "0.7", "1"] for cell in cells() if cell.seed == 1
    ]
    assert "4 cells a policy, 2 seeds, 0 rows missing" in both.stdout
    rows = [measure(cell) for cell in cells()]
    assert {tables.key(row): row for row in kept.read(store)} == {tables.key(row): kept.rounded(row) for row in rows}
    over = [Regret(found).over("gates", "clairvoyant") for found in (kept.read(store), rows)]
    assert over[0] == pytest.approx(over[1], rel=1e-4)  # five digits of each
    before = store.read_bytes()
    kept.write(store, reversed(kept.read(store)))
    assert store.read_bytes() == before


def test_what_is_kept_of_a_policy_that_is_another_now_is_made_again_and_the_rest_is_not(tmp_path: Path) -> None:
    store = tmp_path / "rows.csv.xz"
    rows = [kept.rounded(measure(cell)) for cell in cells()]
    kept.write(store, [{**row, "p99": 2 * row["p99"]} if row["policy"] == "gates" else row for row in rows])
    found = CliRunner().invoke(app, [*ASKED, "--kept", str(store)])
    assert "rows of before a change are made again: s1_slow_node gates 5 0.7" in found.stderr
    assert [line.split(",")[1] for line in found.stdout.splitlines()[1:]] == ["gates"] * 4
    assert {tables.key(row): row for row in kept.read(store)} == {tables.key(row): row for row in rows}


def test_what_was_made_until_a_sweep_is_interrupted_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "rows.csv.xz"
    made = iter([measure(cells()[0])])

    def interrupted(work: Sequence[Cell], **_: object) -> Iterator[dict[str, Any]]:
        yield from made if work else ()
        if work:
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep_command, "_spread", interrupted)
    assert CliRunner().invoke(app, [*ASKED, "--kept", str(store)]).exit_code == 130
    assert [tables.key(row) for row in kept.read(store)] == [cells()[0].key()]


@pytest.mark.parametrize("cut", [0, 40, -1])
def test_kept_rows_that_are_cut_off_are_refused_and_left_as_they_are(tmp_path: Path, cut: int) -> None:
    store = tmp_path / "rows.csv.xz"
    kept.write(store, [measure(cells()[0])])
    store.write_bytes(left := store.read_bytes()[:cut])
    error = CliRunner().invoke(app, [*ASKED, "--kept", str(store)]).exception
    assert isinstance(error, Failure)
    assert str(error).startswith(f"{store}: no rows of a sweep, or cut off")
    assert store.read_bytes() == left


def test_rows_go_to_stdout_as_csv_or_json() -> None:
    found = CliRunner().invoke(app, ASKED)
    rows = list(csv.DictReader(io.StringIO(found.stdout)))
    assert [(r["scenario"], r["policy"], r["seed"]) for r in rows] == [
        (c.scenario, c.policy, str(c.seed)) for c in cells()
    ]
    assert CliRunner().invoke(app, [*ASKED, "--out", "json"]).stdout == tables.as_json(map(measure, cells()))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--seeds", "0"], ["--seeds", "3:3"], ["--fleets", "0"], ["--loads", "2"], ["--policy", "nobody"],
        ["--minutes", "1"], ["--regret", "x.gif"], ["--regret", "x.svg", "--policy", "gates"],
        ["--regret", "x.svg", "-o", "x.csv"], ["--seconds", "inf"], ["--mean", "inf"],
        ["--kept", "x.csv"],
    ],
)  # fmt: skip
def test_wrong_usage_is_told(wrong: list[str]) -> None:
    assert CliRunner().invoke(app, ["sweep", *wrong]).exit_code == 2


def test_ranges_of_seeds() -> None:
    assert arguments.seeds("3") == [0, 1, 2]
    assert arguments.seeds("2:4") == [2, 3]
    assert arguments.names("a@random=0.1, b") == ["a@random=0.1", "b"]


def test_progress_says_how_much_is_left() -> None:
    to = io.StringIO()
    shown = Progress(4, "cells", to=to)
    shown.step("x")
    assert to.getvalue() == ""  # no terminal, and no half a minute yet
    assert shown.line(shown.began + 10.0, "x") == "[######                  ] 1/4 cells, 0:30 left x"
    assert [until(5), until(760), until(10931)] == ["0:05", "12:40", "3:02:11"]


# Regrets.


def row(policy: str, p99: float, failed: float = 0.0, seed: int = 0, scenario: str = "s1_slow_node") -> dict[str, Any]:
    usual = {
        "scenario": scenario,
        "n": "8",
        "load": "0.7",
        "seed": str(seed),
        "stock": "",
        "requests": 1000,
        "error": "",
    }
    return {**usual, "policy": policy, "p99": p99, "failed": failed}


def test_regrets_are_ratios_to_the_clairvoyant_of_the_same_cell() -> None:
    found = Regret(
        [row("clairvoyant", 0.1), row("clairvoyant", 0.2, 1.0, 1), row("gates", 0.2), row("gates", 0.4, 3.0, 1)]
    )
    assert found.policies == ["clairvoyant", "gates"]
    p99, failed, beyond, count = found.standing("gates", "S1")
    assert (p99, failed, beyond, count) == (pytest.approx(2.0), pytest.approx(0.0015), pytest.approx(0.001), 2)
    assert math.isnan(found.standing("gates", "S2").p99)
    assert table(found).splitlines()[2] == "gates,S1,8,0.7,2,2.0000,0.001500,0.001000"


def test_cells_without_the_clairvoyant_and_failed_ones_are_counted_and_left_out() -> None:
    broken = {**row("gates", 0.1), "error": "ValueError: x"}
    found = Regret([row("clairvoyant", 0.1), row("gates", 0.2, seed=1), broken])
    assert (found.missing, found.policies) == (2, ["clairvoyant"])


def test_a_table_of_less_than_the_whole_grid_says_so() -> None:
    cells = list(product(regret.FLEETS, regret.LOADS, range(regret.SEEDS)))
    whole = [{**row("clairvoyant", 0.1), "n": n, "load": load, "seed": seed} for n, load, seed in cells]
    assert Regret(whole).partial() == ""
    assert Regret(whole[1:]).partial() == "partial: 159 of 160 scenarios × fleets × loads × seeds"
    asked = (sweep_command.FLEETS, sweep_command.LOADS, sweep_command.SEEDS)
    assert asked == (",".join(map(str, regret.FLEETS)), ",".join(map(str, regret.LOADS)), str(regret.SEEDS))


def test_losses_are_to_the_best_baseline_and_the_worst_comes_first() -> None:
    made = [row("clairvoyant", 0.1), row("adaptive", 0.2), row("gates", 0.19), row("c3", 0.3)]
    made += [row(p, x, scenario="s4_crash") for p, x in (("clairvoyant", 0.1), ("adaptive", 0.2), ("gates", 0.1))]
    made += [row(p, x, scenario="s5_pauses") for p, x in (("clairvoyant", 0.1), ("adaptive", 0.2), ("gates", 0.2))]
    found = Regret(made)
    assert [(x.where, x.baseline) for x in lost(found.by_case())] == [
        ("s4_crash, 8 instances, load 0.7", "gates"),
        ("s1_slow_node, 8 instances, load 0.7", "gates"),
    ]
    assert "to be at most 1.03: does not hold" in "\n".join(lines(found))
    failing = Regret([row("clairvoyant", 0.1), row("adaptive", 0.1, 5.0), row("gates", 0.1)])
    assert [x.failed for x in lost(failing.by_case())] == [0.005]


def test_the_best_baseline_of_a_scenario_is_one_for_all_of_its_fleets() -> None:
    small = [row(p, x) for p, x in (("clairvoyant", 0.1), ("adaptive", 0.2), ("gates", 0.1), ("c3", 0.4))]
    large = [row(p, x) for p, x in (("clairvoyant", 0.1), ("adaptive", 0.2), ("gates", 0.9), ("c3", 0.2))]
    found = Regret([*small, *({**one, "n": "16"} for one in large)])
    assert [x.baseline for x in found.by_case()] == ["gates", "c3"]
    ours = 0.2 * 0.2
    assert [(x.where, x.baseline) for x in found.by_scenario()] == [("s1_slow_node", "c3")]
    assert found.by_scenario()[0].ratio == pytest.approx(math.sqrt(ours / (0.4 * 0.2)))
    assert "of the best baseline's of each scenario; at most 1.03 in 1 of 1 scenarios" in "\n".join(lines(found))


def test_the_worth_of_a_mechanism_is_what_is_lost_without_it_and_it_is_no_rival() -> None:
    made = [row("clairvoyant", 0.1), row("adaptive", 0.2), row("adaptive@hedging=0", 0.1), row("gates", 0.4)]
    made.append(row("adaptive@predict=0", 0.3, 2.0))
    found = Regret(made)
    said = {line.split()[0]: line.split()[1:] for line in worth(found) if line.startswith("  ") and line.split()[1:]}
    assert said["hedging"][:2] == ["0.500", "+0.000"] and said["predict"][0] == "1.500"
    assert float(said["predict"][1]) == pytest.approx(100 * 2.0 / made[0]["requests"])
    assert {x.baseline for x in found.by_case()} == {"gates"}
    assert worth(Regret(made[:2])) == []


def test_switches_are_joined_by_a_plus_where_policies_are_listed_with_commas() -> None:
    assert dict(named("adaptive@hedging=0+predict=0").settings) == {"hedging": 0.0, "predict": 0.0}
    assert arguments.policies("adaptive@hedging=0+predict=0,gates") == ["adaptive@hedging=0+predict=0", "gates"]
