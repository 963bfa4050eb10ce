"""Prequal: probes ahead of time, a pool of their answers, and the hot-cold lexicographic rule."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable
from math import isnan

from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline
from replay.baselines.fleet import Fleet

Q_RIF = 2.0**-0.25  # 0.84
PROBES, REMOVED = 3, 1  # probes sent and pool entries taken out, for each query
POOL, AGE = 16, 1.0  # most entries; seconds after which one is dropped
DELTA = 1.0
REUSE_MOST = 16.0  # where the formula of reuse has no value
HISTORY = 64  # recent answers whose RIF makes the distribution
TRAVEL = 0.0005  # seconds from a probe to its answer; the paper's probes time out after 1 to 3 ms


class Entry:
    """An answer in the pool."""

    __slots__ = ("at", "lane", "latency", "rif", "uses")

    def __init__(self, lane: Lane, at: float, rif: int, latency: float, uses: int) -> None:
        self.lane, self.at, self.rif, self.latency, self.uses = lane, at, rif, latency, uses


class Prequal(Baseline):
    """Of the pooled answers, the cold one with the least latency, or else the one with the fewest requests in flight.

    Source: Prequal (NSDI'24). Each query sends 3 probes to replicas drawn without replacement; their answers (requests
    in flight, RIF, and latency) come half a millisecond later and serve later queries. The pool holds the newest answer
    of up to m replicas for a second. An answer is hot if its RIF is above the Q_RIF-quantile of recent answers. One
    that is used has its RIF raised by 1, and is used up after b = max(1, (1 + δ) / ((1 - m/n)·3 - 1)) times, rounded
    at random. Each query also removes an entry, the oldest and the worst in turn. With fewer than two usable entries
    the replica is drawn at random. m is 16, and half the replicas in small fleets, where the formula would have no
    value. A replica without an answer (it is down) is not pooled. Failures are not part of it: the paper
    mentions a guard against replicas that fail fast, and does not give it. Nor are weights.
    """

    def __init__(
        self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet, q_rif: float = Q_RIF
    ) -> None:
        super().__init__(cluster, rng, adopted)
        self.fleet, self.q_rif = fleet, q_rif
        n = max(1, len(self.lanes))
        self.size = max(2, min(POOL, n // 2))
        gained = (1.0 - self.size / n) * PROBES - REMOVED
        self.reuse = max(1.0, (1.0 + DELTA) / gained) if gained > 0.0 else REUSE_MOST
        self.pool: list[Entry] = []  # the oldest first
        self.travelling: deque[Entry] = deque()
        self.recent: deque[int] = deque()
        self.sorted_rifs: list[int] = []
        self.oldest_next = True

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """By the pool, or at random."""
        lanes, tier = self.candidates(now, tried)
        if not lanes:
            return None
        self._receive(now)
        usable = self.pool
        if len(lanes) < len(self.lanes):
            allowed = {lane.slot for lane in lanes}
            usable = [entry for entry in usable if entry.lane.slot in allowed]
        threshold = self.threshold()
        if len(usable) < 2:
            self.propensity = tier / len(lanes)
            lane = lanes[int(self.random() * len(lanes))]
        else:
            lane = self._use(usable, threshold, tier)
        self._remove(threshold)
        self._probe(now)
        return lane

    def threshold(self) -> float:
        """RIF above which an answer is hot."""
        rifs = self.sorted_rifs
        return rifs[min(len(rifs) - 1, int(self.q_rif * len(rifs)))] if rifs else float("inf")

    def _use(self, usable: list[Entry], threshold: float, tier: float) -> Lane:
        """The best of the usable answers, ties at random."""
        cold = [entry.latency for entry in usable if entry.rif <= threshold]
        if cold:
            least = min(cold)
            tied = [e for e in usable if e.latency == least and e.rif <= threshold]
        else:
            fewest = min(entry.rif for entry in usable)
            tied = [e for e in usable if e.rif == fewest]
        self.propensity = tier / len(tied)
        entry = tied[int(self.random() * len(tied))] if len(tied) > 1 else tied[0]
        entry.rif += 1
        entry.uses -= 1
        if entry.uses <= 0:
            self.pool.remove(entry)
        return entry.lane

    def _remove(self, threshold: float) -> None:
        """Takes out the oldest answer, or the worst: the hot one with the most in flight, or else the slowest."""
        if not self.pool:
            return
        if self.oldest_next:
            del self.pool[0]
        else:
            self.pool.remove(
                max(self.pool, key=lambda e: (e.rif > threshold, e.rif if e.rif > threshold else e.latency))
            )
        self.oldest_next = not self.oldest_next

    def _probe(self, now: float) -> None:
        """Asks three replicas; the answer is what is true now."""
        if self.travelling and self.travelling[-1].at == now + TRAVEL and len(self.travelling) > 4 * POOL:
            return  # a burst at one instant: its probes would say what these say
        n = len(self.lanes)
        drawn: list[int] = []
        while len(drawn) < min(PROBES, n):
            i = int(self.random() * n)
            if i not in drawn:
                drawn.append(i)
                rif, latency = self.fleet.probe(self.lanes[i].slot, now)
                if not isnan(latency):
                    whole = int(self.reuse)
                    uses = whole + (self.random() < self.reuse - whole)
                    self.travelling.append(Entry(self.lanes[i], now + TRAVEL, rif, latency, uses))

    def _receive(self, now: float) -> None:
        """Pools what has arrived, and drops what is too old."""
        pool, travelling = self.pool, self.travelling
        while travelling and travelling[0].at <= now:
            entry = travelling.popleft()
            for k, other in enumerate(pool):
                if other.lane is entry.lane:
                    del pool[k]
                    break
            pool.append(entry)
            if len(pool) > self.size:
                del pool[0]
            insort(self.sorted_rifs, entry.rif)
            self.recent.append(entry.rif)
            if len(self.recent) > HISTORY:
                del self.sorted_rifs[bisect_left(self.sorted_rifs, self.recent.popleft())]
        while pool and now - pool[0].at > AGE:
            del pool[0]
