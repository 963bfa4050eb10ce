from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive.telemetry.board import Board
from adaptive.types import ClusterEntry, Snapshot

SLOTS, CLUSTERS = 12, 3
reals = st.floats(allow_nan=False)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    slots = draw(st.integers(0, SLOTS))

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=slots, max_size=slots))

    return Snapshot(
        version=0,
        at=draw(reals),
        generation=draw(st.integers(0, 2**40)),
        weight=column(st.integers(1, 2**32 - 1)),
        health=column(st.integers(0, 4)),
        probability=column(reals),
        limit=column(st.integers(0, 2**32 - 1)),
        hedge_delay=column(reals),
        attempt_timeout=column(reals),
        clusters=draw(st.lists(st.builds(ClusterEntry, st.booleans(), st.booleans(), reals, reals), max_size=CLUSTERS)),
    )


@settings(max_examples=100)
@given(st.lists(snapshots(), min_size=1, max_size=5), st.lists(st.integers(1, 2**40), min_size=5, max_size=5))
def test_any_sequence_of_snapshots_is_read_back_exactly(published: list[Snapshot], steps: list[int]) -> None:
    board = Board.create(SLOTS, CLUSTERS, 1)
    reader = Board.attach(board.fd)
    for snapshot, step in zip(published, steps, strict=False):
        sent = replace(snapshot, version=board.version() + step)
        board.publish(sent)
        assert reader.version() == sent.version
        assert reader.read() == sent
    reader.close()
    board.close()


@settings(max_examples=100)
@given(snapshots(), st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_never_taken_for_a_snapshot(snapshot: Snapshot, where: int, flip: int) -> None:
    board = Board.create(SLOTS, CLUSTERS, 1)
    board.publish(snapshot)
    buffer = next(b for b in board._buffers if any(b))
    length = int.from_bytes(buffer[4:8], "little") + 8
    buffer[where % length] ^= flip
    assert board.read() is None
    board.close()
