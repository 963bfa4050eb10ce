"""How fast the simulator is on one core, beside SimPy on the same fleet in the same run.

The fleet is the arena's: instances of 6 slots and 40 ms of log-normal service, 100 requests/s each, half of them POST,
health checks each half second. SimPy's model is less: the same arrivals and service times, the same choice of two, a
resource of slots for each instance, and nothing else: no gateway, retries, time-outs or health checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from adaptive import clock
from replay import arrivals
from replay.policies import named
from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator import compiled, service
from replay.simulator.simulation import simulate

EACH = 100.0  # requests/s of an instance: 0.67 of what it can serve
REPEATS = 3  # the fastest counts: what slows a run down is the machine
WARM = 2.0  # seconds of a run before the timed ones: imports, caches, compilation
LONGER = 20  # the compiled loop's run by the others': it would be over before a clock has seen it
SIMPY, COMPILED, TARGETS = "SimPy", "least_request, compiled", {"least_request": 100_000.0, "adaptive": 60_000.0}
COMPILED_TARGET = 2_000_000.0


@dataclass(frozen=True, slots=True)
class Speed:
    """One way to simulate: requests per second of CPU time, and the mean latency that came of it, seconds."""

    name: str
    instances: int
    rate: float
    latency: float
    target: float  # requests/s; 0: none was promised


def fleet(instances: int, requests: float) -> Scenario:
    """So many instances, for about so many requests."""
    spec = tuple(Instance(f"127.0.0.1:{9100 + i}", Service(0.04, 0.6), slots=6) for i in range(instances))
    rate = EACH * instances
    return Scenario("speed", spec, Load(((0.0, rate),)), seconds=requests / rate, warm=0.0)


def measure(sizes: list[int], requests: int, seed: int) -> Iterator[Speed]:
    """Times every way with each size of fleet; what is not installed is left out."""
    for instances in sizes:
        scenario = fleet(instances, requests)
        for name in ("least_request", "adaptive"):
            yield _timed(name, scenario, TARGETS[name], partial(_plain, policy=name, seed=seed))
        if compiled.kernel() is not None:
            longer = replace(scenario, seconds=LONGER * scenario.seconds)
            yield _timed(COMPILED, longer, COMPILED_TARGET, partial(_compiled, seed=seed))
        if _simpy_installed():
            yield _timed(SIMPY, scenario, 0.0, partial(by_simpy, seed=seed))


def _timed(name: str, scenario: Scenario, target: float, run: Callable[[Scenario], np.ndarray]) -> Speed:
    run(replace(scenario, seconds=WARM))
    best, latency = 0.0, float("nan")
    for _ in range(REPEATS):
        began = clock.cpu()
        found = run(scenario)
        best = max(best, len(found) / (clock.cpu() - began))
        latency = float(found.mean())
    return Speed(name, len(scenario.instances), best, latency, target)


def _plain(scenario: Scenario, policy: str, seed: int) -> np.ndarray:
    return simulate(scenario, policy, seed, views=False).requests.latency


def _compiled(scenario: Scenario, seed: int) -> np.ndarray:
    found = compiled.run(scenario, named("least_request"), seed)
    assert found is not None, "this fleet is in the compiled loop's range"
    return found.requests.latency


def _simpy_installed() -> bool:
    try:
        import simpy
    except ImportError:
        return False
    return bool(simpy)


def by_simpy(scenario: Scenario, seed: int) -> np.ndarray:
    """Latencies of the same requests by SimPy, seconds; least request of two."""
    import simpy

    plan = arrivals.draw(scenario, seed)
    times = service.times(scenario.instances[0].service, plan.normal, plan.work)
    due = plan.due.tolist()
    rng = random.Random(f"{seed}/picks/0/0").random
    env = simpy.Environment()
    slots = [simpy.Resource(env, i.slots) for i in scenario.instances]
    flight = [0] * len(slots)
    n = len(slots)
    latency = np.full(len(due), np.nan)

    def request(index: int) -> Generator[Any, Any, None]:
        i, j = int(rng() * n), int(rng() * (n - 1))
        j += j >= i
        if flight[j] < flight[i] or (flight[j] == flight[i] and rng() < 0.5):
            i = j
        flight[i] += 1
        with slots[i].request() as slot:
            yield slot
            yield env.timeout(times[index])
        flight[i] -= 1
        latency[index] = env.now - due[index] + scenario.wire

    def clients() -> Generator[Any, Any, None]:
        for index, at in enumerate(due):
            yield env.timeout(at - env.now)
            env.process(request(index))

    env.process(clients())
    env.run()
    return latency


def table(speeds: list[Speed]) -> Iterator[str]:
    """Lines: each way by fleet, beside SimPy with the same fleet."""
    yield f"{'':<26}{'instances':>10}{'requests/s':>12}{'by SimPy':>10}{'mean ms':>9}{'promised':>11}"
    reference = {s.instances: s.rate for s in speeds if s.name == SIMPY}
    for s in speeds:
        ratio = f"{s.rate / reference[s.instances]:.2f}" if s.instances in reference else "-"
        said = f"{s.target:,.0f}" if s.target else ""
        yield f"{s.name:<26}{s.instances:>10}{s.rate:>12,.0f}{ratio:>10}{1e3 * s.latency:>9.2f}{said:>11}"


def short(speeds: list[Speed]) -> list[Speed]:
    """Those that miss what was promised with every size of fleet: the promise names no size."""
    best = {s.name: max(x.rate for x in speeds if x.name == s.name) for s in speeds}
    return [s for s in speeds if s.target and best[s.name] < s.target]
