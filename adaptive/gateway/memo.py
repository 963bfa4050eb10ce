"""A bounded memory of results by the bytes they came from, for bytes that come again and again."""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")


class Memo(dict[bytes, V]):
    """A dict that takes in only what is offered twice, and starts afresh when it is full.

    Most of what differs from message to message never comes again: keeping it would fill memory with cold objects and
    push out what does. Of a first sight only the hash is kept; a collision costs an entry, nothing else.
    """

    __slots__ = ("_entries", "_seen", "_size")

    def __init__(self, entries: int, size: int) -> None:
        """`entries` at most, of keys of at most `size` bytes."""
        super().__init__()
        self._entries, self._size = entries, size
        self._seen: set[int] = set()

    def offer(self, key: bytes, value: V) -> None:
        """Takes a result in, if it is its key's second time."""
        if len(key) > self._size:
            return
        seen = self._seen
        mark = hash(key)
        if mark in seen:
            if len(self) >= self._entries:
                self.clear()
            self[key] = value
        else:
            if len(seen) >= 4 * self._entries:
                seen.clear()
            seen.add(mark)
