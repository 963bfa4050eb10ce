"""The requests of which attempts were told: when each of them began, for some time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Requests that are remembered, in two generations: ten seconds of 6,000 a second, longer than most time-outs.
REMEMBERED = 60_000
Begun = tuple[float, ...]  # seconds, when the attempts of a request began, in the order in which they were told


class Seen:
    """Requests by their ids."""

    def __init__(self) -> None:
        self._young: dict[str, Begun] = {}
        self._old: dict[str, Begun] = {}

    def begun(self, request: str) -> Begun:
        """What is known of a request; empty: nothing."""
        return self._young.get(request) or self._old.get(request) or ()

    def add(self, request: str, sent_at: float) -> Begun:
        """One more attempt, which was not told before; what is known of its request with it."""
        begun = (*self.begun(request), sent_at)
        self._make_room(1)
        self._young[request] = begun
        return begun

    def add_first(self, requests: Sequence[str], sent_at: Sequence[float]) -> None:
        """One attempt of each of these requests, of which none is known."""
        self._make_room(len(requests))
        self._young.update(zip(requests, zip(sent_at), strict=True))

    def among(self, requests: Iterable[str]) -> set[str]:
        """Those of these requests that are known."""
        return (self._young.keys() & requests) | (self._old.keys() & requests)

    def _make_room(self, count: int) -> None:
        if len(self._young) + count > REMEMBERED // 2:
            self._old, self._young = self._young, {}
