"""What every process sees at once: the snapshot in force, the workers' live counts, their heartbeats.

Layout, each part on cache lines of its own: a header of words (magic, capacities, the word that says which snapshot is
in force), two buffers for snapshots, and per worker a row of u32 attempts in flight, a row of f64 send times of the
oldest outstanding attempt, and the pair (beat, lag).

A snapshot is written into the buffer that is not in force, its crc last; then one store of one word puts it in force.
A brain killed anywhere in between leaves the old one in force and whole. A reader that is overtaken twice while it
copies sees a wrong crc and reads again.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from operator import add
from typing import TYPE_CHECKING, Any

from adaptive.telemetry.shared import Shared
from adaptive.types import ClusterEntry, Snapshot

if TYPE_CHECKING:
    import numpy as np

_MAGIC = 0x3130_6472_616F_6261  # "aboard01"
_SLOTS, _CLUSTERS, _WORKERS, _CURRENT = 1, 2, 3, 8  # words of the header
_HEADER_SIZE = 128
_LINE = 64

# A buffer: crc of all that follows, length of all that follows; version, at, generation, slots, clusters; the columns.
_SEAL = struct.Struct("<II")
_HEAD = struct.Struct("<QdqII")
_CLUSTER = struct.Struct("<ddBB6x")
_COLUMNS = (  # the widest first: each stays aligned
    ("hedge_delay", "d"),
    ("attempt_timeout", "d"),
    ("probability", "d"),
    ("weight", "I"),
    ("limit", "I"),
    ("health", "B"),
)
_ENTRY_SIZE = sum(array(code).itemsize for _, code in _COLUMNS)

# A copy takes microseconds and publishing happens every 100 ms: a second try is rare, an eighth means damaged memory.
_TRIES = 8


class Board:
    """The board. `slots` and `clusters` are capacities: a snapshot may hold fewer."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.fd = shared.fd
        self._words = shared.buf[:_HEADER_SIZE].cast("Q")
        self.slots, self.clusters, self.workers = self._words[_SLOTS], self._words[_CLUSTERS], self._words[_WORKERS]
        size = _buffer_size(self.slots, self.clusters)
        self._buffers = [shared.buf[_HEADER_SIZE + i * size :][:size] for i in (0, 1)]
        base = _HEADER_SIZE + 2 * size
        narrow, wide = _lines(4 * self.slots), _lines(8 * self.slots)
        self._live: list[memoryview] = []
        self._oldest: list[memoryview[float]] = []
        self._pulse: list[memoryview[float]] = []
        for worker in range(self.workers):
            at = base + worker * (narrow + wide + _LINE)
            self._live.append(shared.buf[at : at + 4 * self.slots].cast("I"))
            self._oldest.append(shared.buf[at + narrow : at + narrow + 8 * self.slots].cast("d"))
            self._pulse.append(shared.buf[at + narrow + wide : at + narrow + wide + 16].cast("d"))

    @classmethod
    def create(cls, slots: int, clusters: int, workers: int) -> Board:
        """An empty board with room for so many slots, clusters and workers."""
        if min(slots, clusters, workers) < 1:
            raise ValueError(f"a board needs a slot, a cluster and a worker, not {slots}, {clusters}, {workers}")
        shared = Shared.create(_board_size(slots, clusters, workers))
        words = shared.buf[:_HEADER_SIZE].cast("Q")
        words[_SLOTS], words[_CLUSTERS], words[_WORKERS] = slots, clusters, workers
        words[0] = _MAGIC
        return cls(shared)

    @classmethod
    def attach(cls, fd: int) -> Board:
        """The board behind an inherited descriptor."""
        shared = Shared.attach(fd)
        words = shared.buf[:_HEADER_SIZE].cast("Q") if shared.size > _HEADER_SIZE else None
        if words is None or words[0] != _MAGIC or shared.size < _board_size(*words[_SLOTS : _WORKERS + 1]):
            raise ValueError(f"descriptor {fd} holds no board")
        return cls(shared)

    # The snapshot.

    def version(self) -> int:
        """Version of the snapshot in force; -1 before the first."""
        return (self._words[_CURRENT] >> 1) - 1

    def publish(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force. Raises ValueError where it is not newer than the one in force, or does not fit.

        Only one process publishes. A brain that takes over from a dead one counts on from `version()`.
        """
        if not snapshot.version > self.version():
            raise ValueError(f"snapshot {snapshot.version} is not newer than {self.version()}")
        if len(snapshot.weight) > self.slots or len(snapshot.clusters) > self.clusters:
            raise ValueError(f"the board has room for {self.slots} slots and {self.clusters} clusters")
        index = 1 - (self._words[_CURRENT] & 1)
        body = encode(snapshot)
        buffer = self._buffers[index]
        buffer[_SEAL.size : _SEAL.size + len(body)] = body
        _SEAL.pack_into(buffer, 0, zlib.crc32(body), len(body))
        self._words[_CURRENT] = ((snapshot.version + 1) << 1) | index

    def read(self) -> Snapshot | None:
        """The snapshot in force, in plain lists; None before the first, or where the memory is damaged."""
        for _ in range(_TRIES):
            current = self._words[_CURRENT]
            if not current:
                return None
            buffer = self._buffers[current & 1]
            crc, length = _SEAL.unpack_from(buffer)
            body = bytes(buffer[_SEAL.size : _SEAL.size + length])
            if len(body) == length and zlib.crc32(body) == crc:
                return decode(body)
        return None

    # Live counts.

    def live_row(self, worker: int) -> memoryview:
        """A worker's attempts in flight, u32 by slot. Only that worker writes it."""
        return self._live[worker]

    def oldest_row(self, worker: int) -> memoryview[float]:
        """When a worker's oldest outstanding attempt was sent, f64 monotonic seconds by slot; 0: none."""
        return self._oldest[worker]

    def others(self, worker: int, slots: int | None = None) -> list[int]:
        """Attempts in flight of all other workers, by slot, for the first `slots` of them."""
        slots = self.slots if slots is None else slots
        total: list[int] | None = None
        for other, row in enumerate(self._live):
            if other != worker:
                counts = row[:slots].tolist()
                total = counts if total is None else list(map(add, total, counts))
        return [0] * slots if total is None else total

    def live(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All workers together: (in_flight, oldest), each of shape (slots,); oldest is NaN where nothing waits."""
        import numpy as np

        in_flight = np.array(self._live, np.int64).sum(axis=0)
        oldest = np.array(self._oldest, np.float64)
        oldest[oldest == 0.0] = np.inf
        first = oldest.min(axis=0)
        first[np.isinf(first)] = np.nan
        return in_flight, first

    # Heartbeats.

    def beat(self, worker: int, now: float, lag: float = 0.0) -> None:
        """A worker's loop turned at `now`, `lag` seconds later than it meant to."""
        row = self._pulse[worker]
        row[0] = now
        row[1] += lag

    def beats(self) -> list[float]:
        """When each worker's loop last turned, monotonic seconds; 0: not since it was started."""
        return [row[0] for row in self._pulse]

    def lags(self) -> list[float]:
        """Seconds by which each worker's loop ran late, summed since the board was made; never falls."""
        return [row[1] for row in self._pulse]

    def clear_row(self, worker: int) -> None:
        """A worker died: it has nothing in flight any more. Its sum of lags stays."""
        self._live[worker][:] = array("I", bytes(4 * self.slots))
        self._oldest[worker][:] = array("d", bytes(8 * self.slots))
        self._pulse[worker][0] = 0.0

    def close(self) -> None:
        """Let go of the memory. Rows that were handed out stay valid until they are dropped."""
        views: list[memoryview[Any]] = [self._words, *self._buffers, *self._live, *self._oldest, *self._pulse]
        for view in views:
            view.release()
        self.shared.close()


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as the bytes of a buffer, without its seal."""
    slots = len(snapshot.weight)
    parts = [_HEAD.pack(snapshot.version, snapshot.at, snapshot.generation, slots, len(snapshot.clusters))]
    parts += [_CLUSTER.pack(c.explore, c.typical, c.panic, c.fallback) for c in snapshot.clusters]
    for name, code in _COLUMNS:
        column: Sequence[float] = getattr(snapshot, name)
        if len(column) != slots:
            raise ValueError(f"column {name} has {len(column)} rows, not {slots}")
        plain = column.tolist() if hasattr(column, "tolist") else column
        parts.append(array(code, plain).tobytes())
    return b"".join(parts)


def decode(body: bytes) -> Snapshot:
    """The snapshot of a buffer's bytes."""
    version, at, generation, slots, count = _HEAD.unpack_from(body)
    offset = _HEAD.size + count * _CLUSTER.size
    clusters = [
        ClusterEntry(panic=bool(panic), fallback=bool(fallback), explore=explore, typical=typical)
        for explore, typical, panic, fallback in _CLUSTER.iter_unpack(body[_HEAD.size : offset])
    ]
    columns: dict[str, Any] = {}
    for name, code in _COLUMNS:
        column = array(code)
        column.frombytes(body[offset : offset + slots * column.itemsize])
        columns[name] = column.tolist()
        offset += slots * column.itemsize
    return Snapshot(version=version, at=at, generation=generation, clusters=clusters, **columns)


def _lines(size: int) -> int:
    return -(-size // _LINE) * _LINE


def _buffer_size(slots: int, clusters: int) -> int:
    return _lines(_SEAL.size + _HEAD.size + clusters * _CLUSTER.size + slots * _ENTRY_SIZE)


def _board_size(slots: int, clusters: int, workers: int) -> int:
    rows = _lines(4 * slots) + _lines(8 * slots) + _LINE
    return _HEADER_SIZE + 2 * _buffer_size(slots, clusters) + workers * rows
