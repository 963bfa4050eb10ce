"""What is known of every endpoint at one moment, as columns of shape (slots,), and medians over an endpoint's peers.

Rows of slots that hold no endpoint are zero or NaN. Windowed columns have shape (3, slots), in the order of WINDOWS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Seconds. 1 s sees a burst, 5 s carries the decision at a few requests per second, 30 s serves low traffic and is the
# endpoint's own past against which the shorter ones are read.
WINDOWS = (1.0, 5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the rule and the features are computed from. Times are seconds, latency is time to first byte."""

    at: float
    attempts: Ints  # (3, slots) attempts that say something of the endpoint
    failures: Ints  # (3, slots)
    connect: Ints  # (3, slots) failures before a connection stood
    timeouts: Ints  # (3, slots)
    late: Ints  # (3, slots) given up by the client or by us after more than a few typical latencies
    measured: Ints  # (3, slots) attempts whose latency is known
    latency: Floats  # (3, slots) geometric mean; NaN where none was measured
    p95: Floats  # over 5 s; NaN where none was measured
    p99: Floats  # over 30 s
    flight: Floats  # (3, slots) mean of log(1 + attempts in flight at sending) of the measured ones; NaN where none
    flight_var: Floats  # over 30 s: sum of squares of the same about its mean
    flight_log: Floats  # over 30 s: sum of products of it and log latency, about their means
    log_var: Floats  # over 30 s: sum of squares of log latency about its mean
    in_flight: Floats
    oldest: Floats  # age of the oldest outstanding attempt; NaN where none is
    silence: Floats  # since the last attempt closed
    unlucky: Floats  # since the last success
    streak: Ints  # failures since the last success
    checks_failed: Ints  # in a row, most recent last
    checks_passed: Ints  # in a row
    check_seconds: Floats  # NaN where none came back
    load: Floats  # the endpoint's own report, the worse of its two; NaN where it sends none
    cpu: Floats  # its node's, from 0 to 1, where anybody tells; else NaN
    memory: Floats  # the same
    age: Floats  # since the endpoint was first configured
    typical: Floats  # its cluster's typical latency; 0 where not known


class Peers:
    """Which endpoints share a cluster, and medians over them.

    `cluster` (slots,) holds each slot's cluster index, -1 for a slot of no endpoint; `clusters` is their number.
    """

    def __init__(self, cluster: Ints, clusters: int) -> None:
        self.cluster = cluster
        self.clusters = clusters
        self.members = np.flatnonzero(cluster >= 0)
        self._of = cluster[self.members]
        self.sizes = np.bincount(self._of, minlength=clusters)
        self._stacked: dict[int, Peers] = {}

    def _sorted(self, values: Floats) -> tuple[Floats, Ints, Ints, Ints, Ints]:
        """Known values in order of cluster and size, their slots and clusters; per cluster, count and start."""
        known = self.members[~np.isnan(values[self.members])]
        of = self.cluster[known]
        order = np.lexsort((values[known], of))
        counts = np.bincount(of, minlength=self.clusters)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        slots = known[order]
        return values[slots], slots, of[order], counts, starts

    def median(self, values: Floats) -> Floats:
        """Median per cluster of the known values, shape (clusters,); NaN where none is known."""
        ordered, _, _, counts, starts = self._sorted(values)
        return _middle(ordered, counts, starts)

    def _several(self, count: int) -> Peers:
        """These peers, `count` times over."""
        found = self._stacked.get(count)
        if found is None:
            step = np.arange(count)[:, None] * self.clusters
            cluster = np.where(self.cluster >= 0, self.cluster + step, -1).reshape(-1)
            found = self._stacked[count] = Peers(cluster, self.clusters * count)
        return found

    def others(self, values: Floats) -> Floats:
        """For each endpoint the median of its peers' known values, itself left out; NaN where it has no such peer.

        Left out, because in a cluster of two the median of both hides every difference. Values of shape (m, slots) are
        m columns, worked out together at little more than the cost of one.
        """
        if values.ndim == 2:
            return self._several(len(values)).others(values.reshape(-1)).reshape(values.shape)
        found = np.full(len(values), np.nan)
        ordered, slots, of, counts, starts = self._sorted(values)
        unknown = self.members[np.isnan(values[self.members])]
        if len(unknown):
            found[unknown] = _middle(ordered, counts, starts)[self.cluster[unknown]]
        rest = counts[of] - 1
        rank = np.arange(len(slots)) - starts[of]
        low = np.maximum(rest - 1, 0) // 2
        high = np.maximum(rest, 0) // 2
        low += low >= rank  # the place in the whole order, one further on from the endpoint itself
        high += high >= rank
        limit = np.maximum(counts[of] - 1, 0)
        low, high = np.minimum(low, limit) + starts[of], np.minimum(high, limit) + starts[of]
        found[slots] = np.where(rest > 0, (ordered[low] + ordered[high]) / 2, np.nan) if len(slots) else np.nan
        return found


def known(values: Floats) -> Floats:
    """0 where they are NaN; numpy's own nan_to_num takes ten times as long for a few."""
    found: Floats = np.where(np.isnan(values), 0.0, values)
    return found


def _middle(ordered: Floats, counts: Ints, starts: Ints) -> Floats:
    """The median of each run of `ordered`."""
    found = np.full(len(counts), np.nan)
    some = counts > 0
    if some.any():
        low = starts[some] + (counts[some] - 1) // 2
        high = starts[some] + counts[some] // 2
        found[some] = (ordered[low] + ordered[high]) / 2
    return found
