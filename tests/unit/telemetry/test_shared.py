from __future__ import annotations

import os
import subprocess
import sys

import pytest

from adaptive.telemetry.shared import Shared


def test_new_memory_is_zeroed_and_writable() -> None:
    shared = Shared.create(4096)
    assert bytes(shared.buf) == bytes(4096)
    shared.buf[7] = 9
    assert shared.buf[7] == 9
    shared.close()


def test_what_one_side_writes_the_other_reads() -> None:
    mine = Shared.create(4096)
    other = Shared.attach(mine.fd)
    other.buf[100:103] = b"abc"
    assert bytes(mine.buf[100:103]) == b"abc"
    other.close()
    os.fstat(mine.fd)  # the descriptor is the maker's: attaching and closing leaves it open
    mine.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(mine.fd)


def test_a_child_process_reaches_it_by_the_inherited_descriptor() -> None:
    shared = Shared.create(4096)
    code = f"from adaptive.telemetry.shared import Shared; Shared.attach({shared.fd}).buf[5] = 77"
    subprocess.run([sys.executable, "-c", code], pass_fds=[shared.fd], check=True)
    assert shared.buf[5] == 77
    shared.close()


def test_views_outlive_closing() -> None:
    shared = Shared.create(4096)
    view = shared.buf[:8].cast("Q")
    view[0] = 42
    shared.close()
    assert view[0] == 42


def test_a_descriptor_that_holds_too_little_is_refused() -> None:
    shared = Shared.create(4096)
    with pytest.raises(ValueError, match="holds 4096 bytes of shared memory, not 8192"):
        Shared.attach(shared.fd, 8192)
    shared.close()


# What a worker loads: numpy and pyarrow cost it memory and start-up time, pydantic is for the supervisor.
def test_a_worker_loads_nothing_heavy_with_its_side_of_telemetry() -> None:
    code = (
        "import sys\n"
        "from adaptive.telemetry import shared, ring, board, counters, access_log\n"
        "ring.Ring.create(8).put(*[1] * 20)\n"
        "b = board.Board.create(4, 1, 2)\n"
        "b.others(0), b.read(), b.version()\n"
        "print(sorted({'numpy', 'pyarrow', 'pydantic', 'pandas', 'prometheus_client', 'asyncio'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
