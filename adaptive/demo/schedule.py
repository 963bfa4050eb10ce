"""The world of the demo, a scenario: who fails when and how; and what is truly going on, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from adaptive.demo.figures import PATIENCE
from replay.scenario import Clients, Fault, Instance, Load, Scenario, Service
from replay.simulator.faults import condition
from replay.troubles import fault

SECONDS = 64.0  # length of the demo that the plan was drawn for; others stretch or shrink it
RATE = 400.0  # requests a second on each gateway: 40 % of what six calm instances bear, and half of one core in all
SLOTS = 4
SERVICE = Service(0.024, 0.5)  # p99 at three times the median
PAUSE = 120.0  # ms, the longest of a leak
BACKLOG = 2048
CALM, LEAK, DOWN, COLD, FAILING = "calm", "leak", "down", "cold", "failing"
# What is said of a fault of each kind; pauses come with a leak, and are not told apart.
TOLD = {"ramp_slow": LEAK, "down": DOWN, "cold": COLD, "errors": FAILING}


def leak(start: float, crash: float, back: float, warm: float) -> tuple[Fault, ...]:
    """A process that leaks memory: slower and slower with growing pauses, dead, started again, cold."""
    return (
        # Seven times slower fills four slots at a sixth of the load: what ignores it queues, as behind a real leak.
        fault("ramp_slow", start, crash, factor=7.0),
        fault("gc", start, crash, pause_ms=PAUSE, grow=1.0),
        fault("down", crash, back),
        fault("cold", back, warm, factor=4.0),
    )


def plan(seconds: float = SECONDS, seed: int = 1) -> Scenario:
    """The demo's plan, stretched to `seconds`: six instances, of which one fails fast, and two leak and crash.

    Two, so that what was learned from the first leak can show in the second, at another instance.
    """
    k = seconds / SECONDS
    faults: list[tuple[Fault, ...]] = [() for _ in range(6)]
    faults[1] = leak(8.0 * k, 24.0 * k, 28.0 * k, 34.0 * k)
    faults[2] = (fault("errors", 30.0 * k, 37.0 * k, p=1.0),)
    faults[4] = leak(38.0 * k, 56.0 * k, 60.0 * k, 70.0 * k)
    return Scenario(
        "demo",
        tuple(Instance(f"127.0.0.1:{9100 + i}", SERVICE, SLOTS, BACKLOG, faults=each) for i, each in enumerate(faults)),
        Load(((0.0, RATE),), post_share=0.5),
        Clients(timeout=PATIENCE),
        seconds=seconds,
        warm=0.0,
        seed=seed,
    )


def crashes(world: Scenario) -> list[tuple[int, float, float]]:
    """(instance, when its leak began, when it crashed) of every leak that ends in a crash, in order of time."""
    found = []
    for index, instance in enumerate(world.instances):
        told = [one for one in instance.faults if one.kind in ("ramp_slow", "down")]
        found += [
            (index, one.start, one.end)
            for one, following in pairwise(told)
            if (one.kind, following.kind) == ("ramp_slow", "down") and one.end == following.start
        ]
    return sorted(found, key=lambda crash: crash[2])


def describe(faults: Sequence[Fault], t: float) -> tuple[str, str]:
    """(kind, sentence): what is truly going on at t, for who looks on."""
    active = [one for one in faults if one.start <= t < one.end]
    for one in active:
        kind = TOLD.get(one.kind, CALM)
        slow = condition(active, t).slow
        if kind == LEAK:
            return LEAK, f"leaks: {slow:.1f}×, {one.end - t:.0f} s left"
        if kind == COLD:
            return COLD, f"back, cold: {slow:.1f}×"
        if kind == FAILING:
            return FAILING, "answers 503 in 2 ms"
        if kind == DOWN:
            return DOWN, f"crashed, back in {one.end - t:.0f} s"
    return CALM, ""
