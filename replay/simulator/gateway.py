"""One worker of a gateway in virtual time: what it does with a request, as the live data plane does it.

Picks, attempts, their time-outs (looked at when the worker sweeps, as live), retries under the budget, hedges where the
snapshot asks for them, shedding, and one Outcome for each Attempt.
"""

from __future__ import annotations

import random
import struct
from operator import sub
from typing import TYPE_CHECKING, cast

from adaptive import classify
from adaptive.admission import ENTERS, NORMAL, WAITS, Admission
from adaptive.balancer import Balancer
from adaptive.budget import RetryBudget
from adaptive.grading import ASLEEP
from adaptive.lanes import broken, served_at_once
from adaptive.telemetry.ring import ROW, ROW_SIZE
from adaptive.types import Cause, Mark, Snapshot
from replay.scenario import Scenario
from replay.simulator import patience
from replay.simulator.exchange import Attempt, Exchange
from replay.simulator.paths import Paths

if TYPE_CHECKING:
    from replay.simulator.simulation import Simulation

# Seconds between two sweeps: of a single worker, and of several, which then also hear each other's counts.
SWEEP, SWEEP_SHARED = 0.01, 0.005
CONNECT = 0.0002  # seconds until a connection stands, or is refused
# An attempt's time-out under policies that learn none, in mean service times: beyond any healthy answer.
FIXED = 15.0
HEDGES = (0.03, 1.0, 1.0)  # the budget of hedges, as configured by default
WAITING = 4096  # requests that may wait for their turn, as configured by default

_RESPONSE, _REFUSED, _OVERFLOW = int(Cause.RESPONSE), int(Cause.CONNECT_REFUSED), int(Cause.OVERFLOW)
_CONNECT_TIMEOUT, _RESET, _RESET_IDLE = int(Cause.CONNECT_TIMEOUT), int(Cause.RESET), int(Cause.RESET_IDLE)
_TIMEOUT_ATTEMPT, _TIMEOUT_ROUTE = int(Cause.TIMEOUT_ATTEMPT), int(Cause.TIMEOUT_ROUTE)
_GONE, _CANCELLED = int(Cause.CLIENT_GONE), int(Cause.CANCELLED)
_CENSORED_CAUSES = frozenset((_TIMEOUT_ATTEMPT, _TIMEOUT_ROUTE, _CONNECT_TIMEOUT, _GONE, _CANCELLED))
_REPEATABLE, _EXPLORED, _FRESH = int(Mark.REPEATABLE), int(Mark.EXPLORED), int(Mark.FRESH)
_FINAL, _CENSORED, _HEDGE = int(Mark.FINAL), int(Mark.CENSORED), int(Mark.HEDGE)
_NAN, _INF = float("nan"), float("inf")
_packed = struct.Struct(f"{ROW.format}{ROW_SIZE - ROW.size}x").pack  # as the ring has it


