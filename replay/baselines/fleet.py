"""What a policy may ask of a simulated fleet that no gateway can see by itself.

Active health checks come the other way: whoever runs them calls `checked(slot, ok, now)` of a balancer that has this
method, for each check that came back or timed out, as those of HAProxy and Envoy take them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol


class Fleet(Protocol):
    """The instances behind a cluster, by slot. `now` is seconds on the simulation's clock."""

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        """What an instance answers to a probe: requests in flight there, from all gateways, and its own latency.

        The latency, in seconds, is the median of its recent ones that met about as many requests in flight; NaN while
        it knows none. An instance that is down or hangs answers (0, NaN).
        """

    def utilisation(self, slot: int, now: float) -> float:
        """The share of its slots that are busy: what an instance reports of itself. One failing fast reports little."""

    def capacity(self, slot: int) -> float:
        """Requests a second that the instance serves when nothing is wrong: what an operator knows of its machine."""

    def truths(self, now: float) -> tuple[Sequence[float], Collection[int]]:
        """By slot, the seconds until a request sent now is expected to be answered, its repetitions after errors
        included: infinite where it would hang or fail for certain. And the slots where it may fail, by any chance above
        0. Both are good until the next call.
        """
