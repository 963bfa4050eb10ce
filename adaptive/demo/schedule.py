"""What happens to which instance and when: faults as pure functions of time.

Time is seconds since the start of the load. A fault lasts from `start` to `end`; where faults overlap, slowdowns
multiply and the longest pause counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SECONDS = 64.0  # length of the demo that the plan was drawn for; others stretch or shrink it
STEPS = 12  # steps in which a leak grows: visible as steps, small enough to look like a slope
PAUSE_EVERY = 1.0  # seconds between the collector's pauses in a leaking process
CALM, LEAK, DOWN, COLD, FAILING = "calm", "leak", "down", "cold", "failing"
KINDS = frozenset({LEAK, DOWN, COLD, FAILING})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `factor` is the greatest slowdown of a leak or a cold start; `pause` is a leak's longest, seconds."""

    kind: str
    start: float
    end: float
    factor: float = 1.0
    pause: float = 0.0


class Condition(NamedTuple):
    """How an instance is at one moment. `pause_ends` is the time when the pause under way ends; 0: there is none."""

    slowdown: float = 1.0
    pause_ends: float = 0.0
    failing: bool = False
    down: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults of each instance, and the size of every one: `slots` requests at once, `service` seconds each."""

    faults: tuple[tuple[Fault, ...], ...]
    slots: int = 4
    service: float = 0.024
    sigma: float = 0.5  # of the log-normal service time: p99 at three times the median

    @property
    def crashes(self) -> tuple[tuple[int, float, float], ...]:
        """(instance, when its leak began, when it crashed) of every leak that ends in a crash, in order of time."""
        found = []
        for index, faults in enumerate(self.faults):
            downs = {fault.start for fault in faults if fault.kind == DOWN}
            found += [(index, f.start, f.end) for f in faults if f.kind == LEAK and f.end in downs]
        return tuple(sorted(found, key=lambda crash: crash[2]))


def progress(fault: Fault, t: float) -> float:
    """How far a fault has come at t, from 0 to 1."""
    return min(max((t - fault.start) / (fault.end - fault.start), 0.0), 1.0)


def growth(fault: Fault, t: float) -> float:
    """How far a leak has grown at t, in steps from 1/STEPS to 1."""
    return min(int(progress(fault, t) * STEPS) + 1, STEPS) / STEPS


def condition(faults: tuple[Fault, ...], t: float) -> Condition:
    """The state of an instance at t."""
    slowdown, pause_ends, failing, down = 1.0, 0.0, False, False
    for fault in faults:
        if not fault.start <= t < fault.end:
            continue
        if fault.kind == LEAK:
            slowdown *= 1 + (fault.factor - 1) * growth(fault, t)
            since = (t - fault.start) % PAUSE_EVERY
            length = fault.pause * growth(fault, t)
            if since < length:
                pause_ends = max(pause_ends, t - since + length)
        elif fault.kind == COLD:
            slowdown *= 1 + (fault.factor - 1) * (1 - progress(fault, t))
        elif fault.kind == FAILING:
            failing = True
        elif fault.kind == DOWN:
            down = True
    return Condition(slowdown, pause_ends, failing, down)


def describe(faults: tuple[Fault, ...], t: float) -> tuple[str, str]:
    """(kind, sentence): what is truly going on at t, for who looks on."""
    for fault in faults:
        if not fault.start <= t < fault.end:
            continue
        now = condition(faults, t)
        if fault.kind == LEAK:
            return LEAK, f"leaks: {now.slowdown:.1f}×, {fault.end - t:.0f} s left"
        if fault.kind == COLD:
            return COLD, f"back, cold: {now.slowdown:.1f}×"
        if fault.kind == FAILING:
            return FAILING, "answers 503 in 2 ms"
        return DOWN, f"crashed, back in {fault.end - t:.0f} s"
    return CALM, ""


def leak(start: float, crash: float, back: float, warm: float) -> tuple[Fault, ...]:
    """A process that leaks memory: slower and slower with growing pauses, dead, started again, cold."""
    return (
        # Seven times slower fills four slots at a sixth of the load: what ignores it queues, as behind a real leak.
        Fault(LEAK, start, crash, factor=7.0, pause=0.12),
        Fault(DOWN, crash, back),
        Fault(COLD, back, warm, factor=4.0),
    )


def plan(seconds: float = SECONDS) -> Plan:
    """The demo's plan, stretched to `seconds`: six instances, of which one fails fast, and two leak and crash.

    Two, so that what was learned from the first leak can show in the second, at another instance.
    """
    scale = seconds / SECONDS
    faults: list[tuple[Fault, ...]] = [() for _ in range(6)]
    faults[1] = leak(8.0 * scale, 24.0 * scale, 28.0 * scale, 34.0 * scale)
    faults[2] = (Fault(FAILING, 30.0 * scale, 37.0 * scale),)
    faults[4] = leak(38.0 * scale, 56.0 * scale, 60.0 * scale, 70.0 * scale)
    return Plan(tuple(faults))


def dump(drawn: Plan) -> dict[str, Any]:
    """A plan as plain values, for a command line."""
    return asdict(drawn)


def load(values: Mapping[str, Any]) -> Plan:
    """A plan from what `dump` gave; raises KeyError, TypeError or ValueError where it is none."""
    faults = tuple(tuple(Fault(**fault) for fault in instance) for instance in values["faults"])
    wrong = sorted({fault.kind for instance in faults for fault in instance} - KINDS)
    if wrong:
        raise ValueError(f"no such kind of fault: {', '.join(wrong)}")
    return Plan(faults, int(values["slots"]), float(values["service"]), float(values["sigma"]))
