"""Scenarios of the arena's kind: ten instances of six slots and 40 ms at two thirds of their capacity, 40 seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from replay.scenario import Fault, Instance, Load, Scenario, Service
from replay.troubles import fault

COUNT, PORT, SLOTS, MEAN, SPREAD, RATE = 10, 9100, 6, 0.04, 0.6, 1000.0


def _fleet(slots: Sequence[int], faults: Mapping[int, Sequence[Fault]]) -> tuple[Instance, ...]:
    return tuple(
        Instance(f"127.0.0.1:{PORT + i}", Service(MEAN, SPREAD), slots=s, faults=tuple(faults.get(i, ())))
        for i, s in enumerate(slots)
    )


def arena(seed: int) -> dict[str, Scenario]:
    """Each by its name, with severities, times and victims drawn from the seed."""
    rng = random.Random(f"faults/{seed}")

    def made(name: str, faults: Mapping[int, Sequence[Fault]], rate: float = RATE) -> Scenario:
        return Scenario(
            name, _fleet([SLOTS] * COUNT, faults), Load(((0.0, rate),), post_share=0.5), seconds=40.0, seed=seed
        )

    a, b, c = rng.sample(range(COUNT), 3)
    start = rng.uniform(8, 12)
    end = start + rng.uniform(15, 22)
    wandering: dict[int, list[Fault]] = {}
    t = start
    while t < end:
        wandering.setdefault(rng.randrange(COUNT), []).append(fault("gc", t, t + 0.35, pause_ms=350))
        t += rng.uniform(0.6, 1.0)
    crash = end - 6
    leak = [
        fault("gc", start, crash, pause_ms=rng.uniform(250, 500), grow=1),
        fault("down", crash, crash + 3),
        fault("cold", crash + 3, crash + 9, factor=4),
    ]
    zone = rng.sample(range(COUNT), 4)
    down = fault("down", start, start + rng.uniform(5, 12))
    calm = made("calm", {})
    surge = replace(calm, name="surge", load=Load(((0.0, RATE), (12.0, 1650.0), (18.0, RATE)), post_share=0.5))
    uneven = replace(made("uneven", {}, 750.0), instances=_fleet([3 if i % 2 else SLOTS for i in range(COUNT)], {}))
    found = [
        calm,
        made("hang", {a: [fault("hang", start, end, p=1.0)]}),
        made("fast_errors", {a: [fault("errors", start, end, p=rng.uniform(0.8, 1.0))]}),
        made("slow_node", {a: [fault("slow", start, end, factor=rng.choice([4, 8, 12]))]}),
        surge,
        made("pauses", wandering),
        made("leak", {a: leak}),
        made("zone_down", {i: [down] for i in zone}, 600.0),
        uneven,
        made("ramp_slow", {a: [fault("ramp_slow", start, end, factor=rng.uniform(4, 10))]}),
        made("ramp_errors", {a: [fault("ramp_errors", start, end, p=rng.uniform(0.3, 0.8))]}),
        made("gray_10", {a: [fault("errors", start, end, p=0.1)]}),
        made("gray_20_slow", {a: [fault("errors", start, end, p=0.2), fault("slow", start, end, factor=1.5)]}),
        made("partial_hang", {a: [fault("hang", start, end, p=0.3)]}),
        made("two_at_once", {b: [fault("hang", start, end, p=1.0)], c: [fault("slow", start, end, factor=5)]}),
    ]
    return {s.name: s for s in found}
