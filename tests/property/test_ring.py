from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adaptive.telemetry import columns
from adaptive.telemetry.ring import Ring

CAPACITY = 8


class RingAgainstADeque(RuleBasedStateMachine):
    """Any order of puts, drains, deaths and replacements: a bounded deque that counts what it turns away."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring.create(CAPACITY)
        self.writer, self.reader = Ring.attach(self.ring.fd), Ring.attach(self.ring.fd)
        self.model: deque[int] = deque()
        self.lost = 0
        self.next = 0

    @rule(count=st.integers(1, 2 * CAPACITY))
    def put(self, count: int) -> None:
        for _ in range(count):
            n, self.next = self.next, self.next + 1
            fits = len(self.model) < CAPACITY
            assert self.writer.put(n, n, n, n, n, n, n, n, n, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) is fits
            if fits:
                self.model.append(n)
            else:
                self.lost += 1

    @rule(count=st.integers(0, 2 * CAPACITY))
    def put_many(self, count: int) -> None:
        rows = columns.empty(count)
        rows["request"] = range(self.next, self.next + count)
        self.next += count
        fits = min(count, CAPACITY - len(self.model))
        self.model.extend(rows["request"][:fits].tolist())
        self.lost += count - fits
        self.writer.put_all(rows)

    @rule(limit=st.one_of(st.none(), st.integers(0, CAPACITY + 2)))
    def drain(self, limit: int | None) -> None:
        rows = self.reader.drain(limit)["request"].tolist()
        count = len(self.model) if limit is None else min(limit, len(self.model))
        assert rows == [self.model.popleft() for _ in range(count)]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release_less_than_was_read(self, data: st.DataObject) -> None:
        assert self.reader.peek()["request"].tolist() == list(self.model)
        count = data.draw(st.integers(0, len(self.model)))
        self.reader.release(count)
        for _ in range(count):
            self.model.popleft()

    @rule()
    def replace_the_writer(self) -> None:
        self.writer.close()
        self.writer = Ring.attach(self.ring.fd)

    @rule()
    def replace_the_reader(self) -> None:
        self.reader.peek()  # read, and died before it released
        self.reader.close()
        self.reader = Ring.attach(self.ring.fd)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.reader) == len(self.model)
        assert self.reader.lost == self.lost
        assert self.ring.written == self.next - self.lost

    def teardown(self) -> None:
        for ring in (self.writer, self.reader, self.ring):
            ring.close()


TestRing = RingAgainstADeque.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=30)
