"""The reference that the simulator's speed is set beside serves the same requests, and takes about as long for each."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive.bench import simulator
from adaptive.bench.simulator import Speed
from replay.simulator.simulation import simulate


def test_simpy_s_model_gives_what_ours_gives() -> None:
    pytest.importorskip("simpy")
    scenario = simulator.fleet(5, 4000)
    theirs, ours = simulator.by_simpy(scenario, 1), simulate(scenario, "least_request", 1).requests.latency
    assert len(theirs) == len(ours) and not np.isnan(theirs).any()
    # The same picks, but where events at one moment are handled in another order.
    assert np.isclose(theirs, ours, atol=1e-9).mean() > 0.99
    assert theirs.mean() == pytest.approx(ours.mean(), rel=0.01)


def test_a_promise_is_kept_with_some_fleet_or_missed() -> None:
    speeds = [Speed("a", 10, 5.0, 0.1, 9.0), Speed("a", 50, 9.5, 0.1, 9.0), Speed("SimPy", 10, 2.5, 0.1, 0.0)]
    assert simulator.short(speeds) == []
    assert simulator.short(speeds[:1]) == speeds[:1]
    lines = list(simulator.table(speeds))
    assert lines[1].split() == ["a", "10", "5", "2.00", "100.00", "9"]
    assert lines[2].split() == ["a", "50", "10", "-", "100.00", "9"]
