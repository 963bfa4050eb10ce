"""Both loops together, in front of a fleet with queues: the slow loop may help, and must not harm.

Each run is 40 s of virtual traffic at about 1,000 requests/s, some two to four seconds of CPU time.
"""

from __future__ import annotations

from adaptive.types import Health
from tests.simulation.closed_loop import ClosedLoop
from tests.simulation.faults import drawn


def run(name: str, seed: int = 1) -> tuple[ClosedLoop, set[int]]:
    """A finished run, and the ports of the endpoints that had a fault."""
    scenario = drawn(seed)[name]
    model = ClosedLoop(scenario, seed)
    model.run()
    return model, {spec["port"] for spec in scenario["instances"] if spec["faults"]}


def test_calm_and_uneven_fleets_are_left_alone() -> None:
    for name in ("calm", "uneven"):
        model, _ = run(name)
        assert model.moves == []
        assert model.weights == {(100,) * 10}


def test_a_surge_beyond_all_capacity_takes_nobody_out() -> None:
    model, _ = run("surge")
    assert model.moves == []


def test_an_endpoint_that_hangs_is_taken_out_and_its_peers_are_not() -> None:
    model, ill = run("hang")
    assert {m.endpoint.port for m in model.moves} == ill
    assert Health.EJECTED in {m.after for m in model.moves}
    assert model.moves[0].at < 13.0  # it hangs from 11.5 s on; attempts are given up after 0.6 s
