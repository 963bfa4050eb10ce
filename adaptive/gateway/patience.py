"""How long an attempt is waited for, until another goes out beside it and until it is given up; what it costs, and what
the next hop is told of it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from adaptive.budget import may_give_up
from adaptive.telemetry import counters
from adaptive.types import Cause, Mark

if TYPE_CHECKING:
    from adaptive.gateway.attempt import Attempt
    from adaptive.gateway.exchange import Exchange

_HEDGE, _OVERFLOW, _RESET_IDLE = int(Mark.HEDGE), int(Cause.OVERFLOW), int(Cause.RESET_IDLE)

_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,8}")


def allowed(exchange: Exchange) -> float:
    """Seconds that a request may take from its end on: its route's time-out, or less where a trusted peer said so."""
    timeout = exchange.route.timeout
    said = exchange.block.values.get(exchange.plane.deadline_header, b"") if exchange.client.trusted else b""
    return min(timeout, int(said) / 1000) if _MILLISECONDS.fullmatch(said) else timeout


def told(exchange: Exchange, now: float) -> bytes:
    """The line that tells an endpoint how long its answer may take; none where it may take for ever."""
    left = exchange.deadline - now if exchange.body_done else exchange.timeout
    if math.isinf(left):
        return b""
    return b"%b: %d\r\n" % (exchange.plane.deadline_header, max(1, round(left * 1000)))


def plan(attempt: Attempt) -> None:
    """Works out until when an attempt may take, and when another may go out beside it."""
    exchange = attempt.exchange
    since = max(attempt.sent_at + attempt.connect, exchange.body_ended)
    attempt.until = attempt.deadline = given_up(attempt, since)
    if exchange.repeatable and exchange.replayable and exchange.body_done and not exchange.responded:
        after = exchange.cluster.balancer.hedge_after(attempt.lane)
        if after > 0.0 and attempt.upstream is not None and not attempt.marks & _HEDGE:
            attempt.hedge_at = since + after
            attempt.deadline = min(attempt.until, attempt.hedge_at)


def given_up(attempt: Attempt, now: float) -> float:
    """When to give this attempt up if nothing has come by then; `now` is when the request was sent."""
    exchange = attempt.exchange
    if not exchange.body_done:
        return now + 1.0
    limit = exchange.route.attempt_timeout
    if not limit:  # the balancer's choice, which only serves to try another endpoint
        may_repeat = exchange.repeatable and exchange.replayable
        if not may_repeat or exchange.attempts > exchange.route.retries + exchange.free:
            return exchange.deadline
        limit = exchange.cluster.balancer.patience(attempt.lane, now, True)
    return min(exchange.deadline, now + limit) if limit > 0.0 else exchange.deadline


def hedge(attempt: Attempt, now: float) -> None:
    """The attempt takes long: a second copy goes out, if none has, the cluster has room and the budget affords it."""
    exchange = attempt.exchange
    cluster = exchange.cluster
    if exchange.hedge is not None or exchange.responded or exchange.client.tunnelling:
        return
    if cluster.admission.spare and cluster.hedges.withdraw(now):
        exchange.plane.row[counters.HEDGES] += 1
        exchange.tried += (attempt.lane.slot,)
        exchange.try_once(now, _HEDGE)


def worth_waiting(exchange: Exchange, now: float) -> bool:
    """Whether an attempt that is slower than the balancer likes is still the best there is: giving it up without a
    retry to follow would make a failure of mere slowness. A time-out that the route names is kept all the same.
    """
    cluster = exchange.cluster
    return not exchange.route.attempt_timeout and not may_give_up(cluster.budget, cluster.hedges, now)


def may_go_again(exchange: Exchange, slot: int, cause: int, now: float) -> bool:
    """Whether another attempt follows, and if so, takes what it costs."""
    if now >= exchange.deadline or not exchange.replayable:
        return False
    row, cluster = exchange.plane.row, exchange.cluster
    if cause == _RESET_IDLE:  # not the endpoint's failure: neither the route's retries nor the budget pay for it
        row[counters.STALE_REUSED] += 1
        exchange.fresh = True
        exchange.free += 1
    elif exchange.attempts > exchange.route.retries + exchange.free:
        return False
    elif cause != _OVERFLOW:
        if not cluster.budget.withdraw(now):
            row[counters.RETRY_BUDGET_EXHAUSTED] += 1
            exchange.flag = "URX"
            return False
        cluster.hedges.charge(now)
    row[counters.RETRIES] += 1
    exchange.tried += (slot,)
    return True
