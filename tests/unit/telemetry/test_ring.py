from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from adaptive.telemetry import columns
from adaptive.telemetry.ring import HEADER_SIZE, ROW, ROW_SIZE, Ring
from adaptive.types import OUTCOME_FIELDS, Outcome

NAN = float("nan")


def outcome(n: int) -> Outcome:
    return Outcome(
        sent_at=n + 0.25,
        first_byte=n + 0.5,
        done=n + 0.75,
        request=n,
        bytes_up=n * 3,
        bytes_down=n * 5,
        slot=n % 1000,
        snapshot=n % 2**32,
        in_flight=n % 77,
        propensity=0.5,
        connect=0.125,
        load_cpu=NAN,
        load_app=0.25,
        cluster=n % 7,
        route=n % 11,
        status=200 + n % 300,
        attempt=1 + n % 3,
        cause=n % 15,
        marks=n % 64,
        worker=n % 5,
    )


def test_a_row_comes_out_as_it_went_in() -> None:
    ring = Ring.create(8)
    sent = outcome(12345)
    assert ring.put(*sent) is True
    (row,) = ring.drain()
    for name, value in sent._asdict().items():
        np.testing.assert_equal(float(row[name]), float(value), err_msg=name)
    assert len(ring) == 0


def test_the_numpy_row_lies_as_the_struct_does() -> None:
    assert columns.OUTCOME_DTYPE.itemsize == ROW_SIZE == 88
    assert columns.OUTCOME_DTYPE.names == tuple(name for name, _, _ in OUTCOME_FIELDS) == Outcome._fields
    last = columns.OUTCOME_DTYPE.names[-1]
    assert columns.OUTCOME_DTYPE.fields[last][1] + 1 == ROW.size
    assert ROW_SIZE % 8 == 0
    assert HEADER_SIZE % 64 == 0


def test_rows_come_out_in_order_around_the_end() -> None:
    ring = Ring.create(8)
    seen: list[int] = []
    for n in range(100):
        assert ring.put(*outcome(n))
        if n % 5 == 4:
            seen += ring.drain()["request"].tolist()
    seen += ring.drain()["request"].tolist()
    assert seen == list(range(100))


def test_a_full_ring_counts_what_it_loses_and_keeps_the_oldest() -> None:
    ring = Ring.create(4)
    assert [ring.put(*outcome(n)) for n in range(7)] == [True] * 4 + [False] * 3
    assert ring.lost == 3
    assert ring.drain()["request"].tolist() == [0, 1, 2, 3]
    assert ring.put(*outcome(8)) is True
    assert (ring.lost, ring.written, len(ring)) == (3, 5, 1)


def test_a_limit_leaves_the_rest_for_the_next_time() -> None:
    ring = Ring.create(16)
    for n in range(10):
        ring.put(*outcome(n))
    assert ring.drain(4)["request"].tolist() == [0, 1, 2, 3]
    assert ring.drain(0)["request"].tolist() == []
    assert ring.drain(100)["request"].tolist() == [4, 5, 6, 7, 8, 9]


def test_a_drained_row_is_a_copy() -> None:
    ring = Ring.create(2)
    ring.put(*outcome(1))
    rows = ring.drain()
    for n in (50, 51):
        ring.put(*outcome(n))
    assert rows["request"].tolist() == [1]


def test_a_field_out_of_its_range_leaves_no_row() -> None:
    ring = Ring.create(4)
    with pytest.raises(struct.error):
        ring.put(*outcome(1)._replace(status=70_000))
    with pytest.raises(struct.error):
        ring.put(1.0, 2.0)
    assert len(ring) == 0
    assert ring.put(*outcome(2))
    assert ring.drain()["request"].tolist() == [2]


def test_a_reader_that_dies_before_it_releases_leaves_its_rows_to_the_next() -> None:
    ring = Ring.create(8)
    for n in range(5):
        ring.put(*outcome(n))
    first = Ring.attach(ring.fd)
    assert first.peek(3)["request"].tolist() == [0, 1, 2]
    first.close()
    assert Ring.attach(ring.fd).drain()["request"].tolist() == [0, 1, 2, 3, 4]


def test_a_reader_goes_on_where_the_one_before_it_stopped() -> None:
    ring = Ring.create(8)
    for n in range(5):
        ring.put(*outcome(n))
    Ring.attach(ring.fd).drain(2)
    assert Ring.attach(ring.fd).drain()["request"].tolist() == [2, 3, 4]


