"""The network between one gateway and the instances: delays and losses that faults put on single paths."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from replay.scenario import Fault

if TYPE_CHECKING:
    from replay.simulator.instance import Instance


class Paths:
    """What each direction of each path adds, for one gateway."""

    def __init__(self, instances: Sequence[Instance], gateway: int, rng: random.Random) -> None:
        self.rng = rng
        self.faults: list[list[Fault]] = [
            [f for f in i.faults.delays if f.values["gateway"] in (-1.0, float(gateway))] for i in instances
        ]
        self.any = any(self.faults)

    def delay(self, slot: int, now: float) -> float:
        """Seconds that a message takes longer now."""
        found = 0.0
        for fault in self.faults[slot]:
            if fault.start <= now < fault.end:
                values = fault.values
                if fault.kind == "delay":
                    found += values["ms"] / 1e3
                elif self.rng.random() < values["p"]:
                    found += values["rto_ms"] / 1e3
        return found
