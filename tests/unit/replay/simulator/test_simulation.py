"""The simulated queues are those of the textbooks, and mere chance can be drawn anew under the same requests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate
from replay.troubles import fault

MEAN = 0.02


def alone(service: Service, slots: int, busy: float) -> Scenario:
    """One instance that is so busy; four minutes, the first ten seconds of which do not count."""
    load = Load(((0.0, busy * slots / MEAN),))
    instance = Instance("127.0.0.1:9100", service, slots=slots, backlog=10_000)
    return Scenario("alone", (instance,), load, seconds=240.0, warm=10.0, wire=0.0)


def erlang_wait(slots: int, busy: float) -> float:
    """Mean wait in M/M/c, in mean service times (Erlang's C formula)."""
    offered = slots * busy
    last = offered**slots / math.factorial(slots) / (1.0 - busy)
    waits = last / (sum(offered**k / math.factorial(k) for k in range(slots)) + last)
    return waits / (slots * (1.0 - busy))


@pytest.mark.parametrize(
    ("kind", "slots", "busy", "wait"),
    [
        ("exponential", 1, 0.6, erlang_wait(1, 0.6)),
        ("exponential", 4, 0.8, erlang_wait(4, 0.8)),
        ("constant", 1, 0.6, 0.6 / (2.0 * (1.0 - 0.6))),  # Pollaczek and Khinchine: half of the exponential's
    ],
    ids=["M/M/1", "M/M/4", "M/D/1"],
)
def test_an_instance_lets_wait_as_long_as_queueing_theory_says(kind: str, slots: int, busy: float, wait: float) -> None:
    """Five seeds of four minutes, some seconds of work: the mean of a busy queue settles slowly."""
    scenario = alone(Service(MEAN, 0.5, kind), slots, busy)
    found = [float(np.mean(simulate(scenario, "round_robin", seed).seen())) for seed in range(5)]
    assert np.mean(found) / MEAN - 1.0 == pytest.approx(wait, rel=0.05)


def test_another_luck_is_other_picks_and_other_errors_for_the_same_requests() -> None:
    instances = tuple(
        Instance(f"127.0.0.1:{9100 + i}", Service(0.03), slots=3, faults=(fault("errors", 1.0, 5.0, p=0.3),) * (i == 1))
        for i in range(4)
    )
    scenario = Scenario("errors", instances, Load(((0.0, 150.0),)), seconds=6.0, warm=1.0)
    plain, again, other = (simulate(scenario, "least_request", 3, luck=luck) for luck in (0, 1, 2))
    assert plain.digest() == simulate(scenario, "least_request", 3).digest()
    assert again.digest() == simulate(scenario, "least_request", 3, luck=1).digest()
    assert len({plain.digest(), again.digest(), other.digest()}) == 3
    assert len({plain.failures(), again.failures(), other.failures()}) > 1
    assert np.array_equal(plain.requests.due, other.requests.due)
    assert np.array_equal(plain.requests.post, other.requests.post)
