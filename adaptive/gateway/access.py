"""An Exchange as a line of the access log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive import clock
from adaptive.telemetry.access_log import AccessLog

if TYPE_CHECKING:
    from adaptive.gateway.cluster import ClusterRuntime
    from adaptive.gateway.exchange import Exchange


def log_exchange(log: AccessLog, exchange: Exchange, now: float) -> bool:
    """Writes the line of a finished exchange; False where it was dropped."""
    attempt = exchange.attempt
    routed: ClusterRuntime | None = exchange.cluster
    duration = now - exchange.started
    get = exchange.block.get
    return log.write(
        clock.wall() - duration,
        exchange.method.decode("latin-1"),
        exchange.target.decode("latin-1"),
        f"HTTP/1.{exchange.block.minor}",
        exchange.status,
        exchange.flag,
        exchange.bytes_up,
        exchange.bytes_down,
        duration,
        attempt.lane.member.endpoint.address if attempt else None,
        routed.name if routed else None,
        exchange.route.name if routed else None,
        exchange.client.peer.decode("latin-1"),
        get("user-agent"),
        exchange.request_id.decode("latin-1"),
        exchange.block.host.decode("latin-1") or None,
        exchange.attempts,
        attempt.first_byte - attempt.sent_at if attempt and attempt.first_byte else None,
        (attempt.detail if attempt else "") or ("via_upstream" if exchange.status and attempt else None),
        routed.policy if routed else None,
        str(exchange.plane.snapshot_version),
        attempt.propensity if attempt else None,
    )
