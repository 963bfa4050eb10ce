"""Finished requests counted many at once, as `counters.finished` counts one."""

from __future__ import annotations

import numpy as np

from adaptive.telemetry.columns import Rows
from adaptive.telemetry.counters import BLOCK, BOUNDS, COUNTERS, DURATION_SUM, DURATIONS

_BOUNDS = np.array(BOUNDS)


def finished_all(row: memoryview, routes: int, rows: Rows) -> None:
    """Count requests, of which these are the only attempts, into a worker's row for `routes` routes.

    `rows` are of OUTCOME_DTYPE.
    """
    words = np.frombuffer(row, np.uint64)
    blocks = len(COUNTERS) + np.minimum(rows["route"], routes).astype(np.intp) * BLOCK
    seconds = np.maximum(0.0, rows["done"] - rows["sent_at"])
    np.add.at(words, blocks + np.minimum(rows["status"] // 100, 5), 1)
    np.add.at(words, blocks + DURATIONS + np.searchsorted(_BOUNDS, seconds), 1)
    np.add.at(words, blocks + DURATION_SUM, (seconds * 1e6).astype(np.uint64))
