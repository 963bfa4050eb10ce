"""Every policy that can be simulated, by name: those that serve live, and the baselines.

A name may carry settings: `least_request@random=0.01` makes one pick in a hundred at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from adaptive import balancer
from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.fleet import Fleet

Build = Callable[[Cluster, random.Random, Iterable[Lane], Fleet], balancer.Balancer]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a policy is made. `brain`: a Controller above it; `settings`: what its name carried."""

    name: str
    build: Build
    brain: bool = False
    source: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)


def _live(name: str) -> Build:
    made = balancer.POLICIES[name]

    def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> balancer.Balancer:
        return made(cluster, rng, adopted)

    return build


POLICIES: dict[str, Policy] = {
    "adaptive": Policy("adaptive", _live("adaptive"), brain=True, source="both loops, as `adaptive serve` runs them"),
    "adaptive_fast": Policy("adaptive_fast", _live("adaptive"), source="the fast loop alone: the brain is dead"),
    **{
        name: Policy(name, _live(name), source="as live")
        for name in ("least_request", "peak_ewma", "round_robin", "random")
    },
}
