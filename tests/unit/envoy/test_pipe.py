"""What nobody reads of the pipe is thrown away in time, and counted: its writer never waits for long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive.envoy.pipe import PATIENCE, Pipe, open_pipe

LINE = b"x" * 149 + b"\n"


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = Pipe(str(tmp_path / "attempts"))
    yield made
    made.close()


def fill(pipe: Pipe) -> int:
    """Write lines until no more goes in; how many."""
    count = 0
    while True:
        try:
            if os.write(pipe.fd, LINE) < len(LINE):
                raise AssertionError("a line that is shorter than a page goes in as a whole, or not at all")
            count += 1
        except BlockingIOError:
            return count


def rest(pipe: Pipe) -> int:
    """Read all that is there; how many lines."""
    count = 0
    while True:
        try:
            count += os.read(pipe.fd, 1 << 16).count(b"\n")
        except BlockingIOError:
            return count


def test_what_waits_for_less_than_a_reader_needs_to_come_back_is_kept(pipe: Pipe) -> None:
    written = fill(pipe)
    assert pipe.relieve(10.0) == 0
    assert pipe.relieve(10.0 + 0.9 * PATIENCE) == 0
    assert rest(pipe) == written
    assert pipe.relieve(10.0 + PATIENCE) == 0


def test_what_waits_in_vain_is_thrown_away_and_counted_from_the_oldest_on(pipe: Pipe) -> None:
    os.write(pipe.fd, b"the oldest\n")
    written = fill(pipe) + 1
    pipe.relieve(10.0)
    lost = pipe.relieve(10.0 + PATIENCE)
    assert written / 2 < lost < written
    assert os.read(pipe.fd, 3) == b"xxx"
    assert lost + rest(pipe) == written


def test_nothing_is_torn_by_it(pipe: Pipe) -> None:
    written = fill(pipe)
    pipe.relieve(10.0)
    lost = pipe.relieve(10.0 + PATIENCE)
    kept = b""
    while len(kept) < (written - lost) * len(LINE):
        kept += os.read(pipe.fd, 1 << 16)
    assert kept == (written - lost) * LINE


def test_a_reader_that_keeps_up_loses_nothing(pipe: Pipe) -> None:
    for second in range(10):
        written = fill(pipe)
        assert pipe.relieve(10.0 + second) == 0
        assert rest(pipe) == written
        assert pipe.relieve(10.5 + second) == 0


def test_a_writer_that_waits_for_room_gets_it(pipe: Pipe, tmp_path: Path) -> None:
    """Envoy's own writes wait: three pipes full of lines go into one whose reader is away."""
    total = 3 * fill(pipe)
    writer = os.open(tmp_path / "attempts", os.O_WRONLY)

    def write() -> None:
        for _ in range(total):
            os.write(writer, LINE)

    thread = threading.Thread(target=write)
    thread.start()
    lost, now = 0, 10.0
    while thread.is_alive():
        lost += pipe.relieve(now)
        now += PATIENCE
        thread.join(0.001)
    os.close(writer)
    assert lost + rest(pipe) == total + total // 3


def test_something_else_at_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("")
    with pytest.raises(FileExistsError):
        open_pipe(str(tmp_path / "attempts"))
