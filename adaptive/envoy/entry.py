"""What Envoy tells of one attempt.

An attempt's log counts from its own side: what it received is the response's body, what it sent the request's.
"""

from __future__ import annotations

from typing import NamedTuple

from adaptive.types import Cause

# Response flags by what they mean; the first that is set counts.
FLAGS: tuple[tuple[str, Cause], ...] = (
    ("DC", Cause.CLIENT_GONE),
    ("DR", Cause.CLIENT_GONE),
    ("DPE", Cause.CLIENT_ERROR),
    ("SI", Cause.CLIENT_ERROR),
    ("UO", Cause.OVERFLOW),
    ("UF", Cause.CONNECT_FAILED),
    ("UPE", Cause.PROTOCOL_ERROR),
    ("UC", Cause.RESET),
    ("UR", Cause.RESET),
    ("UT", Cause.TIMEOUT_ATTEMPT),
    ("UMSDR", Cause.TIMEOUT_ROUTE),
    ("DT", Cause.TIMEOUT_ROUTE),
    ("LR", Cause.CANCELLED),
)


class Entry(NamedTuple):
    """An attempt that has ended, or one that is `under_way`. Times are seconds."""

    endpoint: str  # its stable name
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
