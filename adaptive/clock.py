"""The one file that reads a clock; everything else takes `now` as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]  # seconds

monotonic: Clock = time.monotonic
wall: Clock = time.time
cpu: Clock = time.process_time
