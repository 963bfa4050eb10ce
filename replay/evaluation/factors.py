"""Size times rate: splits seen processing times into what the job was and how fast its server was at that moment.

Model: seconds = size(t) · rate of the server(t) · noise of mean 1. The mean size and each server's rate are constant
between changes, whose number and places are unknown. Only the product is seen, so that a common factor of all rates is
arbitrary at any time; what is asked for, the ratio of two servers' rates at one moment, is not.

Algorithm: changes are added one at a time, each where it explains most (the statistic of a two-sample z test, squared),
until none explains more than chance would; then each is moved to its best place between its neighbours and dropped
where it no longer pays. All means of one set of changes come from one weighted least-squares fit of the logarithms of
cell means. The weight of a job is one over the squared variation of the sizes at its time, learned too: jobs of nearly
one size tell the rates nearly exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A change must explain this much: squared z. By chance the largest of 200,000 places of 9 factors reaches 35 less than
# once in a thousand fits; a rate that changes by a tenth is seen after some hundred jobs of the noisiest kind.
PAYS = 35.0
# Changes closer than this many jobs of a factor cannot be told from two odd jobs.
APART = 5
MOST_CHANGES = 400
# Variation of sizes is not believed to be smaller: rates would be taken as exact because of a handful of jobs.
LEAST_VARIATION = 1e-3


@dataclass(slots=True)
class Factors:
    """Changes and levels. Factor 0 is the mean size, factor 1 + s the rate of server s."""

    changes: list[list[int]]  # of each factor: indexes of the first jobs after a change, ascending
    levels: list[Floats] = field(default_factory=list)  # of each factor: logarithm, one more than it has changes

    def rates(self, at: Ints) -> Floats:
        """Rates of all servers at these jobs' times, shape (len(at), servers); `at` counts jobs of the fit."""
        columns = [
            levels[np.searchsorted(changes, at, side="right")]
            for changes, levels in zip(self.changes[1:], self.levels[1:], strict=True)
        ]
        return np.exp(np.stack(columns, axis=1))


def fit(seconds: Floats, server: Ints, servers: int) -> Factors:
    """The factors of jobs in order of time. `seconds` (n,), positive; `server` (n,) in 0..servers-1."""
    found = _Fit(seconds, server, servers)
    while sum(map(len, found.factors.changes)) < MOST_CHANGES and found.add():
        pass
    for _ in range(3):
        if not found.refine():
            break
    return found.factors


class _Fit:
    def __init__(self, seconds: Floats, server: Ints, servers: int) -> None:
        self.seconds, self.server = seconds, server
        everything = np.arange(len(seconds))
        self.jobs = [everything, *(np.flatnonzero(server == s) for s in range(servers))]  # of each factor
        self.factors = Factors([[] for _ in self.jobs])
        self.weight = np.ones(len(seconds))
        self._solve()

    def _solve(self) -> None:
        """Levels, then weights, then levels with these weights."""
        for _ in range(2):
            self._levels()
            size = self._segment(0)
            count = np.bincount(size)
            variation = np.bincount(size, (self.ratio - 1.0) ** 2) / np.maximum(count, 1)
            self.weight = 1.0 / np.maximum(variation, LEAST_VARIATION**2)[size]
        self._levels()

    def _segment(self, factor: int) -> Ints:
        """Number of the segment of each job, if it were of this factor."""
        at = np.zeros(len(self.seconds), np.int64)
        at[self.factors.changes[factor]] = 1
        return np.cumsum(at)

    def _levels(self) -> None:
        changes = self.factors.changes
        starts = np.cumsum([0, *(len(c) + 1 for c in changes)])
        rate = np.empty(len(self.seconds), np.int64)
        for s, jobs in enumerate(self.jobs[1:], 1):
            rate[jobs] = starts[s] + np.searchsorted(changes[s], jobs, side="right")
        width = int(starts[-1])
        cell = self._segment(0) * width + rate
        seen = np.bincount(cell)
        cells = np.flatnonzero(seen)
        count = seen[cells]
        dense = np.zeros(len(seen), np.int64)
        dense[cells] = np.arange(len(cells))
        cell = dense[cell]
        means = np.log(np.bincount(cell, self.seconds) / count)
        root = np.sqrt(np.bincount(cell, self.weight))
        design = np.zeros((len(cells), width))
        row = np.arange(len(cells))
        design[row, cells // width] = root
        design[row, cells % width] = root
        solved = np.linalg.lstsq(design, root * means, rcond=1e-10)[0]
        self.factors.levels = [solved[a:b] for a, b in pairwise(starts)]
        self.ratio = self.seconds / np.exp(solved[cells // width][cell] + solved[rate])

    def _best(self, factor: int, first: int, last: int) -> tuple[float, int]:
        """What the best change of a factor among the jobs first..last-1 explains, and the job that it stands before."""
        mine = self.jobs[factor]
        mine = mine[np.searchsorted(mine, first) : np.searchsorted(mine, last)]
        if len(mine) < 2 * APART:
            return 0.0, 0
        weight, ratio = self.weight[mine], self.ratio[mine]
        w, x = np.cumsum(weight), np.cumsum(weight * ratio)
        left, right = w[:-1], w[-1] - w[:-1]
        difference = x[:-1] / left - (x[-1] - x[:-1]) / right
        gain = (left * right / w[-1] * difference**2)[APART - 1 : len(mine) - APART]
        best = int(np.argmax(gain))
        return float(gain[best]), int(mine[best + APART])

    def add(self) -> bool:
        """Adds the change that explains most; whether it pays."""
        best, factor, at = 0.0, 0, 0
        for k, changes in enumerate(self.factors.changes):
            ends = [0, *changes, len(self.seconds)]
            for first, last in pairwise(ends):
                gain, place = self._best(k, first, last)
                if gain > best:
                    best, factor, at = gain, k, place
        if best < PAYS:
            return False
        changes = self.factors.changes[factor]
        changes.append(at)
        changes.sort()
        self._solve()
        return True

    def refine(self) -> bool:
        """Moves every change to its best place and drops those that do not pay; whether anything changed."""
        moved = False
        for factor, changes in enumerate(self.factors.changes):
            for at in list(changes):
                i = changes.index(at)
                del changes[i]
                self._solve()
                ends = [0, *changes, len(self.seconds)]
                gain, place = self._best(factor, ends[i], ends[i + 1])
                if gain >= PAYS:
                    changes.append(place)
                    changes.sort()
                    self._solve()
                moved |= gain < PAYS or place != at
        return moved
