"""What Envoy tells of one attempt, whichever way it comes: as a message over gRPC, or as a line through a pipe.

An attempt's log counts from its own side: what it received is the response's body, what it sent the request's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from adaptive.envoy.translate.logs import ENDPOINT, LOAD, SAID, WAIT
from adaptive.types import Cause

# Response flags by what they mean, the first that is set counts: the name in messages, the short one in lines.
FLAGS: tuple[tuple[str, str, Cause], ...] = (
    ("downstream_connection_termination", "DC", Cause.CLIENT_GONE),
    ("downstream_remote_reset", "DR", Cause.CLIENT_GONE),
    ("downstream_protocol_error", "DPE", Cause.CLIENT_ERROR),
    ("stream_idle_timeout", "SI", Cause.CLIENT_ERROR),
    ("upstream_overflow", "UO", Cause.OVERFLOW),
    ("upstream_connection_failure", "UF", Cause.CONNECT_FAILED),
    ("upstream_protocol_error", "UPE", Cause.PROTOCOL_ERROR),
    ("upstream_connection_termination", "UC", Cause.RESET),
    ("upstream_remote_reset", "UR", Cause.RESET),
    ("upstream_request_timeout", "UT", Cause.TIMEOUT_ATTEMPT),
    ("upstream_max_stream_duration_reached", "UMSDR", Cause.TIMEOUT_ROUTE),
    ("duration_timeout", "DT", Cause.TIMEOUT_ROUTE),
    ("local_reset", "LR", Cause.CANCELLED),
)
METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
# AccessLogType: UpstreamPoolReady, UpstreamPeriodic.
_UNDER_WAY = frozenset((7, 8))


class Entry(NamedTuple):
    """An attempt that has ended, or one that is `under_way`. Times are seconds."""

    endpoint: str  # its stable name
    cluster: str
    route: str
    request: str  # the request's id
    method: str
    under_way: bool
    began: float  # by Envoy's own clock, since the epoch
    lasted: float
    first: float  # until the response's first byte; 0: there was none
    waited: float  # for a connection
    status: int  # 0: no answer
    flagged: bool
    cause: Cause | None  # what its flags mean; None also where they mean nothing to us
    reason: str  # of a connection that failed
    sent: int  # bytes of the request's body
    received: int  # and of the response's
    load: str  # what the endpoint reports of its load, and announces of itself; "": nothing
    said: str


def of(message: Any) -> Entry:
    """The entry in a message (HTTPAccessLogEntry)."""
    common, request, response = message.common_properties, message.request, message.response
    tags = common.custom_tags
    flagged = common.HasField("response_flags")
    cause = None
    if flagged:
        flags = common.response_flags
        cause = next((cause for flag, _, cause in FLAGS if getattr(flags, flag)), None)
    start, spent, first = common.start_time, common.duration, common.time_to_first_upstream_rx_byte
    headers = response.response_headers
    wait = tags[WAIT]
    return Entry(
        tags[ENDPOINT],
        common.upstream_cluster,
        common.route_name,
        request.request_id,
        METHODS[request.request_method],
        common.access_log_type in _UNDER_WAY,
        start.seconds + start.nanos * 1e-9,
        spent.seconds + spent.nanos * 1e-9,
        first.seconds + first.nanos * 1e-9,
        int(wait) * 1e-3 if wait.isdecimal() else 0.0,
        response.response_code.value,
        flagged,
        cause,
        common.upstream_transport_failure_reason,
        response.response_body_bytes,
        request.request_body_bytes,
        headers[LOAD] if headers and LOAD in headers else "",
        headers[SAID] if headers and SAID in headers else "",
    )
