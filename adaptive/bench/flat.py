"""Judges whether something grew: a line through what was sampled, and a bound on its slope.

A leak grows with what is done, so over a soak it is a trend; a cache that fills, an arena of the allocator or a
collection that is late is a step. The judgement takes samples after the warm-up alone, fits a line by Theil and Sen's
estimator (the median of the slopes between pairs of samples, Sen 1968), which up to 29 % of wild samples do not move,
and multiplies its slope by the time sampled: the growth. It fails where that exceeds both

- `share` of the median level. Memory: 5 %. Two soaks of one build differ by 1 to 3 %, in what the allocator holds; a
  leak of 100 bytes a request at 2,000 requests/s is 12 MB a minute, half of a worker's 25 MB.
- `least`, in the unit of the samples. Memory: 4 MiB; the allocator takes memory from the kernel in arenas of 1 MiB, and
  of the two or three arenas in use a sample may catch one more. The brain: 16 MiB; a segment that becomes Parquet
  takes 10 to 16 MiB, which Arrow's pool gives back some seconds later or keeps for the next. Descriptors: 12;
  connections come and go with the faults, in tens, but without a trend. Threads: 1; a thread that is not given back
  shows as two in ten reloads.

A short soak has less time to leak, so it is proportionally less sensitive: in 15 s a worker's leak is seen from 140
bytes a request on, at 2,000 a second; in nine minutes from 4 bytes on.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# The median of all pairs of n samples takes n²/2 slopes: of more samples than this, every k-th is taken.
_MOST = 300


@dataclass(frozen=True, slots=True)
class Bound:
    """How much growth is none."""

    share: float
    least: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One series: where it began and ended (medians of a tenth), its growth over the whole time, its bound."""

    first: float
    last: float
    highest: float
    growth: float
    bound: float

    @property
    def flat(self) -> bool:
        """Whether it stayed as it was; shrinking is no fault."""
        return self.growth <= self.bound


MEMORY = Bound(0.05, 4 * 2**20)
BRAIN_MEMORY = Bound(0.05, 16 * 2**20)
DESCRIPTORS = Bound(0.05, 12)
THREADS = Bound(0.0, 1)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Theil and Sen's estimate, in units of `values` a unit of `times`; 0 for fewer than two samples."""
    step = -(-len(times) // _MOST) or 1
    t, v = times[::step], values[::step]
    slopes = [(v[j] - v[i]) / (t[j] - t[i]) for i in range(len(t)) for j in range(i + 1, len(t)) if t[j] > t[i]]
    return statistics.median(slopes) if slopes else 0.0


def judge(times: Sequence[float], values: Sequence[float], bound: Bound) -> Judged:
    """Judges one series of at least two samples, those of the warm-up left out by the caller."""
    tenth = max(1, len(values) // 10)
    level = statistics.median(values)
    return Judged(
        first=statistics.median(values[:tenth]),
        last=statistics.median(values[-tenth:]),
        highest=max(values),
        growth=slope(times, values) * (times[-1] - times[0]),
        bound=max(bound.share * level, bound.least),
    )
