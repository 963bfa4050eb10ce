"""The requests of a scenario: when each is due, whether it may be sent twice, and how much work it is.

Drawn from the seed alone, so that every policy meets the same ones. Plain steps of rates are drawn one after the other
from `random.Random(seed + 1)`, as load generators do that know nothing but `random`; so a live load with the same seed
sends the same requests.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.scenario import Load, Scenario

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Steps = Callable[[Load, float, int], tuple[Floats, Bools]]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One row a request, in the order in which they are due; shapes (n,)."""

    due: Floats  # seconds
    post: Bools  # must not be sent twice
    work: Floats  # factor on its service time
    normal: Floats  # standard normal that its first attempt's service time is made of


def draw(scenario: Scenario, seed: int, stepping: Steps | None = None) -> Arrivals:
    """The scenario's requests. `stepping` may do what `steps` does, faster."""
    load = scenario.load
    if load.due is not None:
        due = np.asarray(load.due, dtype=np.float64)
        rng = random.Random(f"{seed}/posts")
        posts = load.posts if load.posts is not None else [rng.random() < load.post_share for _ in due]
        post = np.asarray(posts, dtype=bool)
    elif load.burst is None:
        due, post = (stepping or steps)(load, scenario.seconds, seed)
    else:
        due, post = _bursts(load, scenario.seconds, seed)
    starts, factors = zip(*load.work, strict=True)
    at = np.maximum(np.searchsorted(np.array(starts), due, side="right") - 1, 0)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed & 0xFFFFFFFF, 0x5E2F1CE])))
    return Arrivals(due, post, np.array(factors)[at], generator.standard_normal(len(due)))


def steps(load: Load, seconds: float, seed: int) -> tuple[Floats, Bools]:
    """Poisson arrivals at the rate of the step that is in force. The last one may be due just after the end."""
    draw, log = random.Random(seed + 1).random, math.log
    share = load.post_share
    due, post = [], []
    t = 0.0
    spans = [(rate, end) for (_, rate), end in zip(load.rates, [*(a for a, _ in load.rates[1:]), seconds], strict=True)]
    for rate, end in spans:
        if rate <= 0.0:
            t = max(t, end)
            continue
        last = min(end, seconds)
        while t < last:
            t -= log(1.0 - draw()) / rate  # as `random.Random.expovariate` draws it
            due.append(t)
            post.append(draw() < share)
    return np.array(due), np.array(post, dtype=bool)


def _bursts(load: Load, seconds: float, seed: int) -> tuple[Floats, Bools]:
    """The same with the rate multiplied in bursts, by thinning."""
    assert load.burst is not None
    factor, on, every = load.burst
    rng = random.Random(f"{seed}/bursts")
    starts = [a for a, _ in load.rates]
    most = max(rate for _, rate in load.rates) * max(1.0, factor)
    due, post = [], []
    t = 0.0
    while most > 0.0:
        t += rng.expovariate(most)
        if t >= seconds:
            break
        rate = load.rates[max(bisect.bisect_right(starts, t) - 1, 0)][1] * (factor if t % every < on else 1.0)
        if rng.random() * most < rate:
            due.append(t)
            post.append(rng.random() < load.post_share)
    return np.array(due), np.array(post, dtype=bool)
