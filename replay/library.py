"""The standard scenarios, by name: seventeen kinds of trouble, most in several forms, for fleets of any size.

The base is 300 seconds, the trouble from 100 to 200, instances of 4 slots and 10 ms of log-normal service, Poisson
arrivals at 0.7 or 0.9 of what the fleet can serve. `seconds` scales the schedule (30: trouble from 10 to 20), but not
the gateway's own constants: its holds of 2 and 3 s weigh ten times as much then. `mean` scales service and what is
measured against it, because 100 instances at 10 ms serve 28,000 requests a second.

Severities, victims and times come from named streams of the seed. For tuning, a severity is one of those listed and the
trouble begins up to a sixtieth of the whole early; held out, the severity is drawn from ranges between the listed ones,
the trouble begins as much late, and the seeds are others: what was tuned on one has not seen the other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from replay import standard
from replay.arena_like import arena
from replay.scenario import Scenario
from replay.stage import BASE, Stage

Maker = Callable[[Stage], Scenario]


def makers() -> dict[str, Maker]:
    """Every scenario's maker by its name, in order; the first line of its docstring says what happens."""
    return {
        name: maker
        for name, maker in vars(standard).items()
        if name[0] == "s" and name[1:2].isdigit() and callable(maker)
    }


def summary(name: str) -> str:
    """What happens in a scenario, in a sentence."""
    return (makers()[name].__doc__ or "").partition("\n")[0]


def one(
    name: str,
    n: int = 8,
    load: float = 0.7,
    seed: int = 0,
    held_out: bool = False,
    seconds: float = BASE,
    mean: float = 0.01,
    burst: bool = False,
) -> Scenario:
    """The scenario of this name. `burst` adds spans of twice the rate. KeyError for a name that does not exist."""
    if n < 1 or not 0.0 < load < 2.0 or not 0.0 < seconds < math.inf or not 0.0 < mean < math.inf:
        raise ValueError(f"no fleet is made of n={n}, load={load:g}, seconds={seconds:g}, mean={mean:g}")
    rng = random.Random(f"library/{name}/{'held out' if held_out else 'tuning'}/{seed}/{n}")
    return makers()[name](Stage(name, n, load, seed, held_out, seconds, mean, burst, rng))


def library(
    n: int = 8,
    load: float = 0.7,
    seed: int = 0,
    held_out: bool = False,
    seconds: float = BASE,
    mean: float = 0.01,
    burst: bool = False,
) -> dict[str, Scenario]:
    """All of them by name."""
    return {name: one(name, n, load, seed, held_out, seconds, mean, burst) for name in makers()}


__all__ = ["Stage", "arena", "library", "makers", "one", "summary"]
