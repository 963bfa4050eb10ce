"""How like two accounts of the same traffic are: a simulated run and a live one, or a prediction and what came true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import stdtrit

Column = np.ndarray[Any, Any]

FAILED = 0.10  # of the failures, or FEW requests if that is more
FEW = 5.0
APART = 0.05  # policies that differ by more than this must come in the right order


@dataclass(frozen=True, slots=True)
class Figures:
    """What clients saw of one policy: seconds by rank, and a number of requests."""

    p50: float
    p99: float
    failed: float

    @classmethod
    def of(cls, seen: Column, failed: float) -> Figures:
        """From latencies in seconds, a failed request at the clients' time-out."""
        x = np.sort(seen)
        p50, p99 = (float(x[min(len(x) - 1, int(q * len(x)))]) for q in (0.5, 0.99))
        return cls(p50, p99, failed)

    def off(self, truth: Figures) -> tuple[float, float, float]:
        """By how much p50 and p99 are off, relative, and the failures, in requests."""
        return self.p50 / truth.p50 - 1.0, self.p99 / truth.p99 - 1.0, self.failed - truth.failed


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far p50 and p99 may be off, relative, and whether failures may not be off by more than `allowance`."""

    p50: float
    p99: float
    failed: bool = True


SIMULATED = Bounds(0.05, 0.10)  # a scenario that is known, simulated
# One that is known by a trace under another policy alone: of failures, which chance moves most, intervals are asked.
PREDICTED = Bounds(0.10, 0.20, failed=False)


def misses(said: Figures, truth: Figures, bounds: Bounds) -> list[str]:
    """The figures that are off by more than they may."""
    p50, p99, failed = said.off(truth)
    told = (f"p50 {p50:+.1%}", f"p99 {p99:+.1%}", f"failed {failed:+.0f}")
    return [text for text, off in zip(told, beyond(said, truth, bounds), strict=True) if off]


def beyond(said: Figures, truth: Figures, bounds: Bounds) -> list[bool]:
    """Whether p50, p99 and failures are off by more than they may."""
    p50, p99, failed = (abs(off) for off in said.off(truth))
    return [p50 > bounds.p50, p99 > bounds.p99, bounds.failed and failed > allowance(truth.failed)]


def by_chance(draws: Sequence[Figures], truth: Figures, lives: int = 1) -> list[bool]:
    """Whether p50, p99 and failures of life are within what chance alone explains, at 95 %.

    Life is one more draw, or the mean of so many, beside `draws` (two or more) of the same requests with other luck.
    """
    ours = np.array([_scaled(one) for one in draws])
    n = len(ours)
    reach = stdtrit(n - 1, 0.975) * ours.std(axis=0, ddof=1) * np.sqrt(1.0 / n + 1.0 / lives)
    return [bool(x) for x in np.abs(_scaled(truth) - ours.mean(axis=0)) <= reach]


def _scaled(one: Figures) -> Column:
    return np.array([np.log(one.p50), np.log(one.p99), one.failed])


def allowance(failed: float) -> float:
    """Requests by which a number of failures may be off."""
    return max(FEW, FAILED * failed)


def misorders(said: Mapping[str, Figures], truth: Mapping[str, Figures]) -> list[str]:
    """Pairs of policies, by name, of which the wrong one is said to be better where they do differ."""
    return [text for text, _ in _pairs(said, truth) if text]


def pairs(truth: Mapping[str, Figures]) -> int:
    """How many pairs differ so that their order can be judged, over all three figures."""
    return sum(1 for _ in _pairs(truth, truth))


def _pairs(said: Mapping[str, Figures], truth: Mapping[str, Figures]) -> Iterator[tuple[str, float]]:
    for one, other in combinations(truth, 2):
        for name in ("p50", "p99", "failed"):
            a, b = getattr(truth[one], name), getattr(truth[other], name)
            least = allowance(min(a, b)) if name == "failed" else APART * min(a, b)
            if abs(a - b) <= least:
                continue
            told = getattr(said[one], name) - getattr(said[other], name)
            wrong = told * (a - b) <= 0.0
            yield (
                (f"{name} of {one if a < b else other} is less than of {other if a < b else one}" if wrong else ""),
                a - b,
            )


def middle(of: Sequence[Figures]) -> Figures:
    """The mean of several runs, of latencies the geometric one."""
    p50, p99 = (float(np.exp(np.mean(np.log([getattr(one, name) for one in of])))) for name in ("p50", "p99"))
    return Figures(p50, p99, float(np.mean([one.failed for one in of])))


def spread(first: Sequence[Figures], second: Sequence[Figures]) -> Figures:
    """Medians of how far two live runs of the same are apart: relative, and failures in requests."""
    off = np.abs([a.off(b) for a, b in zip(first, second, strict=True)])
    p50, p99, failed = (float(x) for x in np.median(off, axis=0))
    return Figures(p50, p99, failed)
