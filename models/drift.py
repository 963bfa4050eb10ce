"""Has the world changed? Page-Hinkley and ADWIN on the model's residuals, and PSI on its features.

Page-Hinkley (Page 1954): the running sum of residual less its mean less DELTA, away from its extreme by more than
LAMBDA; quick where the mean jumps. ADWIN (Bifet and Gavaldà 2007): the window is cut wherever two halves differ by more
than chance allows; sees slow changes, with a bound on false alarms. PSI: sum of (p - q) ln(p/q) over bins of a feature;
beyond 0.25 a population is held to have changed.
"""

from __future__ import annotations

import math

import numpy as np

from models.columns import Floats

DELTA, LAMBDA = 0.01, 2.0  # mean residual per batch: twenty batches (10 s) with one of ten endpoints unforeseen
CONFIDENCE = 0.002  # ADWIN's, as in its authors' and river's implementations
BUCKETS = 5  # of each size
CLOCK = 32  # values between two looks for a cut
LEAST_HALF = 5.0
SHIFTED = 0.25  # PSI
BINS = 5  # equal parts of what a feature was in the beginning
SMALL = 0.01  # added to every share: a bin that was empty and gets one row is no change
BEGINNING = 120.0  # seconds that are taken as the beginning; a fault of one endpoint is a small part of them
SPAN = 240.0  # seconds in which what was seen of the features falls to 37 %
LEAST_ROWS, MOST_ROWS = 500, 20_000  # below, the share of a bin is chance; above, memory is wasted


class PageHinkley:
    """Both ways."""

    def __init__(self, delta: float = DELTA, threshold: float = LAMBDA) -> None:
        self.delta, self.threshold = delta, threshold
        self.reset()

    def reset(self) -> None:
        """Begins again."""
        self.count, self.mean = 0, 0.0
        self.up = self.down = 0.0

    def add(self, value: float) -> bool:
        """Takes the next value; True when the mean has moved. It has begun again then."""
        self.count += 1
        self.mean += (value - self.mean) / self.count
        self.up = max(0.0, self.up + value - self.mean - self.delta)
        self.down = max(0.0, self.down - value + self.mean - self.delta)
        if max(self.up, self.down) > self.threshold:
            self.reset()
            return True
        return False


class Adwin:
    """A window that forgets what no longer fits. Rows of buckets: those of row i hold 2**i values each."""

    def __init__(self, confidence: float = CONFIDENCE) -> None:
        self.confidence = confidence
        self.rows: list[list[tuple[float, float]]] = [[]]  # (sum, sum of squares about its mean), newest last
        self.count, self.total, self.spread = 0, 0.0, 0.0
        self.since = 0

    def add(self, value: float) -> bool:
        """Takes the next value; True when old ones were cut off because the mean has moved."""
        if self.count:
            mean = self.total / self.count
            self.spread += (value - mean) ** 2 * self.count / (self.count + 1)
        self.rows[0].append((value, 0.0))
        self.count, self.total = self.count + 1, self.total + value
        self._compress()
        self.since += 1
        if self.since < CLOCK or self.count < 2 * LEAST_HALF:
            return False
        self.since = 0
        moved = False
        while self._cut():
            moved = True
        return moved

    def _compress(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) <= BUCKETS:
                return
            if i + 1 == len(self.rows):
                self.rows.append([])
            (a, va), (b, vb) = row[:2]
            del row[:2]
            size = 2.0**i
            self.rows[i + 1].append((a + b, va + vb + size * (a / size - b / size) ** 2 / 2))

    def _cut(self) -> bool:
        """Drops the oldest bucket where some split of the window cannot be chance."""
        sigma = self.spread / self.count
        wanted = 2 * math.log(self.count)
        n0, s0 = 0.0, 0.0
        for i in range(len(self.rows) - 1, -1, -1):
            for total, _ in self.rows[i]:
                n0, s0 = n0 + 2.0**i, s0 + total
                n1 = self.count - n0
                if n0 < LEAST_HALF or n1 < LEAST_HALF:
                    continue
                m = 1 / (n0 - LEAST_HALF + 1) + 1 / (n1 - LEAST_HALF + 1)
                d = math.log(wanted / self.confidence)
                if abs(s0 / n0 - (self.total - s0) / n1) > math.sqrt(2 * m * sigma * d) + 2 / 3 * d * m:
                    self._drop()
                    return True
        return False

    def _drop(self) -> None:
        i = len(self.rows) - 1
        total, spread = self.rows[i].pop(0)
        size = 2**i
        rest = self.count - size
        if rest:
            gap = total / size - (self.total - total) / rest
            self.spread = max(0.0, self.spread - spread - size * rest / self.count * gap * gap)
        self.count, self.total = rest, self.total - total
        while len(self.rows) > 1 and not self.rows[-1]:
            self.rows.pop()


class Population:
    """PSI of each feature between this fleet's own beginning and what it shows now; rows (n, k) without NaN."""

    def __init__(self) -> None:
        self.first: list[Floats] = []
        self.gathered = 0
        self.edges: Floats | None = None
        self.usual = self.counts = np.zeros((0, 0))
        self.began = self.at = float("nan")

    def add(self, at: float, features: Floats) -> None:
        """Takes what the features are now."""
        if not len(features):
            return
        passed, self.at = at - self.at, at
        if self.edges is None:
            self.began = at if not self.first else self.began
            self.first.append(features)
            self.gathered += len(features)
            if at - self.began >= BEGINNING and self.gathered >= LEAST_ROWS:
                self._begin(np.concatenate(self.first)[-MOST_ROWS:])
            elif self.gathered > 2 * MOST_ROWS:
                self.gathered -= len(self.first.pop(0))
            return
        self.counts *= math.exp(-passed / SPAN)
        self.counts += self._count(features)

    def _begin(self, rows: Floats) -> None:
        self.edges = np.quantile(rows, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T
        self.usual = self._count(rows) / len(rows)
        self.counts = np.zeros_like(self.usual)
        self.first = []

    def _count(self, features: Floats) -> Floats:
        assert self.edges is not None
        place = (features[:, :, None] > self.edges[None]).sum(axis=2)
        k = features.shape[1]
        flat = (np.arange(k) * BINS + place).reshape(-1)
        return np.bincount(flat, minlength=k * BINS).reshape(k, BINS).astype(np.float64)

    def shift(self) -> Floats:
        """PSI of each feature (k,); empty while too little was seen."""
        seen = self.counts.sum(axis=1, keepdims=True)
        if self.edges is None or seen.min() < LEAST_ROWS:
            return np.zeros(0)
        p, q = self.counts / seen + SMALL, self.usual + SMALL
        return np.array([float(x) for x in ((p - q) * np.log(p / q)).sum(axis=1)])
