"""Calls between pods in columns, and the features of every pod in every bin of BIN seconds, from what was seen by then.

For systems of many services, each with a load of its own, where an endpoint's peers are other services: a pod is
compared with its own past. Per call, the logarithm of the time that the callee's pod is answerable for (what the caller
waited, less what the callee worked, where that is known) is taken against the running median of calls of the same
kind (caller, callee, operation). What a caller suffers at all its callees is its own and is taken off. The mean over a
pod's calls of one bin, by its own running spread, is its **excess**; the excess less the highest of all other pods is
its **lead**: a fault shows at its neighbours too, but most at home.

All of it is causal: bins are taken in order, and a bin that stands out is kept from the running medians, for at most
WITHHELD seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.columns import Floats, Ints

BIN = 10.0  # seconds
FLOOR = 0.001  # seconds added to every time: below it a ratio is noise
LEAST_BINS = 3  # of a kind of call, before its median is believed
POOL = 10.0  # calls of a kind at which its ratio counts half
SPREAD, SPREAD_LEAST, SPREAD_POOL = 0.5, 0.15, 10.0  # of a pod before it is known; added always; bins that it weighs
STANDS_OUT = 1.0  # mean log ratio of a bin that is kept from the medians: e times as slow as usual
WITHHELD = 300.0  # seconds; what lasts longer is how the pod is now
MEMORY = 720  # bins that the medians look back: two hours of full bins
CLIP = (-3.0, 12.0)
LAGS = 2
# The lag of a pod that had no call in a bin is its latest of this many bins before, else 0: as usual.
NAMES = ("excess", "lead", "excess_1", "lead_1", "excess_2", "lead_2")
_MADE_BY = (NAMES, BIN, FLOOR, LEAST_BINS, POOL, SPREAD, SPREAD_LEAST, SPREAD_POOL, STANDS_OUT, WITHHELD, CLIP)
SCHEMA = "calls-" + hashlib.sha256(repr(_MADE_BY).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Calls:
    """One row a call, in order of `done`. `caller`, `callee` index `pods`; `op` indexes nothing that is needed here."""

    pods: tuple[str, ...]
    done: Floats  # seconds, wall clock: when the caller had its answer
    caller: Ints
    callee: Ints
    op: Ints
    waited: Floats  # seconds that the caller waited
    worked: Floats  # seconds that the callee took by its own account; NaN where not known


@dataclass(frozen=True, slots=True)
class PodBins:
    """One row a pod and bin in which a call to it was finished, in order of time."""

    pods: tuple[str, ...]
    pod: Ints
    at: Floats  # seconds: the end of the bin, when all of it is known
    calls: Ints
    features: Floats  # (n, len(NAMES))
    rule: Floats  # the best of the simple rules: the larger log ratio of two p95 to the pod's own running median
    p95: Floats  # of waited, seconds
    p95_between: Floats  # of waited less worked, seconds; NaN where not known

    def take(self, rows: npt.NDArray[np.bool_]) -> PodBins:
        """These rows only."""
        return PodBins(
            self.pods,
            self.pod[rows],
            self.at[rows],
            self.calls[rows],
            self.features[rows],
            self.rule[rows],
            self.p95[rows],
            self.p95_between[rows],
        )


class _Kinds:
    """Running medians of the log time of each kind of call, over the medians of its bins."""

    def __init__(self, count: int) -> None:
        self.past: list[list[float]] = [[] for _ in range(count)]
        self.calls = np.zeros(count)
        self.middle = np.full(count, np.nan)

    def ratio(self, kind: int, logs: Floats) -> Floats:
        if len(self.past[kind]) < LEAST_BINS:
            return np.zeros(len(logs))
        if np.isnan(self.middle[kind]):
            self.middle[kind] = np.median(self.past[kind])
        found: Floats = (logs - self.middle[kind]) * self.calls[kind] / (self.calls[kind] + POOL)
        return found

    def add(self, kind: int, logs: Floats) -> None:
        self.past[kind] = [*self.past[kind][-MEMORY + 1 :], float(np.median(logs))]
        self.calls[kind] += len(logs)
        self.middle[kind] = np.nan


class _Pod:
    """What is remembered of one pod."""

    def __init__(self) -> None:
        self.spread: list[float] = []
        self.tails: list[list[float]] = [[], []]
        self.outstanding_since: float | None = None
        self.recent: list[tuple[int, float, float]] = []  # (bin, excess, lead), the latest last

    def excess(self, mean: float) -> float:
        known = len(self.spread)
        usual = 1.48 * float(np.median(np.abs(self.spread))) if known else SPREAD  # 1.48: from MAD to sigma
        usual = (usual * known + SPREAD * SPREAD_POOL) / (known + SPREAD_POOL)
        return float(np.clip(mean / (usual + SPREAD_LEAST), *CLIP))

    def lag(self, now: int, steps: int) -> tuple[float, float]:
        for when, excess, lead in reversed(self.recent):
            if when <= now - steps:
                return (excess, lead) if when > now - steps - LAGS else (0.0, 0.0)
        return 0.0, 0.0

    def learns(self, mean: float, at: float) -> bool:
        """Whether this bin goes into the medians."""
        if mean <= STANDS_OUT:
            self.outstanding_since = None
            return True
        if self.outstanding_since is None:
            self.outstanding_since = at
        return at - self.outstanding_since > WITHHELD


def pod_bins(calls: Calls) -> PodBins:
    """The rows of all bins, each from what was seen up to its end."""
    kind_keys, kinds = np.unique(np.stack([calls.callee, calls.op, calls.caller]), axis=1, return_inverse=True)
    kinds = kinds.reshape(-1)
    between = np.where(np.isnan(calls.worked), calls.waited, np.maximum(calls.waited - calls.worked, 0.0))
    logs = np.log(between + FLOOR)
    bins = np.floor(calls.done / BIN).astype(np.int64)
    edges = np.flatnonzero(np.diff(bins)) + 1
    state, pods = _Kinds(kind_keys.shape[1]), [_Pod() for _ in calls.pods]
    found: list[tuple[float, ...]] = []
    for rows in np.split(np.arange(len(bins)), edges) if len(bins) else []:
        found += _bin(int(bins[rows[0]]), calls, rows, kinds[rows], logs[rows], between[rows], kind_keys, state, pods)
    table = np.array(found).reshape(-1, 6 + len(NAMES))
    return PodBins(
        calls.pods,
        table[:, 0].astype(np.int64),
        table[:, 1],
        table[:, 2].astype(np.int64),
        table[:, 6:],
        table[:, 3],
        table[:, 4],
        table[:, 5],
    )


def _bin(
    number: int,
    calls: Calls,
    rows: Ints,
    kinds: Ints,
    logs: Floats,
    between: Floats,
    keys: Ints,
    state: _Kinds,
    pods: list[_Pod],
) -> list[tuple[float, ...]]:
    """The rows of one bin; and the medians learn from it."""
    at = (number + 1) * BIN
    ratio = np.zeros(len(rows))
    middles: dict[int, float] = {}
    groups = {int(kind): np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}
    for kind, of in groups.items():
        ratio[of] = state.ratio(kind, logs[of])
        middles[kind] = float(np.median(ratio[of]))
    for kind, of in groups.items():
        ratio[of] -= _of_the_caller(kind, middles, keys)
    callee = calls.callee[rows]
    seen = {int(pod): np.flatnonzero(callee == pod) for pod in np.unique(callee)}
    means = {pod: float(ratio[of].mean()) for pod, of in seen.items()}
    excess = {pod: pods[pod].excess(means[pod]) for pod in seen}
    found = []
    for pod, of in seen.items():
        mine = pods[pod]
        lead = excess[pod] - max([0.0, *(e for other, e in excess.items() if other != pod)])
        lags = [value for step in range(1, LAGS + 1) for value in mine.lag(number, step)]
        waited, gap = calls.waited[rows[of]], between[of]
        gap = gap[~np.isnan(calls.worked[rows[of]])]
        tails = float(np.quantile(waited, 0.95)), float(np.quantile(gap, 0.95)) if len(gap) else float("nan")
        rule = _rule(mine, tails)
        found.append((pod, at, len(of), rule, *tails, excess[pod], lead, *lags))
        mine.recent = [*mine.recent[-2 * LAGS :], (number, excess[pod], lead)]
        if means[pod] < STANDS_OUT:
            mine.spread = [*mine.spread[-MEMORY + 1 :], means[pod]]
        if mine.learns(means[pod], at):
            for past, tail in zip(mine.tails, tails, strict=True):
                past[:] = [*past[-MEMORY + 1 :], tail]
            for kind in np.unique(kinds[of]).tolist():
                state.add(kind, logs[groups[kind]])
    return found


def _rule(pod: _Pod, tails: tuple[float, float]) -> float:
    """The larger log ratio of the two p95 to their running medians; 0 while these are not known."""
    ratios = []
    for past, tail in zip(pod.tails, tails, strict=True):
        known = [value for value in past if not np.isnan(value)]
        if len(known) >= LEAST_BINS and not np.isnan(tail):
            ratios.append(float(np.log((tail + 1e-6) / (np.median(known) + 1e-6))))
    return max(ratios, default=0.0)


def _of_the_caller(kind: int, middles: dict[int, float], keys: Ints) -> float:
    """What of a kind's ratio its caller suffers elsewhere too, in this bin: the lower quartile of what it sees at its
    other callees, where it has two or more, or the least that others see at the caller itself. Never below 0.
    """
    callee, _, caller = keys[:, kind].tolist()
    others = [v for other, v in middles.items() if keys[2, other] == caller and keys[0, other] != callee]
    itself = [v for other, v in middles.items() if keys[0, other] == caller]
    shared = float(np.quantile(others, 0.25)) if len(others) >= 2 else 0.0
    return max(shared, min(itself, default=0.0), 0.0)
