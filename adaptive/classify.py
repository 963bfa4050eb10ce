"""What follows from how an attempt ended: one total table from Cause, and for responses their status.

Pure look-ups. `verdict` says what the attempt tells of its endpoint, `retry` whether the request may go to another one,
`answer` what a client is told when no further attempt is made, `flag` Envoy's response flag for the access log.
"""

from __future__ import annotations

from typing import NamedTuple

from adaptive.types import Cause, Verdict


class Retry:
    """When the request of a failed attempt may be sent again."""

    NEVER = 0
    REPEATABLE = 1  # if its method is idempotent: the endpoint may have acted on it
    ALWAYS = 2  # no byte of it can have been acted on


class Meaning(NamedTuple):
    """One line of the table."""

    verdict: Verdict
    retry: int
    status: int  # for the client; 0: nothing can be said any more
    flag: str


_FAILED = Verdict.FAILURE
_SILENT = Verdict.IGNORE

MEANING: dict[Cause, Meaning] = {
    Cause.RESPONSE: Meaning(Verdict.SUCCESS, Retry.NEVER, 0, "-"),
    Cause.CONNECT_REFUSED: Meaning(_FAILED, Retry.ALWAYS, 502, "UF"),
    Cause.CONNECT_TIMEOUT: Meaning(_FAILED, Retry.ALWAYS, 504, "UF"),
    Cause.CONNECT_FAILED: Meaning(_FAILED, Retry.ALWAYS, 502, "UF"),
    # An endpoint may close an idle connection at any moment: it says nothing of its health.
    Cause.RESET_IDLE: Meaning(_SILENT, Retry.REPEATABLE, 502, "UC"),
    Cause.RESET: Meaning(_FAILED, Retry.REPEATABLE, 502, "UC"),
    Cause.RESET_BODY: Meaning(_FAILED, Retry.NEVER, 0, "UC"),
    Cause.TIMEOUT_ATTEMPT: Meaning(_FAILED, Retry.REPEATABLE, 504, "UT"),
    Cause.TIMEOUT_ROUTE: Meaning(_FAILED, Retry.NEVER, 504, "UT"),
    Cause.PROTOCOL_ERROR: Meaning(_FAILED, Retry.REPEATABLE, 502, "UPE"),
    Cause.CLIENT_GONE: Meaning(_SILENT, Retry.NEVER, 0, "DC"),
    Cause.CLIENT_ERROR: Meaning(_SILENT, Retry.NEVER, 400, "DPE"),
    Cause.CANCELLED: Meaning(_SILENT, Retry.NEVER, 0, "-"),
    Cause.OVERFLOW: Meaning(_SILENT, Retry.ALWAYS, 503, "UO"),
    Cause.UPGRADED: Meaning(Verdict.SUCCESS, Retry.NEVER, 0, "-"),
}

# Statuses that say "not me, not now": the endpoint refused or could not reach what it needs. A 500 is as bad a sign of
# the endpoint's health but was computed, so sending the request again is the route's choice, not the default.
RETRYABLE_STATUSES = frozenset({502, 503, 504})

_BY_CAUSE = tuple(MEANING[cause] for cause in Cause)


def verdict(cause: int, status: int) -> Verdict:
    """What an attempt says of its endpoint. A 4xx is the client's fault and counts as a success of the endpoint, for it
    answered; 429 says nothing, for it is often about this client alone; a 501 or 505 is about the request.
    """
    if cause == Cause.RESPONSE:
        if status < 500:
            return _SILENT if status == 429 else Verdict.SUCCESS
        return Verdict.SUCCESS if status in (501, 505) else _FAILED
    return _BY_CAUSE[cause].verdict


def may_retry(cause: int, status: int, repeatable: bool) -> bool:
    """Whether the request may be sent to another endpoint, as long as no byte of a response has reached the client."""
    if cause == Cause.RESPONSE:
        return repeatable and status in RETRYABLE_STATUSES
    retry = _BY_CAUSE[cause].retry
    return retry == Retry.ALWAYS or (repeatable and retry == Retry.REPEATABLE)


def answer(cause: int) -> int:
    """The status for the client when this attempt was the last."""
    return _BY_CAUSE[cause].status


def flag(cause: int) -> str:
    """Envoy's response flag for the access log."""
    return _BY_CAUSE[cause].flag