class Worker:
    """One worker: a balancer, its budget, its connections."""

    def __init__(
        self, sim: Simulation, gateway: int, number: int, balancer: Balancer, scenario: Scenario, noting: bool,
        chances: bool,
    ) -> None:  # fmt: skip
        rules = scenario.rules
        self.sim, self.gateway, self.number, self.balancer = sim, gateway, number, balancer
        self.pick, self.sent, self.closed = balancer.pick, balancer.sent, balancer.closed
        self.hedge_after = balancer.hedge_after
        self.instances = sim.instances
        self.budget = RetryBudget(*rules.budget, 0.0)
        self.rules, self.route_timeout = rules, rules.route_timeout
        most = rules.request_limit or (1 << 62)
        self.admission = Admission(
            len(sim.instances), most, WAITING, 0.0,
            adaptive=sim.policy.admission and not rules.request_limit and sim.policy.settings.get("limits", 1.0) > 0.0,
        )  # fmt: skip
        self.idle = [0] * len(sim.instances)  # pooled connections, by slot
        self.rows: list[bytes] | None = [] if noting else None  # outcomes, packed
        self.chances = balancer.recorded = chances  # whether the probability of each pick is noted too
        self.version = 0
        self.waiting: Snapshot | None = None  # published, and taken at the next sweep
        self.hedges = RetryBudget(*HEDGES, 0.0)
        self.rng = random.Random(f"{sim.luck}/worker/{gateway}/{number}")
        self.paths = Paths(sim.instances, gateway, random.Random(f"{sim.luck}/paths/{gateway}/{number}"))
        self.slow_paths = self.paths.any
        # What an instance calls when it answers.
        self.response = self.delayed if self.slow_paths else self.arrived
        self.wire = scenario.wire
        self.every = SWEEP if scenario.workers == 1 else SWEEP_SHARED
        # After how many seconds an attempt is given up, where that is fixed: of repeatable requests, and of others.
        self.timed = sim.policy.timeout
        fixed = FIXED * sorted(i.mean for i in sim.instances)[len(sim.instances) // 2]
        self.limits = (
            rules.attempt_timeout or (fixed if self.timed != "none" else 0.0),
            rules.attempt_timeout or (fixed if self.timed == "all" else 0.0),
        )
        # Attempts in flight, by slot: own ones as the others see them; those of all workers; what it was told.
        self.published = [0] * len(sim.instances)
        self.total, self.told = sim.totals[gateway], self.published
        self.open = 0  # attempts under way
        # By slot: attempts that no sweep has seen yet, and the first deadline of the others.
        self.unseen: list[list[Attempt]] = [[] for _ in sim.instances]
        self.soonest = [_INF] * len(sim.instances)
        self.swept = 0.0  # when it swept last
        self.changed = False  # whether any began or ended since
        sim.at(self.every * (0.5 + 0.5 * self.rng.random()), self.sweep, None)

    # Requests.

    def begin(self, exchange: Exchange) -> None:
        """Takes a request from a client."""
        admission = self.admission
        entrance = admission.enter(exchange.started, exchange, None, NORMAL, self.route_timeout)
        if admission.turned_away:
            self.turn_away()
        if entrance is ENTERS:
            self.enter(exchange)
        elif entrance is WAITS:
            exchange.waits = True
        else:
            self.shed(exchange)

    def enter(self, exchange: Exchange) -> None:
        """A request may go to the instances."""
        exchange.waits = False
        self.budget.deposit()
        self.hedges.deposit()
        self.try_once(exchange)

    def shed(self, exchange: Exchange) -> None:
        """A request is refused, for there is too much to do."""
        exchange.done, exchange.waits = True, False
        self.sim.counts["shed"] += 1
        self.sim.answered(exchange, 503)

    def turn_away(self) -> None:
        """Refuses who waited in vain."""
        turned, self.admission.turned_away = self.admission.turned_away, []
        for exchange in turned:
            self.shed(exchange)

    def go_on(self) -> None:
        """Lets those enter who waited, as far as there is room."""
        admission = self.admission
        while admission.waiting and (exchange := admission.next(self.sim.now)) is not None:
            self.enter(exchange)
        if admission.turned_away:
            self.turn_away()

    def try_once(self, exchange: Exchange, hedge: bool = False) -> None:
        """Makes the next attempt."""
        sim = self.sim
        now = sim.now
        repeatable = not exchange.post
        lane = self.pick(now, repeatable, exchange.tried)
        if lane is None:
            if not hedge:
                self.finish(exchange, 503)
            return
        exchange.attempts = number = exchange.attempts + 1
        sim.attempts += 1
        slot = lane.slot
        instance = self.instances[slot]
        attempt = Attempt(exchange, self, lane, instance, now, number)
        if hedge:
            exchange.hedge = attempt
        else:
            exchange.current = attempt
        if self.rows is not None:
            if self.chances:
                attempt.propensity = self.balancer.propensity
            marks = _REPEATABLE if repeatable else 0
            if hedge:
                marks |= _HEDGE
            if self.balancer.explored:
                marks |= _EXPLORED
            attempt.marks = marks
        self.sent(lane, attempt, now)
        self.unseen[slot].append(attempt)
        self.open += 1
        self.changed = True
        if self.idle[slot] and not exchange.fresh:
            self.idle[slot] -= 1
        else:
            attempt.marks |= _FRESH
            attempt.connect = CONNECT
            if not instance.up:
                attempt.connected = False
                sim.at(now + CONNECT, self.refused, attempt)
                return
            if not instance.plain and instance.condition(now).unreachable:
                attempt.connected = False
                attempt.deadline = now + self.rules.connect_timeout
                return
        if self.slow_paths:
            sim.at(now + self.paths.delay(slot, now), instance.reach, attempt)
        else:
            instance.reach(attempt)

    # What comes back.

    def delayed(self, attempt: Attempt, status: int) -> None:
        """An instance answers over a path that may be slow."""
        sim = self.sim
        delay = self.paths.delay(attempt.lane.slot, sim.now)
        if delay > 0.0:
            sim.at(sim.now + delay, self.arrived200 if status == 200 else self.arrived503, attempt)
        else:
            self.arrived(attempt, status)

    def arrived200(self, attempt: Attempt) -> None:
        """A good answer has come."""
        self.arrived(attempt, 200)

    def arrived503(self, attempt: Attempt) -> None:
        """An error has come."""
        self.arrived(attempt, 503)

    def arrived(self, attempt: Attempt, status: int) -> None:
        """An answer has come; a stalled gateway reads it later."""
        sim = self.sim
        if sim.stalls and (until := sim.stalled(self.gateway)) > sim.now:
            sim.at(until, self.arrived200 if status == 200 else self.arrived503, attempt)
            return
        if not attempt.open:
            return
        exchange = attempt.exchange
        self.idle[attempt.lane.slot] += 1
        if status == 200:
            attempt.marks |= _FINAL
            self.close(attempt, _RESPONSE, 200)
            self.finish(exchange, 200)
            return
        other = exchange.hedge if attempt is exchange.current else exchange.current
        if other is not None and other.open:
            self.close(attempt, _RESPONSE, status)
        elif (
            not exchange.post
            and status in self.rules.retry_statuses
            and self.may_go_again(exchange, attempt.lane.slot, _RESPONSE)
        ):
            self.close(attempt, _RESPONSE, status)
            self.try_once(exchange)
        else:
            attempt.marks |= _FINAL
            self.close(attempt, _RESPONSE, status)
            self.finish(exchange, status)

    def refused(self, attempt: Attempt) -> None:
        """No connection: the instance is down, or its backlog is full."""
        self.failed(attempt, _REFUSED)

    def reset(self, attempt: Attempt) -> None:
        """The instance died. On a connection that was used before, it looks as if that had been closed while idle."""
        self.failed(attempt, _RESET if attempt.marks & _FRESH else _RESET_IDLE)

    def failed(self, attempt: Attempt, cause: int) -> None:
        """An attempt ended without an answer."""
        if not attempt.open:
            return
        exchange = attempt.exchange
        self.close(attempt, cause, 0)
        if exchange.done:
            return
        other = exchange.hedge if attempt is exchange.current else exchange.current
        if other is not None and other.open:
            return
        again = classify.may_retry(cause, 0, not exchange.post)
        if again and self.may_go_again(exchange, attempt.lane.slot, cause):
            self.try_once(exchange)
        else:
            self.finish(exchange, classify.answer(cause))

    def may_go_again(self, exchange: Exchange, slot: int, cause: int) -> bool:
        """Whether another attempt follows, and if so, takes what it costs."""
        sim = self.sim
        if sim.now >= exchange.deadline:
            return False
        if cause == _RESET_IDLE:
            exchange.fresh = True
            exchange.free += 1
        elif exchange.attempts > self.rules.retries + exchange.free:
            return False
        elif cause != _OVERFLOW and not self.budget.withdraw(sim.now):
            sim.counts["budget_exhausted"] += 1
            return False
        elif cause != _OVERFLOW:
            self.hedges.charge(sim.now)
        sim.counts["retries"] += 1
        exchange.tried = (*exchange.tried, slot)
        return True

    # Ends.

    def close(self, attempt: Attempt, cause: int, status: int) -> None:
        """Ends an attempt: outcome and balancer."""
        attempt.open = False
        self.open -= 1
        self.changed = True
        now = self.sim.now
        lane = attempt.lane
        if attempt.instance.holding:
            attempt.instance.open.pop(attempt, None)
        sent_at = attempt.sent_at
        if cause == _RESPONSE:
            first = now
            verdict = 0 if status == 200 else classify.verdict(cause, status)
            self.closed(lane, attempt, now, now - sent_at + self.wire, verdict)
        else:
            first = _NAN
            verdict = broken(lane, now) if cause == _RESET_IDLE else classify.verdict(cause, status)
            self.closed(lane, attempt, now, None, verdict)
            if cause in _CENSORED_CAUSES:
                attempt.marks |= _CENSORED
        rows = self.rows
        if rows is not None:
            exchange = attempt.exchange
            rows.append(_packed(
                sent_at, first, now, exchange.index * 16 + exchange.try_, 0, 0, lane.slot,
                self.version, attempt.in_flight, attempt.propensity, attempt.connect, _NAN, _NAN, 0, 0, status,
                attempt.number, cause, attempt.marks, self.number & 255,
            ))  # fmt: skip

    def finish(self, exchange: Exchange, status: int) -> None:
        """The client gets its answer."""
        if exchange.done:
            return
        self.over(exchange, _CANCELLED, status)
        self.sim.answered(exchange, status)

    def gone(self, exchange: Exchange) -> None:
        """The client has hung up."""
        if exchange.waits:
            exchange.done, exchange.waits = True, False
            self.admission.forget(exchange, None, NORMAL, self.sim.now - exchange.started)
        elif not exchange.done:
            self.over(exchange, _GONE)

    def over(self, exchange: Exchange, cause: int, status: int = 0) -> None:
        """Closes what is still open of a request."""
        exchange.done = True
        first, second = exchange.current, exchange.hedge
        if first is not None and first.open:
            self.close(first, cause, 0)
        if second is not None and second.open:
            self.close(second, cause, 0)
        exchange.current = exchange.hedge = None  # else each request would be a cycle of references
        now = self.sim.now
        self.admission.left(now, now - exchange.started, status == 200, cause == _GONE)
        if self.admission.waiting:
            self.go_on()

    # Time.

    def sweep(self, _: object) -> None:
        """What the live worker does every few milliseconds: the snapshot, deadlines, the others' counts."""
        sim = self.sim
        now = sim.now
        if sim.stalls and (until := sim.stalled(self.gateway)) > now:
            sim.at(until, self.sweep, None)
            return
        sim.at(now + self.every, self.sweep, None)
        if self.waiting is not None:
            self.balancer.apply(self.waiting)
            self.version = self.waiting.version
            self.waiting = None
        if self.every == SWEEP_SHARED:
            self.hear()
        self.balancer.beat(now)
        if self.admission.held:
            self.admission.served = served_at_once(self.balancer.lanes)
        self.admission.sweep(now)
        self.go_on()
        # After a standstill, answers that have come meanwhile are read before anything is given up.
        late, self.swept = now - self.swept > ASLEEP, now
        for lane in self.balancer.lanes if self.open and not late else ():
            slot = lane.slot
            if self.soonest[slot] <= now:
                self.soonest[slot] = _INF
                patience.look(self, slot, cast("list[Attempt]", list(lane.outstanding)), now)
            elif self.unseen[slot]:
                patience.look(self, slot, self.unseen[slot], now)

    def hear(self) -> None:
        """Counts in flight go to the other workers, and theirs to the balancer where they are not what it has."""
        total = self.total
        if self.changed:
            self.changed = False
            before, self.published = self.published, [lane.in_flight for lane in self.balancer.lanes]
            for slot, (new, old) in enumerate(zip(self.published, before, strict=True)):
                total[slot] += new - old
        others = list(map(sub, total, self.published))
        if others != self.told:
            self.told = others
            self.balancer.share(others)
