"""Controllers over policies that mind only health checks: left out where no check can fail, which changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptive.types import Command, Event, Moved, Snapshot, Topology
from replay.scenario import Fault, Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate
from replay.troubles import fault

FAULTS: dict[str, tuple[Fault, ...]] = {
    "calm": (),
    "hang": (fault("hang", 2.0, 4.0, p=0.5),),
    "errors": (fault("errors", 2.0, 4.0, p=0.5),),
    "down": (fault("down", 2.0, 5.0),),
    "unreachable": (fault("unreachable", 2.0, 5.0),),
}


def scenario(trouble: str) -> Scenario:
    instances = tuple(
        Instance(f"127.0.0.1:{9100 + i}", Service(0.03), slots=3, faults=FAULTS[trouble] if i == 1 else ())
        for i in range(4)
    )
    return Scenario(trouble, instances, Load(((0.0, 200.0),)), seconds=6.0, warm=1.0)


class Listening:
    """A log that keeps the settings: with one, there is a Controller wherever there may be one."""

    def __init__(self) -> None:
        self.settings: Any = None

    def begin(self, at: float, topology: Topology, settings: Any, resumed: Snapshot | None) -> None:
        self.settings = settings

    def event(self, event: Event) -> None: ...

    def commands(self, commands: list[Command]) -> None: ...


@pytest.mark.parametrize("policy", ["least_request", "peak_ewma", "round_robin", "random"])
@pytest.mark.parametrize("trouble", FAULTS)
def test_what_clients_see_is_the_same_with_a_controller_and_without_one_that_has_nothing_to_do(
    policy: str, trouble: str
) -> None:
    log = Listening()
    watched, plain = simulate(scenario(trouble), policy, 1, log=log), simulate(scenario(trouble), policy, 1)
    assert log.settings is not None and not log.settings.enabled  # nobody would ask its model
    assert plain.served == watched.served
    for name in ("latency", "status", "attempts"):
        assert np.array_equal(getattr(plain.requests, name), getattr(watched.requests, name))
    fails = trouble in ("down", "unreachable")
    assert (plain.counts["ticks"] > 0) == fails
    assert any(isinstance(move, Moved) for _, move in plain.moves) == fails
