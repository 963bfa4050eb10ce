"""Stage, what a standard scenario is made from: the fleet, the load, the schedule and the named stream of chance."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replay.scenario import Clients, Fault, Instance, Load, Scenario, Service
from replay.troubles import fault

SLOTS = 4
SPREAD = 0.6  # sigma of the service's logarithm: p99 is four times the median
BASE = 300.0  # seconds of the schedule that `seconds` scales
PATIENCE = 100.0  # mean service times after which a client gives up
HELD_OUT = 1_000_000  # added to the seeds of held-out scenarios
JITTER = 1 / 60  # of the whole, by which the trouble begins early or late
BURST = (2.0, 2.0, 20.0)  # twice the rate for 2 s in each 20


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scenario is made from. Times of the schedule are those of the base; `at` scales them."""

    name: str
    n: int
    load: float
    seed: int
    held_out: bool
    seconds: float
    mean: float
    burst: bool
    rng: random.Random

    def at(self, second: float) -> float:
        """A time or length of the base's schedule in this one."""
        return second * self.seconds / BASE

    def window(self) -> tuple[float, float]:
        """From when until when the trouble lasts."""
        late = self.rng.uniform(0.0, JITTER) if self.held_out else -self.rng.uniform(0.0, JITTER)
        start = self.seconds * (1 / 3 + late)
        return start, start + self.seconds / 3

    def severity(self, listed: Sequence[float], unseen: Sequence[tuple[float, float]]) -> float:
        """One of the listed values, or a value from the ranges between them."""
        return self.rng.uniform(*self.rng.choice(unseen)) if self.held_out else self.rng.choice(listed)

    def victims(self, share: float = 0.0) -> list[int]:
        """One instance, or this share of them, rounded, at least one."""
        return sorted(self.rng.sample(range(self.n), max(1, math.floor(share * self.n + 0.5))))

    def make(
        self,
        faults: Mapping[int, Sequence[Fault]] | None = None,
        *,
        means: Sequence[float] = (),
        spread: float = SPREAD,
        share: float = 1.0,
        rates: Sequence[tuple[float, float]] = ((0.0, 1.0),),
        work: Sequence[tuple[float, float]] = ((0.0, 1.0),),
        zones: Sequence[str] = (),
        clients: Clients | None = None,
        gateways: int = 1,
        stalls: Sequence[tuple[int, float, float]] = (),
    ) -> Scenario:
        """The fleet with these faults. `means`: of each instance's service, in units of `mean`; `share`: what is left
        of the fleet's capacity on average; `rates`: factors on the rate, by their second; the others as in Scenario.
        """
        own = list(means) or [1.0] * self.n
        capacity = share * sum(SLOTS / (self.mean * m) for m in own)
        instances = tuple(
            Instance(
                f"10.0.{i // 250}.{i % 250 + 1}:8080",
                Service(self.mean * m, spread),
                slots=SLOTS,
                zone=zones[i] if zones else "",
                faults=tuple((faults or {}).get(i, ())),
            )
            for i, m in enumerate(own)
        )
        factor, on, each = BURST
        return Scenario(
            name=self.name,
            instances=instances,
            load=Load(
                rates=tuple((at, self.load * capacity * x) for at, x in rates),
                work=tuple(work),
                burst=(factor, self.at(on), self.at(each)) if self.burst else None,
            ),
            clients=clients or Clients(timeout=PATIENCE * self.mean),
            seconds=self.seconds,
            warm=self.at(20.0),
            seed=self.seed + HELD_OUT * self.held_out,
            gateways=gateways,
            stalls=tuple(stalls),
            notes={"load": self.load, "held_out": self.held_out},
        )

    def on(self, victims: Sequence[int], kind: str, start: float, end: float, **values: float) -> Scenario:
        """One fault of these instances, alike and together."""
        return self.make({i: [fault(kind, start, end, **values)] for i in victims})
