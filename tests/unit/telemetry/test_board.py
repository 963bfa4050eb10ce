from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from adaptive.telemetry import board as module
from adaptive.telemetry.board import Board
from adaptive.types import ClusterEntry, Snapshot

NAN = float("nan")


def snapshot(version: int, slots: int = 4, clusters: int = 2) -> Snapshot:
    """Every value tells the version, so that a mixture of two shows."""
    return Snapshot(
        version=version,
        at=version + 0.5,
        generation=version * 2,
        weight=[version % 1000 + 1] * slots,
        health=[version % 5] * slots,
        probability=[version / 7] * slots,
        limit=[version] * slots,
        hedge_delay=[version / 3] * slots,
        attempt_timeout=[version * 1.5] * slots,
        clusters=[ClusterEntry(version % 2 == 0, version % 3 == 0, version / 9, version / 11)] * clusters,
    )


def test_before_the_first_snapshot_there_is_none() -> None:
    board = Board.create(4, 2, 1)
    assert board.version() == -1
    assert board.read() is None


def test_what_is_published_is_what_all_read() -> None:
    board = Board.create(4, 2, 1)
    other = Board.attach(board.fd)
    for version in (0, 1, 2, 7, 2**40):
        sent = replace(snapshot(version), limit=[0, 1, 2**32 - 1, 5])
        board.publish(sent)
        assert other.version() == version
        assert other.read() == sent


def test_numpy_columns_come_out_as_plain_lists() -> None:
    board = Board.create(4, 2, 1)
    sent = replace(
        snapshot(1),
        weight=np.array([1, 2, 3, 4]),
        health=np.array([0, 1, 2, 3], np.int8),
        probability=np.array([0.5, NAN, 0.0, 1.0]),
        limit=np.zeros(4, np.int64),
    )
    board.publish(sent)
    read = board.read()
    assert read is not None
    assert (read.weight, read.health, read.limit) == ([1, 2, 3, 4], [0, 1, 2, 3], [0, 0, 0, 0])
    assert all(type(x) is int for x in [*read.weight, *read.health])
    assert read.probability[0] == 0.5
    assert math.isnan(read.probability[1])


def test_a_snapshot_may_have_fewer_slots_than_the_board() -> None:
    board = Board.create(100, 9, 1)
    for slots, clusters in ((3, 1), (0, 0), (100, 9)):
        sent = snapshot(board.version() + 1, slots, clusters)
        board.publish(sent)
        assert board.read() == sent


def test_a_snapshot_that_does_not_fit_is_refused_and_the_old_one_stays() -> None:
    board = Board.create(4, 2, 1)
    board.publish(snapshot(1))
    for bad in (snapshot(2, slots=5), snapshot(2, clusters=3), replace(snapshot(2), limit=[1])):
        with pytest.raises(ValueError, match=r"room for|1 rows, not 4"):
            board.publish(bad)
    assert board.read() == snapshot(1)


def test_a_stale_snapshot_is_refused() -> None:
    board = Board.create(4, 2, 1)
    board.publish(snapshot(5))
    for version in (4, 5):
        with pytest.raises(ValueError, match=f"snapshot {version} is not newer than 5"):
            board.publish(snapshot(version))
    assert board.read() == snapshot(5)


class Killed(BaseException):
    """The publisher dies here."""


class DyingBuffer:
    """A buffer whose writer is killed after so many bytes."""

    def __init__(self, buffer: memoryview, survives: int) -> None:
        self.buffer, self.survives = buffer, survives

    def __setitem__(self, where: slice, body: bytes) -> None:
        self.buffer[where.start : where.start + self.survives] = body[: self.survives]
        raise Killed


@pytest.mark.parametrize("published", [1, 2])
@pytest.mark.parametrize("survives", [0, 1, 9, 40, 100, 10**6])
def test_a_brain_killed_while_it_writes_the_columns_leaves_the_old_snapshot(survives: int, published: int) -> None:
    board = Board.create(4, 2, 1)
    for version in range(published):
        board.publish(snapshot(version))
    brain = Board.attach(board.fd)
    spare = 1 - (board._words[module._CURRENT] & 1)
    size = len(module.encode(snapshot(9)))
    brain._buffers[spare] = DyingBuffer(brain._buffers[spare], min(survives, size))  # type: ignore[call-overload]
    with pytest.raises(Killed):
        brain.publish(snapshot(9))
    assert board.version() == published - 1
    assert board.read() == snapshot(published - 1)
    heir = Board.attach(board.fd)
    heir.publish(snapshot(heir.version() + 1))
    assert board.read() == snapshot(published)


def test_a_brain_killed_before_it_seals_or_switches_leaves_the_old_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board.create(4, 2, 1)
    board.publish(snapshot(1))

    def die(*args: object) -> None:
        raise Killed

    class Seal:
        size = module._SEAL.size
        pack_into = staticmethod(die)
        unpack_from = module._SEAL.unpack_from

    with monkeypatch.context() as patch:
        patch.setattr(module, "_SEAL", Seal)
        with pytest.raises(Killed):
            board.publish(snapshot(2))
    assert board.read() == snapshot(1)
    # Sealed, not yet switched: the other buffer is whole, the word still names the first.
    sealed = Board.attach(board.fd)
    word = sealed._words[module._CURRENT]
    sealed.publish(snapshot(3))
    sealed._words[module._CURRENT] = word
    assert board.read() == snapshot(1)
    board.publish(snapshot(4))
    assert board.read() == snapshot(4)


