"""An endpoint's own report of its load: the header `endpoint-load-metrics` of ORCA, in its TEXT and JSON forms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_ITEM = re.compile(rb"\"?(cpu_utilization|application_utilization)\"?\s*[=:]\s*(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")


def load_report(values: Iterable[bytes]) -> tuple[float, float]:
    """CPU and application utilisation from the header's values; NaN where absent."""
    cpu = app = math.nan
    for value in values:
        for name, number in _ITEM.findall(value):
            if name == b"cpu_utilization":
                cpu = float(number)
            else:
                app = float(number)
    return cpu, app
