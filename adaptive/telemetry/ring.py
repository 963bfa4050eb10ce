"""Outcomes from one worker to the brain: a ring of rows in shared memory, one writer, one reader, no lock.

Layout: a header of 256 bytes (words of 8 bytes: magic, capacity, row size; head, tail and lost each on a cache line of
its own, so that the two sides do not slow each other), then `capacity` rows of ROW_SIZE bytes in the order of
OUTCOME_FIELDS. Head and tail only grow; row n lies at n modulo capacity.

The head moves only after a row is whole, so a writer killed in the middle of a row leaves nothing to see, and its
replacement writes that row anew. The tail moves only after rows were copied, so a reader killed in between leaves them
for its replacement: between ring and reader, delivery is at least once. What does not fit is counted in `lost`.

The order of two stores is what x86 keeps by itself. A machine that reorders does so within a few hundred instructions;
the interpreter spends thousands between seeing the head and reading the first row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adaptive.telemetry.shared import Shared
from adaptive.types import OUTCOME_FIELDS

if TYPE_CHECKING:
    import numpy as np

ROW = struct.Struct("<" + "".join(code for _, code, _ in OUTCOME_FIELDS))
ROW_SIZE = (ROW.size + 7) & ~7  # every row begins on a word
HEADER_SIZE = 256
# 65,536 rows are 13 s of outcomes at 5,000 a second: longer than a brain takes to be replaced; 5.5 MiB a worker.
CAPACITY = 65_536

_MAGIC = 0x3130_676E_6972_6461  # "adring01"
_CAPACITY, _ROW_SIZE, _HEAD, _TAIL, _LOST = 1, 2, 8, 16, 24  # words of the header


class Ring:
    """One worker's ring. A process uses one side of it only: `put`, or `drain`."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.fd = shared.fd
        self._words = shared.buf[:HEADER_SIZE].cast("Q")
        self.capacity = self._words[_CAPACITY]
        self._table: np.ndarray[Any, Any] | None = None
        self.put: Callable[..., bool]
        self.put_all: Callable[[np.ndarray[Any, Any]], None]
        self.put, self.put_all = self._writer()

    @classmethod
    def create(cls, capacity: int = CAPACITY) -> Ring:
        """An empty ring. `capacity` is a number of rows, a power of two."""
        if capacity < 2 or capacity & (capacity - 1):
            raise ValueError(f"the capacity of a ring is a power of two, not {capacity}")
        shared = Shared.create(HEADER_SIZE + capacity * ROW_SIZE)
        words = shared.buf[:HEADER_SIZE].cast("Q")
        words[_CAPACITY] = capacity
        words[_ROW_SIZE] = ROW_SIZE
        words[0] = _MAGIC
        return cls(shared)

    @classmethod
    def attach(cls, fd: int) -> Ring:
        """The ring behind an inherited descriptor; either side goes on where the one before it stopped."""
        shared = Shared.attach(fd)
        words = shared.buf[:HEADER_SIZE].cast("Q") if shared.size > HEADER_SIZE else None
        fits = words is not None and words[0] == _MAGIC and words[_ROW_SIZE] == ROW_SIZE
        if words is None or not fits or shared.size < HEADER_SIZE + words[_CAPACITY] * ROW_SIZE:
            raise ValueError(f"descriptor {fd} holds no ring of rows of {ROW_SIZE} bytes")
        return cls(shared)

    def _writer(self) -> tuple[Callable[..., bool], Callable[[np.ndarray[Any, Any]], None]]:
        """`put(*fields) -> bool`: append one row, in the order of OUTCOME_FIELDS; False when the ring is full.
        `put_all(rows)`: append rows of OUTCOME_DTYPE; those that find no room are lost.

        Closures: its names are cells, the cheapest that a call per attempt can read. The tail, which the other side
        writes, is read only when the room last seen is used up. A field out of its range raises struct.error, and
        nothing is written that a reader could see.
        """
        words, buf, capacity = self._words, self.shared.buf, self.capacity
        mask, pack_into = capacity - 1, ROW.pack_into
        head = words[_HEAD]
        room = 0

        def put(*fields: float) -> bool:
            nonlocal head, room
            if not room:
                room = capacity - (head - words[_TAIL])
                if room <= 0:
                    room = 0
                    words[_LOST] += 1
                    return False
            pack_into(buf, HEADER_SIZE + (head & mask) * ROW_SIZE, *fields)
            head += 1
            words[_HEAD] = head
            room -= 1
            return True

        def put_all(rows: np.ndarray[Any, Any]) -> None:
            nonlocal head, room
            room = max(0, capacity - (head - words[_TAIL]))
            count = min(len(rows), room)
            from adaptive.telemetry.columns import place  # a worker puts row by row, and needs no numpy

            place(self._rows(), head & mask, rows[:count])
            head += count
            words[_HEAD] = head
            room -= count
            words[_LOST] += len(rows) - count

        return put, put_all

    def _rows(self) -> np.ndarray[Any, Any]:
        """The rows where they lie, as `columns` reads and writes them."""
        if self._table is None:
            from adaptive.telemetry import columns

            self._table = columns.table(self.shared.buf[HEADER_SIZE:], self.capacity)
        return self._table

    def lose(self, count: int) -> None:
        """Count rows that were lost before they could be put: the writer's, or where it is silent its keeper's."""
        self._words[_LOST] += count

    @property
    def lost(self) -> int:
        """Rows that found the ring full, since it was made."""
        return self._words[_LOST]

    @property
    def written(self) -> int:
        """Rows put, since the ring was made."""
        return self._words[_HEAD]

    def __len__(self) -> int:
        """Rows that wait for the reader."""
        return min(self._words[_HEAD] - self._words[_TAIL], self.capacity)

    def peek(self, limit: int | None = None) -> np.ndarray[Any, Any]:
        """A copy of the oldest rows, at most `limit`, left in the ring: a structured array of OUTCOME_DTYPE."""
        from adaptive.telemetry import columns

        count = len(self) if limit is None else min(limit, len(self))
        return columns.copy(self._rows(), self._words[_TAIL] % self.capacity, count)

    def release(self, count: int) -> None:
        """Give the room of the `count` oldest rows back to the writer."""
        if not 0 <= count <= len(self):
            raise ValueError(f"{count} rows cannot be released: {len(self)} wait")
        self._words[_TAIL] += count

    def drain(self, limit: int | None = None) -> np.ndarray[Any, Any]:
        """Take the oldest rows, at most `limit`: `peek`, then `release`."""
        rows = self.peek(limit)
        self.release(len(rows))
        return rows

    def close(self) -> None:
        """Let go of the memory."""
        self._table = None
        self.put = self.put_all = _closed
        self._words.release()
        self.shared.close()


def _closed(*fields: Any) -> Any:
    raise ValueError("the ring is closed")
