"""What is computed from the results: counts, quantiles, and how early a crash was seen coming."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# Seconds that a client waits, and that a failed request counts as: more than any that succeeds, so that failing fast is
# no way to look fast; more than the gateways' own time-out of 2 s, so that they are the ones to answer.
PATIENCE = 2.5
RECENT = 5  # seconds that "now" means in the live picture


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least a share q lies at or below (nearest rank); NaN of nothing."""
    return ordered[min(len(ordered), max(1, math.ceil(q * len(ordered)))) - 1] if ordered else math.nan


class Second(NamedTuple):
    """The requests that ended in one second."""

    second: int
    failed: int
    latencies: list[float]


class Summary(NamedTuple):
    """A row of the closing table; seconds."""

    requests: int
    failed: int
    p50: float
    p99: float
    p999: float


@dataclass(slots=True)
class Results:
    """What one load has seen so far."""

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    recent: deque[Second] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, second: Second) -> None:
        """Takes the next second."""
        self.latencies += second.latencies
        self.failed += second.failed
        self.recent.append(second)

    def now(self) -> tuple[float, Summary]:
        """(requests a second, summary) of the last RECENT seconds."""
        latencies = [latency for second in self.recent for latency in second.latencies]
        failed = sum(second.failed for second in self.recent)
        summary = summarise(latencies, failed)
        return summary.requests / max(1, len(self.recent)), summary

    def summary(self) -> Summary:
        """Of everything."""
        return summarise(self.latencies, self.failed)


def summarise(latencies: Iterable[float], failed: int) -> Summary:
    """Counts and quantiles; each failed request counts as PATIENCE seconds."""
    ordered = [*sorted(latencies), *([PATIENCE] * failed)]
    return Summary(len(ordered), failed, quantile(ordered, 0.5), quantile(ordered, 0.99), quantile(ordered, 0.999))


class Move(NamedTuple):
    """An instance changed its state: when (seconds since the start), which, from what to what, and why."""

    at: float
    instance: int
    before: str
    after: str
    reason: str


class Warned(NamedTuple):
    """How a crash was seen coming; seconds before it, None where it was not."""

    lowered: float | None  # first out of full service since the leak began
    reason: str
    away: float  # share of the time from then to the crash spent out of full service
    predicted: float | None  # first time that the model's probability was at the level at which it acts


def warned(
    moves: Sequence[Move], predictions: Sequence[tuple[float, float]], leak: tuple[int, float, float], level: float
) -> Warned:
    """How early a crash was seen. `leak` is (instance, when its leak began, when it crashed), `moves` are those of all
    instances in order of time, `predictions` the instance's (time, probability) in order. A state held from before the
    leak does not count as foresight, nor does what came after the crash.
    """
    instance, began, crashed = leak
    lowered: float | None = None
    reason, away = "", 0.0
    since: float | None = None  # out of full service since, within the leak
    for move in moves:
        if move.instance != instance or not began <= move.at < crashed:
            continue
        if move.after != "HEALTHY" and since is None:
            since = move.at
            if lowered is None:
                lowered, reason = move.at, move.reason
        elif move.after == "HEALTHY" and since is not None:
            away += move.at - since
            since = None
    if since is not None:
        away += crashed - since
    start = bisect_left(predictions, (began, -math.inf))
    risen = next((at for at, p in predictions[start:] if at < crashed and p >= level), None)
    return Warned(
        None if lowered is None else crashed - lowered,
        reason,
        0.0 if lowered is None else away / (crashed - lowered),
        None if risen is None else crashed - risen,
    )
