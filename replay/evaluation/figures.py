"""Figures of simulated runs with intervals that count everything that is not known: chance, the fit, and the model.

Latencies are compared by their logarithms, failures by their number. The spread of a figure over draws of the fit, each
simulated with a seed of its own, holds both the chance of one night and what the trace leaves open of the fleet. To it
comes what the model is wrong by, learned where the truth is known: on the policy that recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from replay.evaluation.attempts import Column, Floats

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
NAMES = (*QUANTILES, "mean", "failed")
# What the model may be wrong by even where the check shows nothing: a check is one figure of one policy. Medians hang
# on service times, tails on how bursts of them meet; both were 1 to 2 % in synthetic worlds, and life adds its own.
FLOOR: Mapping[str, float] = {"p50": 0.015, "p90": 0.02, "p95": 0.025, "p99": 0.04, "p999": 0.08, "mean": 0.025}
FAILED_FLOOR = 0.05  # of the failures
REFUSED = 0.2  # a check further off than this is no ground to stand on
LEVEL = 0.975


@dataclass(frozen=True, slots=True)
class Guess:
    """A figure as it would have been, with its 95 % interval. Seconds; `failed` is a number of requests."""

    value: float
    low: float
    high: float
    spread: float  # standard deviation over the draws: of the logarithm, or of the number


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of the recording policy: as recorded, and as the fit gives it back."""

    name: str
    recorded: float
    simulated: float
    spread: float  # standard deviation that chance and the fit explain
    excess: float  # what they do not explain: relative

    @property
    def off(self) -> float:
        """By how much the fit is off, relative."""
        if self.name == "failed":
            return (self.simulated - self.recorded) / max(self.recorded, 1.0)
        return self.simulated / self.recorded - 1.0 if self.recorded > 0 else float("nan")

    @property
    def refused(self) -> bool:
        """Whether it is off by more than can be borne, and not by chance."""
        judged = self.name in ("p50", "p99")
        return judged and abs(self.off) > REFUSED and abs(np.log1p(self.off)) > 2.0 * self.spread


def figures(seen: Floats, failed: Column) -> dict[str, float]:
    """The figures of one run. `seen` (n,): latencies of the judged requests, a failed one at the time-out."""
    x = np.sort(seen)
    made = {name: float(x[min(len(x) - 1, int(q * len(x)))]) for name, q in QUANTILES.items()}
    return {**made, "mean": float(x.mean()), "failed": float(failed.sum())}


def guess(name: str, plain: Sequence[float], draws: Sequence[float], excess: float, timeout: float) -> Guess:
    """A figure from runs of the likeliest scenario (`plain`) and of draws of it; `excess` is the model's own error."""
    k = len(draws)
    t = float(stdtrit(max(1, k - 1), LEVEL))
    widen = 1.0 + 1.0 / max(1, len(plain))  # the truth is one more draw, and the value itself is a mean of some
    if name == "failed":
        value = float(np.mean(plain))
        spread = max(1.0, float(np.std(draws, ddof=1)) if k > 1 else 0.0, float(np.sqrt(value)))
        wrong = max(FAILED_FLOOR, excess) * value
        half = t * float(np.sqrt(spread**2 * widen + wrong**2))
        return Guess(value, max(0.0, min(value - half, *draws)), max(value + half, *draws), spread)
    log = np.log(np.maximum(np.asarray(draws, dtype=float), 1e-9))
    value = float(np.exp(np.mean(np.log(np.maximum(np.asarray(plain, dtype=float), 1e-9)))))
    spread = float(np.std(log, ddof=1)) if k > 1 else 0.0
    half = t * float(np.sqrt(spread**2 * widen + FLOOR[name] ** 2 + excess**2))
    low, high = min(value * np.exp(-half), *draws), max(value * np.exp(half), *draws)
    return Guess(value, float(low), float(min(high, max(timeout, value))), spread)


def check(name: str, recorded: float, draws: Sequence[float]) -> Check:
    """The self-check of one figure, from draws of the fit simulated under the recording policy."""
    x = np.asarray(draws, dtype=float)
    if name == "failed":
        mean = float(x.mean())
        spread = max(1.0, float(x.std(ddof=1)) if len(x) > 1 else 0.0, float(np.sqrt(mean)))
        beyond = max(0.0, (recorded - mean) ** 2 - 2.0 * spread**2)
        return Check(name, recorded, mean, spread, float(np.sqrt(beyond)) / max(mean, 1.0))
    log = np.log(np.maximum(x, 1e-9))
    mean, spread = float(log.mean()), float(log.std(ddof=1)) if len(x) > 1 else 0.0
    off = float(np.log(max(recorded, 1e-9))) - mean
    return Check(name, recorded, float(np.exp(mean)), spread, float(np.sqrt(max(0.0, off * off - 2.0 * spread**2))))
