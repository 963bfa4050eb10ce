"""How every instance really is, kept up to date: only those are asked anew to which something has happened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replay.simulator.instance import Instance


class Truths:
    """By slot, the seconds until a request sent now is expected to be answered; and the slots where it may fail.

    An instance without a fault changes where a request begins or ends there, and says so in `touched`; any other one
    changes by the mere passing of time.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.instances = instances
        self.expected = [math.inf] * len(instances)
        self.risky: set[int] = set()
        self.touched = set(range(len(instances)))
        self.passing: set[int] = set()  # slots that are not what they were a moment ago
        self.until = [math.inf] * len(instances)  # when the others' faults change
        self.soonest = math.inf
        for instance in instances:
            instance.touched = self.touched

    def now(self, now: float) -> tuple[list[float], set[int]]:
        """As `Fleet.truths`."""
        due = self.touched | self.passing
        if now >= self.soonest:
            due.update(slot for slot, until in enumerate(self.until) if until <= now)
        for slot in due:
            instance = self.instances[slot]
            may_fail, self.expected[slot] = instance.truth(now)
            (self.risky.add if may_fail else self.risky.discard)(slot)
            settled = instance.plain and now < instance.change and not instance.faults.downs
            (self.passing.discard if settled else self.passing.add)(slot)
            until = instance.change if settled else math.inf
            if until != self.until[slot]:
                self.until[slot] = until
                self.soonest = min(self.until)
        self.touched.clear()
        return self.expected, self.risky
