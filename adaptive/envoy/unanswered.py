"""Attempts that ended with neither an answer nor a fault: what became of them, only their request's others tell.

Where a slow attempt has a second one beside it, Envoy drops whichever is not answered first, and tells of it before it
tells of the answered one. Where the client has left, or the request's time is up, none is answered. So such entries
wait for another of their request, and for not much longer than it takes to be told. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from adaptive.envoy.entry import Entry

# Seconds that such an entry waits. What won is told when its body is complete, which for most takes far less.
WAIT = 0.3


class Told(NamedTuple):
    """An entry that was read so far; `to` is the endpoint that it names."""

    entry: Entry
    to: Any
    worker: int
    sent_at: float  # seconds
    done: float  # seconds
    at: float  # when it was told


class Unanswered:
    """Entries that wait, by request, in the order in which the first of each came."""

    def __init__(self) -> None:
        self.held: dict[str, list[Told]] = {}

    def put(self, request: str, told: Told) -> None:
        """One more to wait."""
        self.held.setdefault(request, []).append(told)

    def beside(self, request: str) -> list[Told]:
        """Those of a request another of whose attempts was answered or failed; they wait no more."""
        return self.held.pop(request, [])

    def lapsed(self, now: float) -> Iterator[list[Told]]:
        """Those, by request, of which no other attempt was told; they wait no more."""
        for request, held in list(self.held.items()):
            if now < held[0].at + WAIT:
                break
            yield self.held.pop(request)


def hedge(sent_at: float, others: Sequence[Told]) -> bool:
    """Whether an attempt was sent while one of these was under way."""
    return any(other.sent_at < sent_at < other.done for other in others)
