"""What is remembered of bytes that come again."""

from __future__ import annotations

from adaptive.gateway.memo import Memo


def test_only_what_comes_twice_is_kept() -> None:
    memo: Memo[int] = Memo(4, 10)
    memo.offer(b"once", 1)
    assert b"once" not in memo
    memo.offer(b"once", 1)
    assert memo[b"once"] == 1


def test_long_keys_are_not_kept() -> None:
    memo: Memo[int] = Memo(4, 10)
    for _ in range(3):
        memo.offer(b"x" * 11, 1)
    assert not memo


def test_neither_entries_nor_first_sights_grow_beyond_their_bounds() -> None:
    memo: Memo[int] = Memo(4, 10)
    for i in range(1000):
        for _ in range(2):
            memo.offer(b"%d" % i, i)
        assert len(memo) <= 4
    for i in range(1000):
        memo.offer(b"one %d" % i, i)
    assert len(memo._seen) <= 16
