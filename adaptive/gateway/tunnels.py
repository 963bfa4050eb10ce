"""Tunnels: a request whose endpoint switched protocols. From there on both sides are pipes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptive import clock
from adaptive.gateway import lines
from adaptive.telemetry import counters
from adaptive.types import Cause, Mark

if TYPE_CHECKING:
    from adaptive.gateway.attempt import Attempt
    from adaptive.gateway.exchange import Exchange
    from adaptive.gateway.reply import ReplyHead

monotonic = clock.monotonic
_FINAL = int(Mark.FINAL)


def begin(exchange: Exchange, attempt: Attempt, reply: ReplyHead, data: bytes) -> None:
    """The endpoint switched protocols; `data` is what it sent after its head."""
    attempt.status = exchange.status = 101
    attempt.marks |= _FINAL
    attempt.deadline = math.inf
    attempt.reusable = False
    exchange.tunnelled = exchange.responded = True
    exchange.ended = set()
    exchange.plane.row[counters.UPGRADES] += 1
    exchange.client.write(lines.tunnel_head(exchange, reply) + data)
    exchange.client.tunnel()


def half_closed(exchange: Exchange, by_client: bool) -> bool:
    """One side of a tunnel will send no more: the other is told. True while that other may still have something to say;
    when both have ended, or a side cannot be half closed (TLS), the tunnel is over.
    """
    attempt = exchange.attempt
    upstream = attempt.upstream if attempt is not None else None
    if exchange.done or upstream is None:
        return False
    exchange.ended.add(by_client)
    other = upstream.transport if by_client else exchange.client.transport
    if len(exchange.ended) == 2 or other.is_closing() or not other.can_write_eof():
        lost(exchange)
        return False
    exchange.plane.outbox.flush()
    other.write_eof()
    return True


def lost(exchange: Exchange) -> None:
    """The endpoint closed a tunnel."""
    now = monotonic()
    if exchange.attempt is not None:
        exchange.attempt.close(Cause.UPGRADED, 101, now)
    exchange.keep = False
    exchange.finish(now)