def test_damaged_memory_is_never_taken_for_a_snapshot() -> None:
    board = Board.create(4, 2, 1)
    board.publish(snapshot(1))
    current = board._buffers[board._words[module._CURRENT] & 1]
    for at in (0, 4, 8, 40, 120):
        current[at] ^= 1
        assert board.read() is None
        current[at] ^= 1
    assert board.read() == snapshot(1)


PUBLISHER = """
import sys
from adaptive.telemetry.board import Board
from tests_board import snapshot
board = Board.attach(int(sys.argv[1]))
while True:
    board.publish(snapshot(board.version() + 1, slots=300))
"""


# Takes up to 1.5 s: two processes race for real.
def test_a_reader_racing_a_publisher_sees_only_whole_snapshots_and_never_an_older_one() -> None:
    board = Board.create(300, 2, 1)
    load = f"import importlib.util as u, sys; s = u.spec_from_file_location('tests_board', {__file__!r}); "
    load += "m = u.module_from_spec(s); sys.modules['tests_board'] = m; s.loader.exec_module(m)\n"
    publisher = subprocess.Popen([sys.executable, "-c", load + PUBLISHER, str(board.fd)], pass_fds=[board.fd])
    try:
        seen: list[int] = []
        deadline = time.monotonic() + 20
        while board.version() < 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        least, deadline = time.monotonic() + 1, time.monotonic() + 20
        # A second; longer on a machine that gives both of them little of it.
        while (now := time.monotonic()) < least or (len(set(seen)) <= 50 and now < deadline):
            read = board.read()
            if read is not None:
                assert read == snapshot(read.version, slots=300)
                seen.append(read.version)
    finally:
        publisher.kill()
        publisher.wait()
    assert seen == sorted(seen)
    assert len(set(seen)) > 50
    last = board.read()  # killed at a moment nobody chose
    assert last is not None
    assert last == snapshot(board.version(), slots=300)
    board.publish(snapshot(board.version() + 1))


def test_each_worker_sees_the_sum_of_the_others() -> None:
    board = Board.create(3, 1, 3)
    for worker in range(3):
        row = Board.attach(board.fd).live_row(worker)
        row[0] = worker + 1
        row[2] = 10 * worker
    assert board.others(0) == [5, 0, 30]
    assert board.others(1) == [4, 0, 20]
    assert board.others(2, slots=1) == [3]
    assert Board.create(3, 1, 1).others(0) == [0, 0, 0]


def test_the_brain_sees_all_counts_and_the_oldest_send_time_of_any_worker() -> None:
    board = Board.create(3, 1, 2)
    for worker, at in ((0, 9.0), (1, 7.0)):
        board.live_row(worker)[1] += 1
        board.oldest_row(worker)[1] = at
    board.oldest_row(1)[2] = 4.0
    in_flight, oldest = board.live()
    assert in_flight.tolist() == [0, 2, 0]
    np.testing.assert_equal(oldest, [NAN, 7.0, 4.0])


def test_a_dead_worker_has_nothing_in_flight_and_its_lag_is_not_forgotten() -> None:
    board = Board.create(3, 1, 2)
    for worker in (0, 1):
        board.live_row(worker)[1] = 4
        board.oldest_row(worker)[1] = 2.0
        board.beat(worker, 10.0 + worker, lag=0.5)
        board.beat(worker, 11.0 + worker, lag=0.25)
    board.clear_row(0)
    in_flight, oldest = board.live()
    assert in_flight.tolist() == [0, 4, 0]
    np.testing.assert_equal(oldest, [NAN, 2.0, NAN])
    assert board.beats() == [0.0, 12.0]
    assert board.lags() == [0.75, 0.75]


def test_rows_of_workers_do_not_overlap_each_other_or_the_snapshot() -> None:
    board = Board.create(5, 2, 3)
    board.publish(snapshot(1, slots=5))
    for worker in range(3):
        for slot in range(5):
            board.live_row(worker)[slot] = 2**32 - 1 - worker
            board.oldest_row(worker)[slot] = -1.5 - worker
        board.beat(worker, 99.0 + worker, lag=worker + 1.0)
    for worker in range(3):
        assert board.live_row(worker).tolist() == [2**32 - 1 - worker] * 5
        assert board.oldest_row(worker).tolist() == [-1.5 - worker] * 5
    assert (board.beats(), board.lags()) == ([99.0, 100.0, 101.0], [1.0, 2.0, 3.0])
    assert board.read() == snapshot(1, slots=5)


def test_a_board_without_room_or_in_the_wrong_memory_is_refused() -> None:
    from adaptive.telemetry.shared import Shared

    with pytest.raises(ValueError, match="needs a slot, a cluster and a worker"):
        Board.create(0, 1, 1)
    for size in (64, 4096):
        with pytest.raises(ValueError, match="holds no board"):
            Board.attach(Shared.create(size).fd)


def test_closing_a_board_leaves_its_memory_to_the_others() -> None:
    board = Board.create(3, 1, 1)
    other = Board.attach(board.fd)
    board.publish(snapshot(1, slots=3, clusters=1))
    board.live()
    board.close()
    assert other.read() == snapshot(1, slots=3, clusters=1)
