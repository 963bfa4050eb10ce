"""How long a slow attempt is waited for before it gets a second one beside it, by route. Pure: time is an argument.

Envoy has one delay for all of a route, in the routes themselves, so it follows the typical latency of the cluster in
steps. Less patience is a wish and can wait; more is pushed at once: in a fleet that is overloaded everything is slow,
and second copies of everything make it worse.
"""

from __future__ import annotations

import math

from adaptive.config.model import Config
from adaptive.types import Snapshot

# Of log-normal service times with a coefficient of variation of 1, 1 in 50 take so many times the typical latency.
FACTOR = 5.0
LEAST = 0.05  # seconds
STEP = math.log(1.5)  # routes are pushed anew when their patience has changed by half
LESS_EVERY = 5.0  # seconds between two pushes at least that do not ask for more
MORE_EVERY = 0.25  # and between two that do: as long as between two of a cluster's endpoints


class Patience:
    """`seconds` is what Envoys were told last, by route; a route without has no second copies."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._told_at = -math.inf

    def follow(self, config: Config, snapshot: Snapshot, now: float) -> bool:
        """Whether `seconds` has changed for what a Snapshot of this configuration says."""
        if now - self._told_at < MORE_EVERY:
            return False
        wanted: dict[str, float] = {}
        indexes = {name: index for index, name in enumerate(config.clusters)}
        for rule in config.routes:
            own = config.clusters[rule.cluster]
            typical = snapshot.clusters[indexes[rule.cluster]].typical
            if typical > 0 and own.policy == "adaptive" and own.hedging.enabled:
                wanted[rule.name] = max(FACTOR * typical, LEAST)
        if not self._due(wanted, now):
            return False
        self.seconds, self._told_at = wanted, now
        return True

    def _due(self, wanted: dict[str, float], now: float) -> bool:
        if wanted.keys() != self.seconds.keys():
            return now - self._told_at >= LESS_EVERY
        steps = [math.log(wanted[name] / held) for name, held in self.seconds.items()]
        if now - self._told_at < LESS_EVERY:
            return max(steps, default=0.0) > STEP
        return any(abs(step) > STEP for step in steps)
