"""What is known of every endpoint at one moment, as columns of shape (slots,), and medians over an endpoint's peers.

Rows of slots that hold no endpoint are zero or NaN. Windowed columns have shape (3, slots), in the order of WINDOWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Seconds. 1 s sees a burst, 5 s carries the decision at a few requests per second, 30 s serves low traffic and is the
# endpoint's own past against which the shorter ones are read.
WINDOWS = (1.0, 5.0, 30.0)


@dataclass(slots=True)  # not frozen: to set so many fields the frozen way takes 5 us of a tick
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
    closed: Ints  # attempts since the start, whatever came of them


class Peers:
    """Which endpoints share a cluster, and medians over them.

    `cluster` (slots,) holds each slot's cluster index, -1 for a slot of no endpoint; `clusters` is their number.
    """

    def __init__(self, cluster: Ints, clusters: int) -> None:
        self.cluster = cluster
        self.clusters = clusters
        self.members = np.flatnonzero(cluster >= 0)
        of = self.of = cluster[self.members]
        self.nobody = cluster < 0
        self._rows: dict[int, Ints] = {}  # by the number of rows: where `totals` adds each value
        self.sizes = np.bincount(of, minlength=clusters)
        self.accompanied = np.zeros(len(cluster), dtype=bool)  # whether an endpoint has peers
        self.accompanied[self.members] = self.sizes[of] > 1
        self._groups = [
            _Alike.of([self.members[of == c] for c in alike], alike) for alike in _alike(self.sizes.tolist())
        ]
        # Where there is but one cluster, and no slot without an endpoint, nothing need be moved about.
        self._one = clusters == 1 and len(of) == len(cluster) > 0

    def median(self, values: Floats) -> Floats:
        """Median per cluster of the known values, shape (clusters,); NaN where none is known."""
        if self._one:
            ordered = values[None].copy()
            ordered.sort()
            only: Floats = _medians(ordered, _known(ordered))[0]
            return only
        found = np.full(self.clusters, np.nan)
        for group in self._groups:
            ordered = np.sort(group.of_all(values[None]))
            found[group.clusters] = _medians(ordered, _known(ordered))[0, :, 0]
        return found

    def others(self, values: Floats) -> Floats:
        """For each endpoint the median of its peers' known values, itself left out; NaN where it has no such peer.

        Left out, because in a cluster of two the median of both hides every difference. Values of shape (m, slots) are
        m columns, worked out together at little more than the cost of one.
        """
        if values.ndim == 1:
            only: Floats = self.others(values[None])[0]
            return only
        if self._one:
            return _medians_of_others(values[:, None])[:, 0]
        found = np.full(values.shape, np.nan)
        for group in self._groups:
            group.put(found, _medians_of_others(group.of_all(values)))
        return found

    def totals(self, values: Floats) -> Floats:
        """Sums per cluster of values (m, slots), shape (m, clusters)."""
        m = len(values)
        if m not in self._rows:
            self._rows[m] = (self.of + self.clusters * np.arange(m)[:, None]).reshape(-1)
        mine = values if self._one else values[:, self.members]
        sums = np.bincount(self._rows[m], mine.reshape(-1), m * self.clusters)
        return sums.reshape(m, -1).astype(np.float64, copy=False)

    def sums(self, values: Floats) -> Floats:
        """The same for each endpoint, itself among them, (m, slots); 0 for no endpoint."""
        if self._one:
            return self.totals(values).take(self.cluster, axis=1)
        found = np.zeros(values.shape)
        found[:, self.members] = self.totals(values)[:, self.of]
        return found


class _Alike(NamedTuple):
    """Clusters of like size, so that their values stand in one block: a row a cluster, its slots and room."""

    clusters: Ints  # their indexes
    slots: Ints  # (clusters, most)
    absent: Bools | None  # the same: where there is only room; None where there is none
    span: slice | None  # the slots, where they are all of a range in their order

    @classmethod
    def of(cls, members: list[Ints], clusters: list[int]) -> _Alike:
        most = max(len(slots) for slots in members)
        slots = np.array([np.pad(mine, (0, most - len(mine))) for mine in members])
        absent = np.array([np.arange(most) >= len(mine) for mine in members])
        first = int(slots.flat[0])
        span = slice(first, first + slots.size)
        in_order = np.array_equal(slots.reshape(-1), np.arange(span.start, span.stop))
        return cls(np.array(clusters), slots, absent if absent.any() else None, span if in_order else None)

    def of_all(self, values: Floats) -> Floats:
        """Values (m, slots) as (m, clusters, most); NaN where there is only room."""
        if self.span is not None:
            return values[:, self.span].reshape(len(values), *self.slots.shape)
        block: Floats = values[:, self.slots]
        if self.absent is not None:
            block[:, self.absent] = np.nan
        return block

    def put(self, found: Floats, block: Floats) -> None:
        """The other way round: what such a block (m, clusters, most) holds goes to its slots in (m, slots)."""
        if self.span is not None:
            found[:, self.span] = block.reshape(len(block), -1)
        elif self.absent is None:
            found[:, self.slots] = block
        else:
            found[:, self.slots[~self.absent]] = block[:, ~self.absent]


def _alike(sizes: list[int]) -> list[list[int]]:
    """Clusters whose sizes are within a factor of four: few groups, and a block at most four times what it holds."""
    found: dict[int, list[int]] = {}
    for cluster, size in enumerate(sizes):
        if size:
            found.setdefault((size - 1).bit_length() // 2, []).append(cluster)
    return list(found.values())


def _known(ordered: Floats) -> int | Ints:
    """How many values of each row, NaN last, are known, (..., 1). Where each row is known altogether or not at all,
    which is nearly always, the width: all that is worked out of a row of NaN is NaN anyhow.
    """
    width: int = ordered.shape[-1]
    if not np.count_nonzero(np.isnan(ordered[..., 0]) != np.isnan(ordered[..., -1])):
        return width
    counts: Ints = width - np.isnan(ordered).sum(axis=-1, keepdims=True)
    return counts


def _half(count: int | Ints) -> int | Ints:
    """Half of it, rounded down; of less than nothing, nothing."""
    if isinstance(count, int):
        return max(count, 0) // 2
    halves: Ints = np.maximum(count, 0) // 2
    return halves


def _at(ordered: Floats, place: int | Ints) -> Floats:
    """The value of each row at this place, (..., 1)."""
    if isinstance(place, int):
        return ordered[..., place : place + 1]
    start = np.arange(0, ordered.size, ordered.shape[-1]).reshape(place.shape)
    found: Floats = ordered.reshape(-1).take(start + place)
    return found


def _medians(ordered: Floats, known: int | Ints) -> Floats:
    """The median of the first `known` values of each row, (..., 1); NaN where there are none."""
    found: Floats = (_at(ordered, _half(known - 1)) + _at(ordered, _half(known))) / 2
    return found


def _medians_of_others(block: Floats) -> Floats:
    """For each value the median of the known ones in its row, itself left out; NaN where there is none."""
    if block.shape[-1] < 2:
        return np.full(block.shape, np.nan)
    ordered = block.copy()
    ordered.sort()
    known = _known(ordered)
    high = _without(ordered, block, _half(known - 1))
    if isinstance(known, int):
        return high if known % 2 == 0 else (_without(ordered, block, _half(known - 2)) + high) / 2
    found = (_without(ordered, block, _half(known - 2)) + high) / 2
    return np.where(np.isnan(block), _medians(ordered, known), found)


def _without(ordered: Floats, block: Floats, place: int | Ints) -> Floats:
    """For each value of the block what stands at this place of its row without it: what is before it stays where it
    is, what is after it moves up.
    """
    here, after = _at(ordered, place), _at(ordered, place + 1)
    return np.where(block <= here, after, here)


def known(values: Floats) -> Floats:
    """0 where they are NaN; numpy's own nan_to_num takes ten times as long for a few."""
    found = values.copy()
    found[np.isnan(values)] = 0.0
    return found
