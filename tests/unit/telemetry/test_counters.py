from __future__ import annotations

import itertools

import pytest

from adaptive.telemetry import counters as module
from adaptive.telemetry.counters import BLOCK, BOUNDS, COUNTERS, DURATION_SUM, DURATIONS, REQUESTS, Counters, finished


def test_every_name_stands_for_its_own_line_of_the_table() -> None:
    for index, counter in enumerate(COUNTERS):
        assert getattr(module, counter.key) == index, counter.key
    assert len({(c.metric, c.labels) for c in COUNTERS}) == len(COUNTERS)


def test_a_worker_counts_by_plain_stores_and_the_supervisor_sees_the_sum() -> None:
    counters = Counters.create(2)
    for worker in (0, 1):
        row = Counters.attach(counters.fd).row(worker)
        row[module.RETRIES] += worker + 1
        row[module.UPGRADES] += 1
    totals = counters.totals()
    assert (totals[module.RETRIES], totals[module.UPGRADES], totals[module.ATTEMPTS]) == (3, 2, 0)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.0005, 0), (0.00051, 1), (0.001, 1), (0.3, 9), (10.0, len(BOUNDS) - 1), (10.1, len(BOUNDS))],
)
def test_a_bound_belongs_to_its_own_bucket(seconds: float, bucket: int) -> None:
    counters = Counters.create(1)
    row, block = counters.row(0), counters.block(3)
    finished(row, block, 204, seconds)
    durations = row[block + DURATIONS : block + DURATION_SUM].tolist()
    assert durations == [int(i == bucket) for i in range(len(BOUNDS) + 1)]
    assert row[block + DURATION_SUM] == int(seconds * 1e6)
    assert row[block + REQUESTS + 2] == 1


@pytest.mark.parametrize(("status", "kind"), [(0, 0), (101, 1), (302, 3), (599, 5), (600, 5), (999, 5)])
def test_every_status_has_its_class(status: int, kind: int) -> None:
    counters = Counters.create(1)
    row, block = counters.row(0), counters.block(0)
    finished(row, block, status, 20.0)
    assert row[block + REQUESTS : block + DURATIONS].tolist() == [int(i == kind) for i in range(6)]
    assert sum(row[block + DURATIONS : block + DURATION_SUM]) == 1


def test_routes_have_blocks_of_their_own_up_to_the_bound_and_one_together_beyond() -> None:
    counters = Counters.create(2, routes=3)
    blocks = [counters.block(route) for route in (0, 1, 2, 3, None)]
    assert [b - a for a, b in itertools.pairwise(blocks)] == [BLOCK] * 4
    assert counters.block(3) == counters.block(4) == counters.block(65_535)
    assert blocks[0] == len(COUNTERS)
    finished(counters.row(0), counters.block(None), 404, 99.0)  # the last word of the first row
    assert sum(counters.row(1)) == 0


def test_the_row_of_a_dead_worker_keeps_its_sums_and_drops_what_was_open() -> None:
    counters = Counters.create(1)
    row = counters.row(0)
    for index in range(len(row)):
        row[index] = 7
    counters.clear_gauges(0)
    assert {c.key for i, c in enumerate(COUNTERS) if row[i] == 0} == {
        "CONNECTIONS_OPEN",
        "REQUESTS_OPEN",
        "UPSTREAM_OPEN",
        "WAITING",
    }
    assert set(row[len(COUNTERS) :]) == {7}


def test_what_is_not_there_is_refused() -> None:
    from adaptive.telemetry.shared import Shared

    counters = Counters.create(2)
    for worker in (-1, 2):
        with pytest.raises(IndexError, match=f"no worker {worker}"):
            counters.row(worker)
    with pytest.raises(ValueError, match="need a worker and a route"):
        Counters.create(0)
    for size in (64, 100, 4096):
        with pytest.raises(ValueError, match="holds no counters"):
            Counters.attach(Shared.create(size).fd)
