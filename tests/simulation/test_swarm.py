"""Whole worlds, each drawn from one seed: no promise may be broken in any of them.

What a world is judged by is tried on planted breaches in tests/unit/replay/test_invariants.py, and here.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from adaptive.controller import Settings
from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import Health
from replay.scenario import FAULTS, Instance, Load, Scenario
from replay.scenario_file import checked, load, to_json
from replay.simulator.run import Requests, Run, View
from replay.troubles import fault
from replay.worlds import CALM, EVEN, HEALING, World, draw

pytest.importorskip("replay.simulator.simulation")

from adaptive.cli import app
from replay import swarm
from replay.watching import Violation

# Most worlds last eight seconds; those that heal last a hundred, and of them the ones with few instances and one worker
# are taken: a Controller's ticks are what costs, and `adaptive swarm --seeds 0:N` runs them all.
SEEDS = [
    seed
    for seed in range(200)
    if seed % HEALING or (len((fleet := draw(seed).scenario).instances) <= 6 and fleet.gateways * fleet.workers == 1)
]


@pytest.mark.parametrize("seeds", [SEEDS[i : i + 10] for i in range(0, len(SEEDS), 10)], ids=lambda seeds: seeds[0])
def test_worlds_keep_every_promise(seeds: list[int]) -> None:
    """One to four seconds each time: ten fleets under faults for eight seconds, two of them followed for ninety."""
    broken = []
    for seed in seeds:
        print(f"seed {seed}")
        found = swarm.examine(draw(seed)).violations
        broken += [f"seed {seed}: {v} (again: adaptive swarm --seed {seed})" for v in found[:3]]
    assert not broken, "\n".join(broken)


def test_a_world_is_the_same_from_the_same_seed() -> None:
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    first, again = (swarm.examine(draw(5)) for _ in range(2))
    assert first == again


def test_worlds_have_everything_that_there_is() -> None:
    worlds = [draw(seed) for seed in range(400)]
    assert {f.kind for w in worlds for i in w.scenario.instances for f in i.faults} == set(FAULTS)
    assert len({w.policy for w in worlds}) == 6
    assert {w.scenario.gateways for w in worlds} == {1, 2, 3}
    assert {len(w.scenario.instances) for w in worlds} >= {2, 3, 40}
    assert any(len(w.faults()) == len(w.scenario.instances) * 2 for w in worlds)
    assert sum(bool(w.scenario.stalls) for w in worlds) > 100
    assert all(checked(w.scenario) == w.scenario for w in worlds)


# What comes back.


def a_world() -> World:
    """Four instances, one of which hung for two seconds."""
    hung = (fault("hang", CALM, CALM + 2.0),)
    fleet = tuple(Instance(f"h:{i}", faults=hung if i == 0 else ()) for i in range(4))
    world = World(1, Scenario("x", fleet, Load(((0.0, 100.0),)), warm=1.0), "adaptive", Settings(), heals=True)
    return world.changed(seconds=world.trouble()[1] + world.bound() + EVEN)


def a_run(world: World, shares: tuple[float, ...], late: float = 0.1, health: int = 0, failed: bool = False) -> Run:
    """A run whose tail has these shares, latencies, health of the first instance and failures."""
    end = world.scenario.seconds
    due = np.arange(0.0, end, 0.01)
    tail = due >= end - EVEN
    rows = np.zeros(len(due), dtype=OUTCOME_DTYPE)
    rows["sent_at"] = due
    even = np.arange(len(due)) % 4
    rows["slot"] = np.where(tail, np.searchsorted(np.cumsum(shares), np.linspace(0, 0.9999, len(due)) % 1.0), even)
    if tail.any():
        rows["slot"][tail] = np.searchsorted(np.cumsum(shares), np.linspace(0.0, 0.9999, int(tail.sum())))
    zero = np.zeros(len(due), dtype=np.uint8)
    of = Requests(due, np.where(tail, late, 0.1), tail & failed, zero > 0, zero, zero, zero)
    views = [View(end, 0, [100] * 4, [health, 0, 0, 0])]
    return Run("x", "adaptive", 1, 1.0, 2.0, of, [], {}, views, (), rows)


EQUAL = (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shares": EQUAL}, set()),
        ({"shares": (0.22, 0.28, 0.26, 0.24)}, set()),
        ({"shares": (0.02, 0.32, 0.33, 0.33)}, {"even again"}),
        ({"shares": EQUAL, "late": 0.3}, {"as fast as before"}),
        ({"shares": EQUAL, "health": int(Health.DEGRADED)}, {"everyone is back"}),
        ({"shares": EQUAL, "failed": True}, {"nothing fails after it healed"}),
    ],
)
def test_what_has_not_come_back_is_found(changes: dict[str, Any], said: set[str]) -> None:
    world = a_world()
    assert {v.invariant for v in swarm.healed(world, a_run(world, **changes))} == said


def test_the_bound_holds_for_what_is_left_when_faults_are_left_out() -> None:
    world = a_world()
    assert world.trouble() == (CALM, CALM + 2.0)
    assert world.bound() == pytest.approx(2.0 + 2.0 + 8.0 + 64.0 + 3.0)
    assert world.without(0, 0).faults() == []
    assert world.without(0, 0).scenario.seconds == world.scenario.seconds


def test_a_failing_world_is_made_as_small_as_it_can_be() -> None:
    """A judge that dislikes hangs: all the rest goes."""
    judged: list[World] = []

    def judge(world: World) -> swarm.Finding:
        judged.append(world)
        hung = any(f.kind == "hang" for i in world.scenario.instances for f in i.faults)
        return swarm.Finding(world, [Violation("likes no hangs", 0.0, "")] * hung)

    seed = next(s for s in range(999) if len(kinds := _kinds(draw(s))) > 2 and kinds["hang"] == 1)
    small = swarm.smaller(draw(seed), "likes no hangs", judge)
    assert _kinds(small) == {"hang": 1}
    assert (small.scenario.gateways, small.scenario.workers, small.scenario.stalls) == (1, 1, ())
    assert len(judged) <= swarm.TRIES


def _kinds(world: World) -> Counter[str]:
    return Counter(f.kind for i in world.scenario.instances for f in i.faults)


# The command.


def test_the_command_says_the_seed_first_and_how_it_went() -> None:
    found = CliRunner().invoke(app, ["swarm", "--seeds", "1:3"])
    assert found.exit_code == 0
    assert found.stderr.startswith("seed 1: ")
    assert found.stdout == "2 of 2 worlds kept every promise\n"


def test_a_failure_comes_with_the_command_that_makes_it_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = swarm.examine

    def wrong(world: World) -> swarm.Finding:
        return dataclasses.replace(real(world), violations=[Violation("planted", 1.5, "it broke")])

    monkeypatch.setattr(swarm, "examine", wrong)
    monkeypatch.setattr(swarm, "smaller", lambda world, invariant: world.without(*world.faults()[0]))
    seed = next(s for s in range(1, 99) if len(draw(s).faults()) == 1)
    found = CliRunner().invoke(app, ["swarm", "--seed", str(seed), "--save", str(tmp_path)])
    assert found.exit_code == 1
    assert f"seed {seed}: planted, at 1.500 s: it broke" in found.stdout
    assert f"again: adaptive swarm --seed {seed}\n" in found.stdout
    saved = load(tmp_path / f"world-{seed}.json")
    assert swarm.of_scenario(saved) == draw(seed).without(*draw(seed).faults()[0])


def test_what_the_swarm_did_not_save_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(to_json(Scenario("mine", (Instance("a:1"),)))))
    with pytest.raises(Exception, match=r"mine: notes\.swarm: None is not what the swarm saved"):
        CliRunner().invoke(app, ["swarm", "--file", str(path)], catch_exceptions=False)


@pytest.mark.parametrize("arguments", [["--seeds", "3"], ["--seeds", "5:2"], ["--policy", "nobody"]])
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["swarm", *arguments]).exit_code == 2
