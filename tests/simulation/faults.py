"""Scenarios in the arena's own form: its five, and others with faults of other kinds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any


def scenario(name: str, faults: Mapping[int, Sequence[dict[str, Any]]], **changes: Any) -> dict[str, Any]:
    """Ten instances of six slots and 40 ms at two thirds of their capacity, with these faults by instance."""
    base: dict[str, Any] = {"post_share": 0.5, "name": name, "seconds": 40, "rate": 1000, "timeout_s": 2.0, "warm_s": 5}
    base["instances"] = [
        {"port": 9100 + i, "slots": 6, "mean_ms": 40.0, "sigma": 0.6, "faults": list(faults.get(i, ()))}
        for i in range(10)
    ]
    return base | changes


def between(start: float, end: float, kind: str, **parameters: Any) -> dict[str, Any]:
    """One fault."""
    return {"kind": kind, "from": start, "to": end, **parameters}


def drawn(seed: int) -> dict[str, dict[str, Any]]:
    """Every scenario by name, with its severities, times and victims drawn from the seed."""
    rng = random.Random(f"faults/{seed}")
    a, b, c = rng.sample(range(10), 3)
    start = rng.uniform(8, 12)
    end = start + rng.uniform(15, 22)
    wandering: dict[int, list[dict[str, Any]]] = {}
    t = start
    while t < end:
        wandering.setdefault(rng.randrange(10), []).append(between(t, t + 0.35, "gc", pause_ms=350, period=1.0))
        t += rng.uniform(0.6, 1.0)
    crash = end - 6
    leak = [
        between(start, crash, "gc", pause_ms=rng.uniform(250, 500), period=1.0, grow=True),
        between(crash, crash + 3, "down"),
        between(crash + 3, crash + 9, "cold", factor=4),
    ]
    uneven: list[dict[str, Any]] = [
        {"port": 9100 + i, "slots": 3 if i % 2 else 6, "mean_ms": 40.0, "faults": []} for i in range(10)
    ]
    zone = rng.sample(range(10), 4)
    zone_down = between(start, start + rng.uniform(5, 12), "down")
    made = [
        scenario("calm", {}),
        scenario("hang", {a: [between(start, end, "hang", p=1.0)]}),
        scenario("fast_errors", {a: [between(start, end, "errors", p=rng.uniform(0.8, 1.0))]}),
        scenario("slow_node", {a: [between(start, end, "slow", factor=rng.choice([4, 8, 12]))]}),
        scenario("surge", {}, rate_steps=[[0, 1000], [12, 1650], [18, 1000]]),
        scenario("pauses", wandering),
        scenario("leak", {a: leak}),
        scenario("zone_down", {i: [zone_down] for i in zone}, rate=600),
        scenario("uneven", {}, instances=uneven, rate=750),
        scenario("ramp_slow", {a: [between(start, end, "ramp_slow", factor=rng.uniform(4, 10))]}),
        scenario("ramp_errors", {a: [between(start, end, "ramp_errors", p=rng.uniform(0.3, 0.8))]}),
        scenario("gray_10", {a: [between(start, end, "errors", p=0.1)]}),
        scenario("gray_20_slow", {a: [between(start, end, "errors", p=0.2), between(start, end, "slow", factor=1.5)]}),
        scenario("partial_hang", {a: [between(start, end, "hang", p=0.3)]}),
        scenario("two_at_once", {b: [between(start, end, "hang", p=1.0)], c: [between(start, end, "slow", factor=5)]}),
    ]
    return {s["name"]: s for s in made}
