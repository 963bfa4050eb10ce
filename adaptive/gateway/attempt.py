"""One try of a request at one endpoint.

Closing an attempt is what writes its Outcome, tells the balancer and frees the connection; it happens exactly once,
whichever of the many ways to end comes first.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from adaptive import classify, clock
from adaptive.gateway import patience
from adaptive.lanes import broken
from adaptive.types import Cause, Mark

if TYPE_CHECKING:
    from adaptive.gateway.exchange import Exchange
    from adaptive.gateway.upstream import Upstream
    from adaptive.lanes import Lane

_CENSORED = frozenset(
    {Cause.TIMEOUT_ATTEMPT, Cause.TIMEOUT_ROUTE, Cause.CONNECT_TIMEOUT, Cause.CLIENT_GONE, Cause.CANCELLED}
)
_RESET_IDLE = int(Cause.RESET_IDLE)
_CENSORED_MARK, _FRESH = int(Mark.CENSORED), int(Mark.FRESH)
_NAN = math.nan
# Seconds until an attempt that nothing may replace yet is looked at again: a minimal budget grows by a token by then.
WAIT_ON = 0.1

monotonic = clock.monotonic


class Attempt:
    """One try at one endpoint; closed exactly once. Times are monotonic seconds, 0 where nothing happened yet."""

    __slots__ = (
        "bytes_down", "connect", "connecting", "deadline", "detail", "exchange", "first_byte", "hedge_at", "in_flight",
        "lane", "load_app", "load_cpu", "marks", "number", "open", "propensity", "reusable", "sent_at", "status",
        "until", "upstream",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, lane: Lane, now: float, propensity: float, marks: int) -> None:
        self.exchange = exchange
        self.lane = lane
        self.sent_at = now
        self.number = exchange.attempts
        self.propensity = propensity
        self.marks = marks
        self.in_flight = lane.in_flight + lane.others
        self.open = True
        self.reusable = True
        self.upstream: Upstream | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.first_byte = self.connect = 0.0
        self.deadline = self.hedge_at = math.inf
        self.until = 0.0
        self.bytes_down = self.status = 0
        self.load_cpu = self.load_app = _NAN
        self.detail = ""

    def connected(self, upstream: Upstream) -> None:
        """A connection for it stands: the request goes out."""
        self.upstream = upstream
        upstream.attempt = self
        upstream.used += 1
        if upstream.used == 1:
            self.marks |= _FRESH
            self.connect = monotonic() - self.sent_at
        self.exchange.send(self)

    def expire(self, now: float) -> None:
        """Its deadline has passed."""
        exchange = self.exchange
        upstream = self.upstream
        if not self.deadline:
            patience.plan(self)
        if self.deadline > now:
            return
        if now >= self.hedge_at:
            self.hedge_at, self.deadline = math.inf, self.until
            patience.hedge(self, now)
            if self.deadline > now:
                return
        if upstream is None:
            self.failed(Cause.CONNECT_TIMEOUT)
        elif exchange.responded:
            if upstream.paused:  # it is the client that is slow, and the client has a time-out of its own
                self.deadline = now + exchange.plane.body_timeout
            else:
                self.failed(Cause.TIMEOUT_ROUTE)
        elif not exchange.body_done:
            if upstream.stuck_since and now - upstream.stuck_since > exchange.plane.body_timeout:
                self.failed(Cause.TIMEOUT_ROUTE)
            else:
                self.deadline = now + 1.0
        elif now >= exchange.deadline:
            self.failed(Cause.TIMEOUT_ROUTE)
        elif patience.worth_waiting(exchange, now):
            self.deadline = min(exchange.deadline, now + WAIT_ON)
        else:
            self.failed(Cause.TIMEOUT_ATTEMPT)

    def failed(self, cause: Cause) -> None:
        """It ended without a whole response."""
        if self.open:
            now = monotonic()
            self.reusable = False
            self.close(cause, 0, now)
            self.exchange.attempt_failed(self, cause, now)

    def close(self, cause: int, status: int, now: float) -> None:
        """Ends it, whatever the reason: outcome, balancer, connection. The second call does nothing."""
        if not self.open:
            return
        self.open = False
        exchange = self.exchange
        cluster = exchange.cluster
        lane = self.lane
        first = self.first_byte
        marks = self.marks
        if cause in _CENSORED:
            marks |= _CENSORED_MARK
        plane = exchange.plane
        verdict = broken(lane, now) if cause == _RESET_IDLE else classify.verdict(cause, status)
        cluster.balancer.closed(lane, self, now, first - self.sent_at if first else None, verdict)
        plane.put(
            self.sent_at, first or _NAN, now, exchange.number, exchange.bytes_up, self.bytes_down, lane.slot,
            plane.snapshot_version, self.in_flight, self.propensity, self.connect, self.load_cpu, self.load_app,
            cluster.index, exchange.route_index, status, self.number, cause, marks, plane.index,
        )  # fmt: skip
        upstream = self.upstream
        if upstream is not None:
            upstream.release(self.reusable, now)
        elif self.connecting is not None and cause != Cause.CLIENT_GONE:
            self.connecting.cancel()
