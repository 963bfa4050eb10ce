"""A small fleet live and simulated, and predicted from its recording. It runs for seven seconds, as life does."""

from __future__ import annotations

from pathlib import Path

from adaptive.arena import live
from adaptive.bench import fidelity, foretold
from adaptive.bench.likeness import Figures
from replay.evaluation.attempts import seen
from replay.evaluation.gateway import rules
from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate
from replay.trace import read
from replay.troubles import fault

SLOW = (fault("slow", 2.0, 6.0, factor=3.0),)
SCENARIO = Scenario(
    "slow",
    tuple(
        Instance(f"127.0.0.1:{9100 + i}", Service(0.03, 0.5), slots=4, faults=SLOW if i == 1 else ()) for i in range(4)
    ),
    Load(((0.0, 250.0),)),
    seconds=7.0,
    warm=1.0,
    seed=11,
)


async def test_a_simulation_tells_what_life_is(tmp_path: Path) -> None:
    """The same requests with the same work: what differs are picks, and the machine's own delays.

    A median of 1,500 latencies of spread 0.5 to 1 has a standard error of 3 % by the picks alone; a busy machine adds
    some milliseconds to 40. So p50 may be off by a quarter, and the 15 requests beyond p99 by a half; a simulation that
    got the queues or the fault wrong would be off by more, the slow instance being three times slower.
    """
    (one,) = await live.together(SCENARIO, [("least_request", foretold.SHARE)], SCENARIO.seed, tmp_path)
    policy = f"least_request@random={foretold.SHARE:g}"
    run = simulate(SCENARIO, policy, SCENARIO.seed)
    simulated, lived = Figures.of(run.seen(), run.failures()), fidelity.figures(one)
    trace = read([one.recording])
    assert rules(trace.header, seen(trace)) == SCENARIO.rules, "a recording says what its gateway does"
    (told,) = foretold.foretell(one, [one], print)
    assert told.said is not None, told.reason
    for said, truth in ((simulated, lived), (told.said, told.truth)):
        p50, p99, failed = said.off(truth)
        assert abs(p50) < 0.25 and abs(p99) < 0.5 and abs(failed) <= 5, (said, truth)
