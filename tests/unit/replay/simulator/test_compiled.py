"""The compiled loop makes the same picks as the simulator, bit for bit, or leaves the run to it.

The first call compiles, some seven seconds; later processes find the result on disk.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from replay import library
from replay.policies import named
from replay.scenario import Clients, Fault, Instance, Load, Rules, Scenario, Service
from replay.simulator import compiled
from replay.simulator.simulation import simulate
from replay.sweep.cells import Cell, Stock
from replay.sweep.measure import measure
from replay.troubles import fault

pytest.importorskip("numba")

KINDS = ("lognormal", "exponential", "constant", "normal")


def slowness(rng: random.Random) -> tuple[Fault, ...]:
    start = rng.uniform(0.0, 2.0)
    end = start + rng.uniform(0.5, 3.0)
    return rng.choice(
        (
            (),
            (fault("slow", start, end, factor=5.0), fault("ramp_slow", start / 2, end, factor=3.0)),
            (fault("cold", start, end, factor=4.0),),
            (fault("leak", start, end, tau=0.7),),
            (fault("flip", start, end, factor=3.0, period=0.2),),
            (fault("bursts", start, end, factor=3.0, low=0.1, high=0.4),),
        )
    )


def world(seed: int) -> Scenario:
    """A fleet with whatever the loop can express, some beyond what it can bear: clients give up then."""
    rng = random.Random(f"compiled/{seed}")
    n = rng.choice((1, 2, 3, 7, 20))
    kind, even = rng.choice(KINDS), rng.random() < 0.5
    instances = tuple(
        Instance(
            f"10.0.0.{i + 1}:80",
            Service(rng.choice((0.02, 0.03)), 0.5, kind),
            slots=rng.choice((1, 4)),
            weight=1.0 if even else rng.choice((0.5, 1.0, 3.0)),
            faults=slowness(rng),
        )
        for i in range(n)
    )
    capacity = sum(i.slots / i.service.mean for i in instances)
    load = rng.choice((0.5, 0.9, 1.3))
    rates = ((0.0, load * capacity), (1.0, 0.0), (1.5, load * capacity))
    burst = (2.0, 0.2, 1.0) if rng.random() < 0.3 else None
    return Scenario(
        f"world {seed}",
        instances,
        Load(rates, rng.choice((0.0, 0.5, 1.0)), burst, ((0.0, 1.0), (2.0, 1.5))),
        Clients(timeout=rng.choice((0.5, 2.0))),
        rng.choice((Rules(), Rules(check_interval=0.0))),
        seconds=3.0,
        warm=0.5,
    )


@pytest.mark.parametrize("policy", compiled.POLICIES)
def test_every_run_is_the_simulator_s_bit_for_bit(policy: str) -> None:
    taken = given_up = 0
    for seed in range(24):
        scenario = world(seed)
        found = compiled.run(scenario, named(policy), seed)
        if found is None:
            continue
        plain = simulate(scenario, policy, seed)
        assert dict(found.counts) == dict(plain.counts), seed
        assert found.digest() == plain.digest(), seed
        taken += 1
        given_up += found.counts["given_up"] > 0
    # A policy with a time-out of its own leaves overloaded worlds alone.
    assert taken >= (6 if named(policy).timeout != "none" else 20)
    assert policy == "least_request_all" or given_up >= 5


def test_python_s_random_numbers_come_out_as_python_makes_them() -> None:
    kernel = compiled.kernel()
    assert kernel is not None
    rng = random.Random(5)
    state = np.array(rng.getstate()[1], dtype=np.int64)
    assert [kernel.uniform(state) for _ in range(2000)] == [rng.random() for _ in range(2000)]


CALM = replace(library.arena(0)["calm"], seconds=2.0, warm=0.0)
ONE = CALM.instances[0]


@pytest.mark.parametrize(
    "out",
    [
        replace(CALM, instances=(replace(ONE, faults=(fault("errors", 0.0, 1.0, p=0.1),)), *CALM.instances[1:])),
        replace(CALM, instances=(replace(ONE, faults=(fault("down", 0.5, 1.0),)), *CALM.instances[1:])),
        replace(CALM, instances=(replace(ONE, faults=(fault("delay", 0.0, 1.0, ms=5.0),)), *CALM.instances[1:])),
        replace(CALM, instances=(replace(ONE, priority=1), *CALM.instances[1:])),
        replace(CALM, instances=(replace(ONE, backlog=3),)),
        replace(CALM, gateways=2),
        replace(CALM, workers=2),
        replace(CALM, stalls=((0, 0.5, 0.1),)),
        replace(CALM, clients=Clients(retries=1)),
        replace(CALM, rules=Rules(attempt_timeout=0.5)),
        replace(CALM, rules=Rules(request_limit=5)),
    ],
    ids=["errors", "down", "delay", "tiers", "backlog", "gateways", "workers", "stalls", "clients", "timeout", "limit"],
)
def test_what_it_cannot_express_is_left_to_the_simulator(out: Scenario) -> None:
    assert compiled.run(CALM, named("least_request"), 1) is not None
    assert compiled.run(out, named("least_request"), 1) is None
    assert simulate(out, "least_request", 1, compiled=True).digest() == simulate(out, "least_request", 1).digest()


@pytest.mark.parametrize("policy", ["adaptive", "peak_ewma", "least_request@random=0.1"])
def test_so_are_policies_that_it_does_not_know(policy: str) -> None:
    assert compiled.run(CALM, named(policy), 1) is None


def test_attempts_that_would_be_given_up_are_left_to_the_simulator() -> None:
    slow = replace(CALM, instances=(replace(ONE, faults=(fault("slow", 0.0, 2.0, factor=60.0),)), *CALM.instances[1:]))
    assert compiled.run(slow, named("least_request"), 1) is not None
    assert compiled.run(slow, named("least_request_all"), 1) is None


def test_a_sweep_s_row_is_the_same_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("s1_slow_node", "least_request", 0, 5, 0.7, Stock(True, 5.0, 0.05))
    made = measure(cell)
    monkeypatch.setattr(compiled, "kernel", lambda: None)
    assert compiled.run(CALM, named("least_request"), 1) is None
    assert measure(cell) == made and made["error"] == ""
