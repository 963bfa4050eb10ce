"""How late loads and fleets were: what the machine added to a run that is not the gateways' doing."""

from __future__ import annotations

from typing import Any

import numpy as np

Column = np.ndarray[Any, Any]
WINDOW = 5.0  # seconds: a machine that stands still for a fifth of a second shows in a hundredth of them
# Seconds that a load or a fleet may be late by (`worst`). A run later than that measures the machine: in calm p99 is
# 140 ms, of which a gateway that does well is given 3 %; alone on two cores four gateways are late by 1 to 2 ms, in a
# surge by 3.
MOST = 0.005
LEAST = 20  # values of a window whose 99th percentile is looked at; of fewer it would be the one largest


def worst(at: Column, late: Column) -> float:
    """The 99th percentile of `late` (n,) in the worst WINDOW by `at` (n,), seconds; 0 of nothing.

    By windows, for a machine that stands still once in minutes is on time at the 99th percentile of the whole.
    """
    which = np.floor_divide(at, WINDOW).astype(np.int64)
    parts = [late[which == one] for one in np.unique(which)]
    return max((float(np.quantile(part, 0.99)) for part in parts if len(part) >= LEAST), default=0.0)
