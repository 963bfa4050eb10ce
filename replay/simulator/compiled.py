"""Runs that need no more than a compiled loop: simple policies in front of a fleet whose worst trouble is to be slow.

`run` gives None where a scenario or a policy is out of this range, where something comes up in the run that it cannot
express (a full backlog, an attempt that would be given up), and without the extra `[fast]`; then the simulator itself
runs. Where it gives a Run, that equals the simulator's in every bit.
"""

from __future__ import annotations

import math
import random
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from adaptive.types import Topology, first_snapshot
from replay import arrivals
from replay.policies import Policy
from replay.scenario import Load, Scenario
from replay.simulator import service
from replay.simulator.faults import Faults
from replay.simulator.gateway import FIXED, SWEEP
from replay.simulator.run import Requests, Run
from replay.simulator.simulation import SPAN, cluster_of

POLICIES = ("round_robin", "random", "least_request", "least_request_all")  # in the order of the kernel's numbers
SLOW = {"slow": "factor", "ramp_slow": "factor", "cold": "factor", "leak": "tau"}  # likewise, and whose value counts
SPARE = 10.0  # standard deviations of a Poisson count by which room for arrivals exceeds its mean


@cache
def kernel() -> ModuleType | None:
    """The compiled functions; None without the extra."""
    try:
        from replay.simulator import kernel as found
    except ImportError:
        return None
    return found


class _Troubles(NamedTuple):
    first: Any  # (instances + 1,): where each one's faults begin
    kinds: Any  # (faults,)
    spans: Any  # (faults, 3): start, end, value


def run(scenario: Scenario, policy: Policy, seed: int) -> Run | None:
    """The scenario under the policy, where it can be compiled."""
    if not _in_range(scenario, policy):
        return None
    troubles = _troubles(scenario, seed)
    compiled = kernel()
    if troubles is None or compiled is None:
        return None
    plan = arrivals.draw(scenario, seed, _steps)
    n = len(plan.due)
    if not n:
        return None
    cluster = cluster_of(scenario, policy.name)
    rng = random.Random(f"{seed}/picks/0/0")
    balancer = policy.build(cluster, rng, (), None)  # type: ignore[arg-type]  # none of these asks the fleet anything
    balancer.apply(first_snapshot(Topology(1, (cluster,), len(cluster.members)), math.inf))
    kinds = list(dict.fromkeys(i.service for i in scenario.instances))
    times = np.array([service.draw(kind, plan.normal, plan.work) for kind in kinds])
    lane, status = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    ended, served = np.full(n, np.nan), np.zeros(len(scenario.instances), dtype=np.int64)
    timeout = scenario.clients.timeout
    end = float(plan.due[-1]) + timeout + SPAN
    handled = compiled.run(
        POLICIES.index(policy.name), _state(rng), np.array([float(x.weight) for x in balancer.lanes]), plan.due, times,
        np.array([kinds.index(i.service) for i in scenario.instances]),
        np.array([i.slots for i in scenario.instances]), np.array([i.backlog for i in scenario.instances]),
        *troubles, timeout, end, lane, ended, status, served,
    )  # fmt: skip
    if handled < 0 or (policy.timeout != "none" and _given_up(scenario, plan, ended)):
        return None
    latency = ended - plan.due
    answered = status > 0
    latency[answered] += scenario.wire
    counts = dict.fromkeys(("retries", "hedges", "shed", "budget_exhausted"), 0)
    events = handled + _sweeps(seed, end) + n
    counts |= {"given_up": n - int(answered.sum()), "attempts": n, "ticks": 0, "events": events}
    columns = Requests(
        plan.due, np.minimum(latency, timeout), ~answered, plan.post, status.astype(np.uint16),
        np.ones(n, dtype=np.uint8), np.zeros(n, dtype=np.uint8),
    )  # fmt: skip
    return Run(scenario.name, policy.name, seed, scenario.warm, timeout, columns, served.tolist(), counts)


def _in_range(scenario: Scenario, policy: Policy) -> bool:
    rules, clients = scenario.rules, scenario.clients
    return (
        policy.name in POLICIES
        and scenario.gateways == scenario.workers == 1
        and not scenario.stalls
        and not clients.retries
        and not clients.attempt_timeout
        and not rules.attempt_timeout
        and not rules.request_limit
        and clients.timeout < rules.route_timeout
        and len({i.priority for i in scenario.instances}) == 1
    )


def _troubles(scenario: Scenario, seed: int) -> _Troubles | None:
    """The faults as columns; None where one does more than slow an instance down."""
    first, kinds, spans = [0], [], []
    names = list(SLOW)
    for slot, spec in enumerate(scenario.instances):
        faults = Faults(spec.faults, slot, seed, scenario.seconds)
        if faults.delays or any(f.kind not in SLOW for f in faults.here):
            return None
        for f in faults.here:
            kinds.append(names.index(f.kind))
            spans.append((f.start, f.end, f.values[SLOW[f.kind]]))
        first.append(len(kinds))
    return _Troubles(np.array(first), np.array(kinds, dtype=np.int64), np.array(spans, dtype=np.float64).reshape(-1, 3))


def _given_up(scenario: Scenario, plan: arrivals.Arrivals, ended: Any) -> bool:
    """Whether the gateway would have given up on an attempt that may be made again."""
    means = sorted(service.mean(i.service) for i in scenario.instances)
    return bool(((ended - plan.due)[~plan.post] >= FIXED * means[len(means) // 2]).any())


def _sweeps(seed: int, end: float) -> int:
    """How often the worker sweeps, which the simulator counts among its events."""
    at, count = SWEEP * (0.5 + 0.5 * random.Random(f"{seed}/worker/0/0").random()), 0
    while at <= end:
        at, count = at + SWEEP, count + 1
    return count


def _state(rng: random.Random) -> Any:
    return np.array(rng.getstate()[1], dtype=np.int64)


def _steps(load: Load, seconds: float, seed: int) -> tuple[Any, Any]:
    """As `arrivals` draws them."""
    compiled = kernel()
    rates = np.array([rate for _, rate in load.rates])
    starts = [at for at, _ in load.rates]
    ends = np.array([*starts[1:], seconds])
    expected = float((rates * np.diff([*starts, max(seconds, starts[-1])])).sum())
    room = int(expected + SPARE * math.sqrt(expected) + SPARE * len(rates))
    due, post = np.empty(room), np.empty(room, dtype=bool)
    state = _state(random.Random(seed + 1))
    count = compiled.steps(state, rates, ends, seconds, load.post_share, due, post) if compiled is not None else -1
    return (due[:count], post[:count]) if count >= 0 else arrivals.steps(load, seconds, seed)