def test_a_writer_goes_on_where_the_one_before_it_stopped_and_so_does_the_count_of_lost_rows() -> None:
    ring = Ring.create(4)
    for n in range(3):
        ring.put(*outcome(n))
    heir = Ring.attach(ring.fd)
    assert [heir.put(*outcome(n)) for n in (3, 4)] == [True, False]
    assert Ring.attach(ring.fd).put(*outcome(5)) is False
    assert ring.lost == 2
    assert ring.drain()["request"].tolist() == [0, 1, 2, 3]


def test_a_row_half_written_by_a_dead_writer_is_never_seen() -> None:
    ring = Ring.create(4)
    ring.put(*outcome(1))
    ring.shared.buf[HEADER_SIZE + ROW_SIZE : HEADER_SIZE + ROW_SIZE + 40] = b"\xee" * 40  # died in the second row
    assert ring.peek()["request"].tolist() == [1]
    Ring.attach(ring.fd).put(*outcome(2))
    assert ring.drain()["request"].tolist() == [1, 2]


def test_more_than_what_waits_cannot_be_released() -> None:
    ring = Ring.create(4)
    ring.put(*outcome(1))
    with pytest.raises(ValueError, match="2 rows cannot be released: 1 wait"):
        ring.release(2)


def test_several_rings_drain_into_one_array() -> None:
    rings = [Ring.create(4) for _ in range(3)]
    for n, ring in enumerate(rings):
        for k in range(n + 1):
            ring.put(*outcome(10 * n + k))
    assert columns.drain(rings, 2)["request"].tolist() == [0, 10, 11, 20, 21]
    assert columns.drain(rings[2:], 2)["request"].tolist() == [22]
    assert len(columns.drain([], 2)) == 0
    assert columns.drain(rings, 2).dtype == columns.OUTCOME_DTYPE


@pytest.mark.parametrize("capacity", [0, 1, 3, 1000])
def test_a_capacity_is_a_power_of_two(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Ring.create(capacity)


def test_memory_that_holds_something_else_is_refused() -> None:
    from adaptive.telemetry.shared import Shared

    for size in (64, 4096):
        shared = Shared.create(size)
        with pytest.raises(ValueError, match="holds no ring"):
            Ring.attach(shared.fd)


def test_a_closed_ring_takes_nothing() -> None:
    ring = Ring.create(4)
    ring.peek()
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        ring.put(*outcome(1))


WRITER = """
import sys
from adaptive.telemetry.ring import Ring
put, n = Ring.attach(int(sys.argv[1])).put, int(sys.argv[2])
while True:
    small, byte = n & 0xFFFF, n & 255
    row = (n, n + .25, n + .5, n, n, n, small, n, n, .5, .5, .5, .5, small, small, small, byte, byte, byte, 7)
    if put(*row):
        n += 1
"""


def assert_whole(rows: columns.Rows) -> None:
    n = rows["request"]
    for name, code, _ in OUTCOME_FIELDS:
        if code in "QI":
            mask = 0xFFFF if name == "slot" else 0xFFFF_FFFF
            assert (rows[name] == n & np.uint64(mask)).all(), name
        elif code == "H" or name in {"attempt", "cause", "marks"}:
            assert (rows[name] == n & np.uint64(0xFFFF if code == "H" else 255)).all(), name
    assert (rows["done"] == n + 0.5).all()
    assert (rows["worker"] == 7).all()


# Real processes: three writers in turn are killed at a moment nobody chose.
def test_every_row_of_a_writer_that_is_killed_is_whole_and_none_is_missing() -> None:
    ring = Ring.create(1024)
    expected = 0
    for _ in range(3):
        args = [sys.executable, "-c", WRITER, str(ring.fd), str(expected)]
        writer = subprocess.Popen(args, pass_fds=[ring.fd])
        killed_at = None
        deadline = time.monotonic() + 10
        seen = 0
        while time.monotonic() < deadline:
            rows = ring.drain(300)
            assert_whole(rows)
            assert rows["request"].tolist() == list(range(expected, expected + len(rows)))
            expected += len(rows)
            seen += len(rows)
            if seen > 20_000 and killed_at is None:
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
                killed_at = seen
            if killed_at is not None and len(ring) == 0:
                break
        assert killed_at is not None
    assert ring.written == expected
