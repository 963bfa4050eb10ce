"""How soon Envoys have what was decided: an operator's words, one after the other, each a push of its own.

The time runs from the brain's decision (the Snapshot's time) to Envoy's ACK, as the station counts it. Publishing, its
look at the board, the push and Envoy's answer are all within; so is the wait where its cluster was pushed just before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from adaptive.bench.running import Gateway, NotStarted, ask

PUSHES = 30
# Seconds between two words: several of the intervals between two pushes of a cluster (0.25), so that the return of who
# was ejected, which is pushed too, seldom makes the next word wait.
APART = 1.0


@dataclass(frozen=True, slots=True)
class Acks:
    """Counts of the delays by upper bound (seconds), not cumulative; the last has no bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def within(self, share: float) -> float:
        """The bound (seconds) that this share of the delays keeps."""
        wanted, seen = share * sum(self.counts), 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")

    def __str__(self) -> str:
        middle, most = (f"{1e3 * self.within(share):g} ms" for share in (0.5, 0.95))
        return f"from a decision to Envoy's ACK: half within {middle}, 95 % within {most} ({sum(self.counts)} pushes)"


async def acknowledged(gateway: Gateway, addresses: Sequence[str], cluster: str = "api", pushes: int = PUSHES) -> Acks:
    """The delays of pushes that eject one endpoint of a cluster and take it back, in turn. Raises NotStarted."""
    await asyncio.sleep(1.0)  # the station tells four times a second what it has counted
    bounds, before = await _counts(gateway)
    target = f"/clusters/{cluster}/endpoints/{addresses[0]}/override"
    for number in range(pushes):
        said = {"action": "restore"} if number % 2 else {"action": "eject", "seconds": 60, "reason": "measured"}
        status, body = await ask(gateway.admin, target, "POST", said=said)
        if status != 200:
            raise NotStarted(f"the gateway takes no operator's word: {status} {body.decode(errors='replace')}")
        await asyncio.sleep(APART)
    await asyncio.sleep(1.0)
    _, after = await _counts(gateway)
    return Acks(bounds, tuple(late - early for late, early in zip(after, before, strict=True)))


async def _counts(gateway: Gateway) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The bounds, and how many delays were within each and not within the one before."""
    found: dict[str, Any] = (await gateway.report())["data_plane"]["ack"]
    running = [0, *found["counts"]]
    return tuple(found["bounds"]), tuple(late - early for early, late in pairwise(running))
