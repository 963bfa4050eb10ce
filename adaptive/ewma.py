"""Averages and quantiles that forget with time: `add(value, at)`, `get(now)`.

Time is float seconds and never read here. Times that run backwards by a little (two callers, one clock read each) count
as no time passed. Nothing is allocated after construction.
"""

from __future__ import annotations

from math import exp, log2


class Ewma:
    """Mean in which a sample's weight falls by 1/e in `tau` seconds.

    The sum and the mass of the weights are kept apart, so that ten samples at one instant count as ten samples; the
    form `value += (x - value) * (1 - exp(-dt/tau))` would ignore nine of them. `mass` is the effective number of
    samples, by which a caller can tell a mean of many from a mean of one.
    """

    __slots__ = ("at", "mass", "tau", "total")

    def __init__(self, tau: float) -> None:
        if not tau > 0:
            raise ValueError(f"tau must be positive, not {tau}")
        self.tau = tau
        self.total = 0.0
        self.mass = 0.0
        self.at = 0.0

    def add(self, value: float, at: float) -> None:
        """One sample."""
        if self.mass > 0.0:
            passed = at - self.at
            if passed > 0.0:
                kept = exp(-passed / self.tau)
                self.total = self.total * kept + value
                self.mass = self.mass * kept + 1.0
                self.at = at
            else:
                self.total += value
                self.mass += 1.0
        else:
            self.total = value
            self.mass = 1.0
            self.at = at

    def get(self, now: float) -> float:
        """The mean; NaN before the first sample. It does not move while no sample comes."""
        return self.total / self.mass if self.mass > 0.0 else float("nan")

    def weight(self, now: float) -> float:
        """Effective number of samples that the mean rests on at `now`."""
        passed = now - self.at
        return self.mass * exp(-passed / self.tau) if passed > 0.0 else self.mass


class PeakEwma:
    """An estimate that rises at once to a higher sample and falls towards lower ones with time constant `tau` seconds.

    Finagle's Peak EWMA (`Metric` in its load balancer): between samples it sinks towards 0, so that an endpoint that
    was slow once is tried again.
    """

    __slots__ = ("at", "tau", "value")

    def __init__(self, tau: float) -> None:
        if not tau > 0:
            raise ValueError(f"tau must be positive, not {tau}")
        self.tau = tau
        self.value = 0.0
        self.at = 0.0

    def add(self, value: float, at: float) -> None:
        """One sample."""
        kept = exp(-max(0.0, at - self.at) / self.tau)
        self.value = value if value > self.value else self.value * kept + value * (1.0 - kept)
        self.at = max(at, self.at)

    def get(self, now: float) -> float:
        """The estimate at `now`; 0 before the first sample."""
        passed = now - self.at
        return self.value * exp(-passed / self.tau) if passed > 0.0 else self.value


class Decayed:
    """A sum whose terms are halved every `half_life` seconds."""

    __slots__ = ("at", "half_life", "value")

    def __init__(self, half_life: float) -> None:
        if not half_life > 0:
            raise ValueError(f"half_life must be positive, not {half_life}")
        self.half_life = half_life
        self.value = 0.0
        self.at = 0.0

    def add(self, value: float, at: float) -> None:
        """One term."""
        self.value = self.get(at) + value
        self.at = max(at, self.at)

    def scale(self, factor: float) -> None:
        """Multiplies all that was added so far."""
        self.value *= factor

    def get(self, now: float) -> float:
        """The sum at `now`."""
        passed = now - self.at
        return self.value * 2.0 ** (-passed / self.half_life) if passed > 0.0 else self.value


# Buckets of the quantile window: eight to a doubling, so that a quantile is off by at most half of 2**(1/8), 4.4 %;
# from 0.1 ms, below which no network answers, for 21 doublings, which is past 200 s.
_PER_DOUBLING = 8
_LOWEST = 1e-4
_BUCKETS = 21 * _PER_DOUBLING


class Quantiles:
    """Quantiles of a positive quantity (seconds) over about the last `half_life / ln 2` seconds, from a histogram.

    Buckets are logarithmic; all counts are halved every `half_life` seconds, which costs one pass over 168 buckets.
    """

    __slots__ = ("counts", "half_life", "halved_at", "mass")

    def __init__(self, half_life: float) -> None:
        if not half_life > 0:
            raise ValueError(f"half_life must be positive, not {half_life}")
        self.half_life = half_life
        self.counts = [0.0] * _BUCKETS
        self.mass = 0.0
        self.halved_at: float | None = None

    def add(self, value: float, at: float) -> None:
        """One sample. What lies outside of the buckets counts in the first or the last one."""
        halved_at = self.halved_at
        if halved_at is None:
            self.halved_at = at
        elif at - halved_at >= self.half_life:
            self._forget(at)
        bucket = int(log2(value / _LOWEST) * _PER_DOUBLING) if value > _LOWEST else 0
        self.counts[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1.0
        self.mass += 1.0

    def _forget(self, at: float) -> None:
        assert self.halved_at is not None
        kept = 0.5 ** int((at - self.halved_at) / self.half_life)
        self.counts = [count * kept for count in self.counts]
        self.mass *= kept
        self.halved_at = at

    def get(self, q: float) -> float:
        """The q-quantile, q in [0, 1]: the geometric middle of its bucket; NaN before the first sample."""
        if self.mass <= 0.0:
            return float("nan")
        left = q * self.mass
        last = 0
        for bucket, count in enumerate(self.counts):
            if count > 0.0:
                last = bucket
                left -= count
                if left <= 0.0:
                    break
        return float(_LOWEST * 2.0 ** ((last + 0.5) / _PER_DOUBLING))
