"""How long a worker waits for an attempt in virtual time: until another may go out beside it, until it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive.budget import may_give_up
from adaptive.types import Cause, Mark
from replay.simulator.exchange import Attempt, Exchange

if TYPE_CHECKING:
    from replay.simulator.gateway import Worker

WAIT_ON = 0.1  # seconds until an attempt that nothing may replace yet is looked at again
_HEDGE = int(Mark.HEDGE)
_INF = float("inf")


def look(worker: Worker, slot: int, attempts: list[Attempt], now: float) -> None:
    """Works out deadlines at one instance, minds those that have passed, and notes which comes first."""
    worker.unseen[slot] = []
    soonest = worker.soonest[slot]
    for attempt in attempts:
        if attempt.open:
            if not attempt.deadline:
                plan(worker, attempt)
            if attempt.deadline <= now:
                expire(worker, attempt, now)
            if attempt.deadline < soonest:  # noqa: PLR1730 - `min` costs a call
                soonest = attempt.deadline
    worker.soonest[slot] = soonest


def expire(worker: Worker, attempt: Attempt, now: float) -> None:
    """The deadline of an open attempt has passed."""
    exchange = attempt.exchange
    if attempt.connected and now >= attempt.hedge_at:
        attempt.hedge_at, attempt.deadline = _INF, attempt.until
        hedge(worker, attempt)
        if attempt.deadline > now:
            return
    if not attempt.connected:
        worker.failed(attempt, int(Cause.CONNECT_TIMEOUT))
    elif now >= exchange.deadline:
        worker.failed(attempt, int(Cause.TIMEOUT_ROUTE))
    elif not (worker.rules.attempt_timeout or worker.timed != "none" or may_give_up(worker.budget, worker.hedges, now)):
        attempt.deadline = min(exchange.deadline, now + WAIT_ON)
    else:
        worker.failed(attempt, int(Cause.TIMEOUT_ATTEMPT))


def hedge(worker: Worker, attempt: Attempt) -> None:
    """The attempt takes long: a second copy may go out, if none has, the cluster has room and the budget affords it."""
    exchange = attempt.exchange
    if exchange.hedge is None and worker.admission.spare and worker.hedges.withdraw(worker.sim.now):
        worker.sim.counts["hedges"] += 1
        exchange.tried = (*exchange.tried, attempt.lane.slot)
        worker.try_once(exchange, True)


def plan(worker: Worker, attempt: Attempt) -> None:
    """Works out until when this attempt may take, and when another may go out beside it."""
    exchange, since = attempt.exchange, attempt.sent_at + attempt.connect
    attempt.until = attempt.deadline = given_up(worker, attempt, exchange, since)
    attempt.hedge_at = _INF
    if not exchange.post and not attempt.marks & _HEDGE:
        after = worker.hedge_after(attempt.lane)
        if after > 0.0:
            attempt.hedge_at = since + after
            if attempt.hedge_at < attempt.until:
                attempt.deadline = attempt.hedge_at


def given_up(worker: Worker, attempt: Attempt, exchange: Exchange, since: float) -> float:
    """When to give this attempt up."""
    limit = worker.limits[exchange.post]
    if not limit:
        if exchange.post or exchange.attempts > worker.rules.retries + exchange.free:
            return exchange.deadline
        limit = worker.balancer.patience(attempt.lane, since, True)
    return min(exchange.deadline, since + limit) if limit > 0.0 else exchange.deadline
