"""Many finished requests are counted as each of them would be."""

from __future__ import annotations

import random

from adaptive.telemetry import columns
from adaptive.telemetry.counters import BOUNDS, Counters, finished
from adaptive.telemetry.tally import finished_all

ROUTES = 3


def test_many_are_counted_as_one_after_the_other() -> None:
    seeded = random.Random(1)
    rows = columns.empty(500)
    rows["sent_at"] = 7.0
    rows["route"] = seeded.choices((0, 2, 3, 0xFFFF), k=500)
    rows["status"] = seeded.choices((0, 101, 200, 404, 599, 600, 999), k=500)
    rows["done"] = [7.0 + seconds for seconds in seeded.choices((-1.0, 0.0003, *BOUNDS, 11.5), k=500)]
    singly, together = Counters.create(1, ROUTES), Counters.create(1, ROUTES)
    for row in rows:
        seconds = max(0.0, row["done"] - row["sent_at"])
        finished(singly.row(0), singly.block(int(row["route"])), int(row["status"]), float(seconds))
    finished_all(together.row(0), ROUTES, rows)
    assert together.row(0).tolist() == singly.row(0).tolist()
    assert sum(together.row(0)) > 1000
