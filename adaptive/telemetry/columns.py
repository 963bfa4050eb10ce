"""The reader's side of the ring: rows of shared memory as numpy columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive.telemetry.ring import ROW_SIZE
from adaptive.types import OUTCOME_FIELDS

if TYPE_CHECKING:
    from adaptive.telemetry.ring import Ring

Rows = np.ndarray[Any, Any]

_NUMPY = {"d": "<f8", "f": "<f4", "Q": "<u8", "I": "<u4", "H": "<u2", "B": "u1"}


def _dtype() -> np.dtype[Any]:
    formats = [_NUMPY[code] for _, code, _ in OUTCOME_FIELDS]
    sizes = [np.dtype(f).itemsize for f in formats]
    return np.dtype(
        {
            "names": [name for name, _, _ in OUTCOME_FIELDS],
            "formats": formats,
            "offsets": [sum(sizes[:i]) for i in range(len(sizes))],
            "itemsize": ROW_SIZE,
        }
    )


OUTCOME_DTYPE = _dtype()
"""One row of the ring: the names of OUTCOME_FIELDS, ROW_SIZE bytes."""

_BYTES = np.dtype((np.void, ROW_SIZE))


def table(memory: memoryview, capacity: int) -> Rows:
    """The ring's rows where they lie, shape (capacity,), each as plain bytes: copied at once, not field by field."""
    return np.frombuffer(memory, _BYTES, count=capacity)


def copy(rows: Rows, start: int, count: int) -> Rows:
    """`count` rows of a `table` from index `start` on, past the end from the beginning again, as OUTCOME_DTYPE."""
    out = np.empty(count, _BYTES)
    first = min(count, len(rows) - start)
    out[:first] = rows[start : start + first]
    out[first:] = rows[: count - first]
    return out.view(OUTCOME_DTYPE)


def place(rows: Rows, start: int, new: Rows) -> None:
    """Write rows of OUTCOME_DTYPE into a `table` from index `start` on, past its end from the beginning again."""
    plain = np.ascontiguousarray(new).view(_BYTES)
    first = min(len(plain), len(rows) - start)
    rows[start : start + first] = plain[:first]
    rows[: len(plain) - first] = plain[first:]


def empty(count: int = 0) -> Rows:
    """Rows of zeros."""
    return np.zeros(count, OUTCOME_DTYPE)


def join(parts: Sequence[Rows]) -> Rows:
    """Several arrays of OUTCOME_DTYPE as one."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.view(_BYTES) for part in parts]).view(OUTCOME_DTYPE) if parts else empty()


def drain(rings: Sequence[Ring], limit: int) -> Rows:
    """What waits in several workers' rings, at most `limit` rows of each, one ring after the other."""
    parts = [ring.drain(limit) for ring in rings]
    return join(parts)
