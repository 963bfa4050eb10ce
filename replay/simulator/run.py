"""What one simulated run was: what its clients saw, what its gateways did, and a digest of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adaptive.types import Command

Floats = np.ndarray[Any, np.dtype[np.float64]]
Column = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Requests:
    """One row a request of a client, in the order in which they were due; every column has shape (n,)."""

    due: Floats  # seconds from the beginning
    latency: Floats  # seconds from when it was due until its answer, or until the client gave up
    failed: Column  # bool
    post: Column  # bool: must not be sent twice
    status: Column  # uint16; 0 where the client gave up
    attempts: Column  # uint8: attempts that the gateway made
    gateway: Column  # uint8


@dataclass(frozen=True, slots=True)
class View:
    """The weights and states of one gateway's last snapshot at one moment, in slot order."""

    at: float
    gateway: int
    weight: Sequence[int]
    health: Sequence[int]


@dataclass(frozen=True, slots=True)
class Run:
    """One policy in one scenario with one seed."""

    scenario: str
    policy: str
    seed: int
    warm: float
    timeout: float
    requests: Requests
    served: Sequence[int]  # by instance: requests that it finished
    counts: Mapping[str, int]  # attempts, retries, hedges, shed, budget_exhausted, given_up, outcomes, ticks, events
    views: Sequence[View] = ()
    moves: Sequence[tuple[int, Command]] = ()  # (gateway, Moved or TrustChanged), in order of time
    outcomes: Column | None = None  # OUTCOME_DTYPE, in order of `done`; where asked for
    notes: Mapping[str, Any] = field(default_factory=dict)

    def seen(self) -> Floats:
        """Latencies of the judged requests, in order of `due`; a failed one counts as the clients' time-out."""
        judged = self.requests.due >= self.warm
        return np.where(self.requests.failed, self.timeout, self.requests.latency)[judged]

    def failures(self) -> int:
        """Judged requests that failed."""
        return int(self.requests.failed[self.requests.due >= self.warm].sum())

    def quantile(self, q: float) -> float:
        """Seconds. The smallest latency with at least the share `q` of the judged requests at or below it."""
        seen = np.sort(self.seen())
        return float(seen[min(len(seen) - 1, int(q * len(seen)))]) if len(seen) else float("nan")

    def digest(self) -> str:
        """SHA-256 of everything that happened: equal digests are equal runs."""
        h = hashlib.sha256(f"{self.scenario}/{self.policy}/{self.seed}/{list(self.served)}".encode())
        r = self.requests
        for column in (r.due, r.latency, r.failed, r.post, r.status, r.attempts, r.gateway):
            h.update(np.ascontiguousarray(column).tobytes())
        if self.outcomes is not None:
            h.update(np.ascontiguousarray(self.outcomes).tobytes())
        h.update(repr((sorted(self.counts.items()), list(self.views), list(self.moves))).encode())
        return h.hexdigest()
