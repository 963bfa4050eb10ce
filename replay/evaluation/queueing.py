"""Service times apart from waiting: a first-in first-out queue before c servers, rebuilt from arrivals and departures.

With c servers the k-th arrival begins when it arrives or, if all are busy, when the first of them is free; so arrivals,
departures and c give every beginning. For the right c what is left are service times: they cannot be negative, and they
look the same whatever was waiting. The departures have density prod f(done - start(c)), with a Jacobian of one, so the
likelihoods of two c may be compared directly.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from replay.evaluation.attempts import Column, Floats

MOST = 64  # servers that are tried
ENOUGH = 6000  # attempts are enough to tell c from c + 1; the busiest stretch of that length is used
# Successive answers over which an instance is taken to be equally fast, while c is sought: the median of so many has a
# standard error of a quarter of their spread.
NEIGHBOURS = 25
CELL = 0.1  # width of a cell of the logarithm of service times, for their density
IMPOSSIBLE = np.log(1e-3)  # log density of a departure that c servers cannot explain: clocks and schedulers jitter
SHORTEST = 1e-5  # seconds; a service time is at least this
# Successive service times are not quite independent (one wrong departure moves the next), so that a difference of
# log-likelihoods counts for half.
TEMPER = 0.5


@dataclass(frozen=True, slots=True)
class Slots:
    """The number of servers of one instance."""

    best: int
    low: int  # 95 % interval
    high: int
    seen: int  # most attempts that were in the instance at once
    candidates: tuple[int, ...]
    chance: tuple[float, ...]  # of each candidate

    @property
    def bounded(self) -> bool:
        """Whether the trace shows an upper bound: if it never waited, it might have any number of servers."""
        return self.high < self.candidates[-1]


def begin(arrived: Floats, left: Floats, dropped: Column, servers: Column, until: Floats | None = None) -> Floats:
    """When each attempt's service began, shape (n,), in order of arrival; NaN for one that left while it waited.

    `dropped`: it left without an answer; if it was still waiting then, no server ever took it. `until`: when it freed
    its server, where that is not when it left: an instance goes on with what nobody waits for. `servers`: how many
    there were when each arrived.
    """
    busy: list[float] = []
    out = np.empty(len(arrived))
    push, pop = heapq.heappush, heapq.heappop
    gone, free, have = dropped.tolist(), (left if until is None else until).tolist(), servers.tolist()
    for k, (a, d) in enumerate(zip(arrived.tolist(), left.tolist(), strict=True)):
        while busy and busy[0] <= a:
            pop(busy)
        start, c = a, have[k]
        if len(busy) >= c:
            taken = [pop(busy) for _ in range(len(busy) - c + 1)]
            start = taken[-1]
            if gone[k] and d <= start:
                out[k] = np.nan
                for one in taken:
                    push(busy, one)
                continue
        out[k] = start
        push(busy, free[k])
    return out


def together(arrived: Floats, left: Floats) -> Floats:
    """How many others are in the instance when each arrives, shape (n,)."""
    gone = np.searchsorted(np.sort(left), arrived, side="right")
    return np.asarray(np.arange(len(arrived)) - gone, dtype=float)


def likelihood(arrived: Floats, left: Floats, dropped: Column, kept: Column, servers: int) -> Floats:
    """Log density of the service time of each attempt that is `kept`, under so many servers, shape (kept,)."""
    start = begin(arrived, left, dropped, np.full(len(arrived), servers))
    service = (left - start)[kept]
    wrong = ~(service > SHORTEST)
    log = np.log(np.maximum(service, SHORTEST))
    level = _levels(log)
    cell = np.floor((log - level) / CELL).astype(int)
    cell -= cell.min(initial=0)
    counts = np.bincount(cell[~wrong], minlength=int(cell.max(initial=0)) + 1).astype(float)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    others = np.maximum(smooth[cell] - 0.5, 0.05)  # without itself: it weighs 0.5 in its own cell
    density = np.log(others / (max(1, int((~wrong).sum())) * CELL)) - log
    return np.asarray(np.where(wrong, IMPOSSIBLE, density))


def _levels(log: Floats) -> Floats:
    """The median of each attempt's neighbours."""
    edges = np.arange(0, len(log), NEIGHBOURS)
    if len(edges) > 1:  # the last few join those before
        edges = edges[:-1] if len(log) - edges[-1] < NEIGHBOURS else edges
    parts = np.split(log, edges[1:])
    return np.concatenate([np.full(len(part), np.median(part)) for part in parts]) if len(log) else log


def slots(arrived: Floats, left: Floats, dropped: Column, kept: Column) -> Slots:
    """The number of servers, by likelihood over 1 to MOST. `kept`: the attempts whose service times are known."""
    span = _busiest(arrived, left)
    arrived, left, dropped, kept = arrived[span], left[span], dropped[span], kept[span]
    inside = int(together(arrived, left).max(initial=0)) + 1
    tried = [c for c in range(1, MOST + 1) if c <= inside]
    total = np.array([likelihood(arrived, left, dropped, kept, c).sum() for c in tried])
    return _chances(tried, total, inside)


def _chances(tried: Sequence[int], total: Floats, inside: int) -> Slots:
    chance = np.exp(TEMPER * (total - total.max()))
    chance /= chance.sum()
    below = np.cumsum(chance)
    low, high = (tried[min(len(tried) - 1, int(np.searchsorted(below, q)))] for q in (0.025, 0.975))
    return Slots(tried[int(np.argmax(total))], low, high, inside, tuple(tried), tuple(map(float, chance)))


def _busiest(arrived: Floats, left: Floats) -> slice:
    n = len(arrived)
    if n <= ENOUGH:
        return slice(0, n)
    load = np.cumsum(np.r_[0.0, together(arrived, left)])
    at = int(np.argmax(load[ENOUGH:] - load[:-ENOUGH]))
    return slice(at, at + ENOUGH)
