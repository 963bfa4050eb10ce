"""The faults of one instance, compiled: what is in force at a moment, and until when nothing changes.

What is drawn (flips, bursts) is drawn beforehand, from the seed and the instance's place.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from replay.scenario import Fault

FOREVER = float("inf")


class Condition(NamedTuple):
    """How an instance is at one moment."""

    slow: float = 1.0  # factor on service times
    errors: float = 0.0  # probability of an error instead of an answer
    error_seconds: float = 0.002
    hang: float = 0.0  # probability that a request is taken and never answered
    down: bool = False
    unreachable: bool = False
    share: float = 1.0  # of the slots
    stalled_until: float = 0.0


WELL = Condition()


class Faults:
    """The faults of one instance. `delays` are those of the paths to it, which are the gateways' business."""

    def __init__(self, faults: Sequence[Fault], index: int, seed: int, seconds: float) -> None:
        self.here: list[Fault] = []
        self.delays: list[Fault] = []
        for number, fault in enumerate(faults):
            if fault.kind in ("delay", "loss"):
                self.delays.append(fault)
            elif fault.kind in ("flip", "bursts"):
                self.here += _drawn(fault, random.Random(f"{seed}/faults/{index}/{number}"), seconds)
            else:
                self.here.append(fault)
        self.edges = sorted({t for f in self.here for t in (f.start, f.end)})
        self.downs = sorted((f.start, f.end) for f in self.here if f.kind == "down")
        self.unchecked = any(f.kind in ("down", "unreachable") for f in self.here)  # whether health checks may fail

    def change(self, t: float) -> float:
        """When the set of faults in force changes next."""
        place = bisect_right(self.edges, t)
        return self.edges[place] if place < len(self.edges) else FOREVER

    def active(self, t: float) -> list[Fault]:
        """The faults in force."""
        return [f for f in self.here if f.start <= t < f.end]

    def falls_within(self, t: float, seconds: float) -> bool:
        """Whether it goes down within so many seconds from now."""
        return any(t < start <= t + seconds for start, _ in self.downs)


def condition(active: Sequence[Fault], t: float) -> Condition:
    """What those in force amount to. Slowdowns multiply, of chances and pauses the largest counts."""
    slow, errors, seconds, hang, share, stalled = 1.0, 0.0, 0.002, 0.0, 1.0, 0.0
    down = unreachable = False
    for f in active:
        kind, values = f.kind, f.values
        x = (t - f.start) / (f.end - f.start)
        if kind == "slow":
            slow *= values["factor"]
        elif kind == "ramp_slow":
            slow *= 1.0 + (values["factor"] - 1.0) * x
        elif kind == "cold":
            slow *= 1.0 + (values["factor"] - 1.0) * (1.0 - x)
        elif kind == "leak":
            slow *= 1.0 + (t - f.start) / values["tau"]
        elif kind in ("errors", "ramp_errors"):
            p = values["p"] * (x if kind == "ramp_errors" else 1.0)
            if p > errors:
                errors, seconds = p, values["seconds"]
        elif kind == "hang":
            hang = max(hang, values["p"])
        elif kind == "shrink":
            share = min(share, values["slots"])
        elif kind == "gc":
            stalled = max(stalled, _pause(f, t, x))
        elif kind == "down":
            down = True
        elif kind == "unreachable":
            unreachable = True
    return Condition(slow, errors, seconds, hang, down, unreachable, share, stalled)


def _pause(fault: Fault, t: float, x: float) -> float:
    """When the pause that is under way ends; 0 where there is none."""
    values = fault.values
    length = values["pause_ms"] / 1e3
    if values["grow"]:
        length *= x
    if values["double"]:
        length *= 2.0 ** ((t - fault.start) // values["double"])
    phase = (t - fault.start) % values["period"]
    return t - phase + length if phase < length else 0.0


def _drawn(fault: Fault, rng: random.Random, seconds: float) -> list[Fault]:
    """Spans of slowness, drawn."""
    found, t, values = [], fault.start, fault.values
    slower = {"factor": values["factor"]}
    end = min(fault.end, seconds + 60.0)
    busy = rng.random() < 0.5
    while t < end:
        if fault.kind == "flip":
            busy, length = rng.random() < 0.5, values["period"]
        else:
            busy, length = not busy, rng.uniform(values["low"], values["high"])
        if busy:
            found.append(Fault("slow", t, min(t + length, end), slower))
        t += length
    return found
