"""The swarm: worlds drawn from seeds, run, and judged by what must hold in all of them.

While faults last no invariant may break. After they have healed, the traffic must come back to what it was before them,
within World.bound(). A failing world is made smaller by leaving out what it fails without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptive.controller import Settings
from adaptive.types import FULL_WEIGHT, Health
from replay import invariants
from replay.policies import named
from replay.scenario import Scenario, ScenarioError
from replay.simulator.run import Run
from replay.simulator.simulation import simulate
from replay.watching import Violation, Witness
from replay.worlds import CALM, EVEN, World, draw

LEAST = 30.0  # attempts that an instance must be due in the tail for its share to be judged
SHARE = 0.25  # by which an instance's share may differ from what is due, beside chance
# The same where instances differ, and what is due is what they got before: at low load the best one idle gets it all.
SHARE_UNEVEN = 2.0
CHANCE = 5.0  # standard deviations of a count, taken as Poisson's: one false alarm in a million and more
SLOWER = 2.0  # the tail's p99 by the calm one's: of 500 log-normal latencies the p99 is known to 20 %
FAILED = 0.01  # share of the tail's requests that may fail
TRIES = 60  # runs that making a world smaller may take


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one world."""

    world: World
    violations: list[Violation]
    requests: int = 0


def examine(world: World) -> Finding:
    """Runs a world and judges it. A run that ends in an exception is a violation too."""
    scenario = world.scenario
    witness = Witness([i.slots + i.backlog for i in scenario.instances])
    try:
        run = simulate(
            scenario,
            witness.watching(named(world.policy)),
            world.seed,
            record=True,
            settings=world.settings,
        )
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        witness.wrong("it runs", -1.0, f"{type(error).__name__}: {error}")
        return Finding(world, witness.found)
    witness.finish(scenario.seconds)
    found = witness.found + invariants.of_run(run, scenario)
    if world.heals:
        found += healed(world, run)
    return Finding(world, sorted(found, key=lambda v: v.at), len(run.requests.due))


def healed(world: World, run: Run) -> list[Violation]:
    """What is not yet as it was, once everything has healed and the bound is over."""
    scenario = world.scenario
    begin = scenario.seconds - EVEN
    found = _states(world, run, begin)
    if run.outcomes is not None:
        found += _shares(scenario, run.outcomes, begin)
    r = run.requests
    head, tail = (r.due >= scenario.warm) & (r.due < CALM), (r.due >= begin) & (r.due < scenario.seconds)
    failed = int(r.failed[tail].sum())
    if failed > FAILED * tail.sum():
        found.append(Violation("nothing fails after it healed", begin, f"{failed} of {tail.sum()} requests failed"))
    elif tail.any() and head.any():
        before, after = (float(np.quantile(r.latency[span], 0.99)) for span in (head, tail))
        if after > SLOWER * before:
            found.append(Violation("as fast as before", begin, f"p99 {after:.3f} s, and {before:.3f} s before"))
    return found


def _states(world: World, run: Run, begin: float) -> list[Violation]:
    """Nobody is out, nobody is still lowered for what has healed, every weight is whole."""
    found = []
    full = [max(1, round(FULL_WEIGHT * i.weight)) for i in world.scenario.instances]
    last = {view.gateway: view for view in run.views if view.at >= begin}
    for gateway, view in sorted(last.items()):
        for slot, (weight, health) in enumerate(zip(view.weight, view.health, strict=True)):
            if health != Health.HEALTHY or weight != full[slot]:
                text = f"slot {slot} of gateway {gateway} is {Health(health).name}, weight {weight} of {full[slot]}"
                found.append(Violation("everyone is back", view.at, text))
    return found


def _shares(scenario: Scenario, rows: Any, begin: float) -> list[Violation]:
    """Each instance's share of the attempts: even where the fleet is, else near what it was before the faults."""
    n = len(scenario.instances)
    sent = rows["sent_at"]
    head = np.bincount(rows["slot"][(sent >= scenario.warm) & (sent < CALM)], minlength=n)
    tail = np.bincount(rows["slot"][(sent >= begin) & (sent < scenario.seconds)], minlength=n)
    even = len({(i.service, i.slots, i.weight, i.priority) for i in scenario.instances}) == 1
    whole, scale = float(tail.sum()), float(tail.sum()) / max(1.0, float(head.sum()))
    found = []
    for slot in range(n):
        due = whole / n if even else float(head[slot]) * scale
        noise = due if even else due * (1.0 + scale)
        allowed = (SHARE if even else SHARE_UNEVEN) * due + CHANCE * math.sqrt(noise)
        if due >= LEAST and abs(tail[slot] - due) > allowed:
            text = f"slot {slot} got {tail[slot]} of {whole:.0f} attempts, and {due:.0f} ± {allowed:.0f} are due"
            found.append(Violation("even again", begin, text))
    return found


def smaller(world: World, invariant: str, judge: Callable[[World], Finding] = examine) -> World:
    """The same world without all that it breaks this invariant without: greedily, one part after another."""
    tries = 0
    again = True
    while again:
        again = False
        for candidate in _parts_left_out(world):
            tries += 1
            if tries > TRIES:
                return world
            if any(v.invariant == invariant for v in judge(candidate).violations):
                world, again = candidate, True
                break
    return world


def _parts_left_out(world: World) -> Iterator[World]:
    """Worlds with one thing less, the largest things first."""
    s = world.scenario
    if s.gateways > 1 and not any(int(f.values.get("gateway", -1)) > 0 for i in s.instances for f in i.faults):
        yield world.changed(gateways=1, stalls=tuple(x for x in s.stalls if x[0] == 0))
    if s.workers > 1:
        yield world.changed(workers=1)
    for k in range(len(s.stalls)):
        yield world.changed(stalls=s.stalls[:k] + s.stalls[k + 1 :])
    for i, j in world.faults():
        yield world.without(i, j)
    if s.load.burst is not None:
        yield world.changed(load=replace(s.load, burst=None))
    if len(s.load.rates) > 1:
        yield world.changed(load=replace(s.load, rates=s.load.rates[:1]))
    if len(s.load.work) > 1:
        yield world.changed(load=replace(s.load, work=s.load.work[:1]))
    if s.clients.retries:
        yield world.changed(clients=replace(s.clients, retries=0))


def described(world: World) -> str:
    """A world in a line."""
    s = world.scenario
    kinds = sorted({f.kind for i in s.instances for f in i.faults})
    parts = [
        world.policy,
        f"{len(s.instances)} instances",
        f"{s.load.rates[0][1]:.0f} requests/s for {s.seconds:.1f} s",
        f"{s.gateways} × {s.workers} workers",
        f"faults: {', '.join(kinds) or 'none'}",
    ]
    if s.stalls:
        parts.append(f"{len(s.stalls)} stalls")
    if world.heals:
        parts.append(f"healed at {world.trouble()[1]:.1f} s, to be even {world.bound():.0f} s later")
    return "; ".join(parts)


def of_scenario(scenario: Scenario) -> World:
    """The world that was saved as a scenario. ScenarioError where its notes do not say what it was."""
    notes = scenario.notes.get("swarm")
    try:
        model = dict(notes["model"])  # type: ignore[index]
        return World(int(notes["seed"]), scenario, str(notes["policy"]), Settings(**model), bool(notes["heals"]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise ScenarioError(f"{scenario.name}: notes.swarm: {notes!r} is not what the swarm saved") from None


__all__ = ["Finding", "described", "draw", "examine", "healed", "of_scenario", "smaller"]
