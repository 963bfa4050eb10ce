"""The standard scenarios: that each is what its name says, the same from the same seed, and another when held out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from adaptive.cli import app
from replay import library, troubles
from replay.scenario import Fault, Scenario, ScenarioError
from replay.scenario_file import checked, of, to_json

NAMES = sorted(library.makers())


def faults(scenario: Scenario) -> Iterator[Fault]:
    for instance in scenario.instances:
        yield from instance.faults


def capacity(scenario: Scenario) -> float:
    """Requests a second of the whole fleet without its faults."""
    return sum(i.slots / i.service.mean for i in scenario.instances)


def test_all_seventeen_kinds_are_there() -> None:
    assert {int(name.split("_")[0][1:]) for name in NAMES} == set(range(1, 18))
    assert all(library.summary(name).endswith(".") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_could_hold_it_at_any_size(name: str) -> None:
    for n in (1, 2, 5, 8, 16, 100):
        for seconds in (30.0, 300.0):
            for held_out in (False, True):
                made = library.one(name, n, 0.9, 4, held_out, seconds)
                assert checked(made) == made
                assert len(made.instances) == n
                assert all(f.end <= 1.01 * seconds for f in faults(made))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_makes_it_again_and_another_seed_does_not(name: str) -> None:
    assert library.one(name, seed=1) == library.one(name, seed=1)
    assert library.one(name, seed=1) != library.one(name, seed=2)


def test_the_seed_of_the_hash_changes_nothing() -> None:
    """Two processes, a quarter of a second each."""
    code = "from replay.library import library; print(library(seed=3))"
    found = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": s}, capture_output=True, check=True).stdout
        for s in ("1", "20")
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_held_out_was_not_seen_in_tuning(name: str) -> None:
    """Of 40 seeds each: no seed, no beginning and no listed severity in common."""
    tuning = [library.one(name, seed=s) for s in range(40)]
    held = [library.one(name, seed=s, held_out=True) for s in range(40)]
    assert not {s.seed for s in tuning} & {s.seed for s in held}
    severities = ("factor", "p", "tau", "pause_ms", "ms", "slots")
    shared = {"p": {1.0}, "factor": {8.0, 1.6}, "pause_ms": {200.0}, "ms": {2.25}}  # what does not vary

    def values(made: list[Scenario]) -> set[tuple[str, float]]:
        return {(k, v) for s in made for f in faults(s) for k, v in f.values.items() if k in severities}

    assert not {(k, v) for k, v in values(tuning) & values(held) if v not in shared.get(k, ())}
    early = {f.start for s in tuning for f in faults(s) if f.start > 90 and not name.startswith(("s5", "s16"))}
    late = {f.start for s in held for f in faults(s) if f.start > 90 and not name.startswith(("s5", "s16"))}
    assert not early & late


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("load", [0.7, 0.9])
def test_the_load_is_that_of_the_fleet_unless_the_scenario_is_about_the_load(name: str, load: float) -> None:
    made = library.one(name, 16, load)
    heaviest = max(w for _, w in made.load.work)
    asked = max(rate for _, rate in made.load.rates) * (heaviest if "heavier" in name else 1.0) / capacity(made)
    if name == "s10_antagonists_and_ramp":
        assert asked > 1.0
    elif name.startswith(("s9", "s10")):  # the load is of what the changing rates leave on average
        assert 0.4 * load < asked < 0.9 * load
    else:
        assert asked == pytest.approx(load)


def test_seconds_scale_the_schedule_and_mean_the_rate() -> None:
    long, short = (library.one("s1_slow_node", seed=2, seconds=seconds) for seconds in (300.0, 30.0))
    (a,), (b,) = faults(long), faults(short)
    assert (b.start, b.end) == pytest.approx((a.start / 10, a.end / 10))
    assert a.values == b.values
    slow = library.one("s1_slow_node", seed=2, mean=0.1)
    assert slow.load.rates[0][1] == pytest.approx(long.load.rates[0][1] / 10)
    assert slow.clients.timeout == pytest.approx(10 * long.clients.timeout)


def test_where_no_instance_is_at_fault_none_has_a_fault() -> None:
    for name in NAMES:
        if name.startswith("s14") or "stall" in name:
            assert not list(faults(library.one(name)))
    assert library.one("s15_one_gateway_stalls").gateways == 3
    assert {gateway for gateway, _, _ in library.one("s15_one_gateway_stalls").stalls} == {1}


def test_the_retry_storm_asks_again_three_times_after_three_medians() -> None:
    storm = library.one("s12_retry_storm")
    assert storm.clients.retries == 3
    assert 0.027 < storm.clients.attempt_timeout < 0.03  # the median of a log-normal of 10 ms, sigma 0.35, is 9.4 ms
    (end,) = {f.end for f in faults(storm)}
    assert 9.0 < end - next(faults(storm)).start < 12.0


def test_bursts_are_added_on_demand() -> None:
    assert library.one("s1_slow_node").load.burst is None
    assert library.one("s1_slow_node", burst=True).load.burst == (2.0, 2.0, 20.0)


def test_a_fleet_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="n=0"):
        library.one("s1_slow_node", 0)


def test_the_arena_has_its_fifteen_and_draws_them_from_the_seed() -> None:
    made = library.arena(3)
    assert list(made)[:5] == ["calm", "hang", "fast_errors", "slow_node", "surge"]
    assert len(made) == 15
    assert all(checked(s) == s for s in made.values())
    assert made == library.arena(3)
    assert made["hang"].instances != library.arena(4)["hang"].instances
    assert {i.slots for i in made["uneven"].instances} == {3, 6}


def test_a_fault_made_in_code_has_every_parameter_or_says_what_lacks() -> None:
    assert troubles.fault("gc", 1, 2, pause_ms=5).values == {"pause_ms": 5.0, "period": 1.0, "grow": 0.0, "double": 0.0}
    with pytest.raises(ScenarioError, match=r"slow: parameters are factor, not \['p'\]"):
        troubles.fault("slow", 1, 2, p=1)
    with pytest.raises(ScenarioError, match="there is no fault 'slwo'"):
        troubles.fault("slwo", 1, 2)


# The command.


def test_the_command_lists_them_and_prints_one_that_can_be_read() -> None:
    run = CliRunner()
    listed = run.invoke(app, ["scenarios"]).stdout
    assert "s2_gray_errors" in listed
    assert "arena_hang" in listed
    assert json.loads(run.invoke(app, ["scenarios", "--json"]).stdout)["s1_slow_node"]
    printed = run.invoke(app, ["scenarios", "s1_slow_node", "-n", "5", "--seconds", "30"]).stdout
    assert of(json.loads(printed), "x") == library.one("s1_slow_node", 5, seconds=30.0)
    printed = run.invoke(app, ["scenarios", "arena_hang", "--seed", "7"]).stdout
    assert json.loads(printed) == to_json(library.arena(7)["hang"])


def test_a_name_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(Exception, match="there is no scenario 's1_slow_nod'; did you mean \"s1_slow_node\""):
        CliRunner().invoke(app, ["scenarios", "s1_slow_nod"], catch_exceptions=False)
