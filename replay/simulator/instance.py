"""One instance in virtual time: a first-in first-out queue before its slots, and its faults.

As a real server does, it goes on serving a request whose client has gone, and drops it if it was still waiting. Events
go to `at(when, what, argument)` of the simulation, which calls `what(argument)` when it is time.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING

from replay.scenario import Instance as Spec
from replay.simulator import service
from replay.simulator.faults import WELL, Condition, Faults, condition
from replay.simulator.recent import Recent

if TYPE_CHECKING:
    from replay.simulator.exchange import Attempt
    from replay.simulator.simulation import Simulation

LOOK = 0.01  # seconds after which an instance notices that it should be down or up: half of a supervisor's 20 ms
SOON = 0.3  # seconds: who knows everything sends nothing to what crashes sooner, for it may not be served by then


class Instance:
    """The state of one instance. `busy` counts requests in service, those of clients that have gone included."""

    __slots__ = (
        "active", "at", "backlog", "busy", "change", "done", "faults", "holding", "mean", "now", "open", "plain",
        "queue", "recent", "rng", "served", "sim", "slot", "slots", "spec", "stalled_until", "times", "touched",
        "up",
    )  # fmt: skip

    def __init__(self, sim: Simulation, slot: int, spec: Spec, times: list[float], seed: int) -> None:
        self.sim, self.slot, self.spec, self.times = sim, slot, spec, times
        self.at, self.done = sim.at, self.finish
        self.slots, self.backlog = spec.slots, spec.backlog
        self.mean = service.mean(spec.service)
        self.rng = random.Random(f"{sim.luck}/instance/{slot}")
        self.faults = Faults(spec.faults, slot, seed, sim.scenario.seconds)
        self.busy = self.served = 0
        self.queue: deque[Attempt] = deque()
        self.open: dict[
            Attempt, None
        ] = {}  # attempts here whose end the gateway waits for; kept only where it may fall
        self.holding = bool(self.faults.downs)
        self.recent: Recent | None = None  # kept from when it is asked for first
        self.touched: set[int] | None = None  # slots to which something has happened, where anybody asks how they are
        self.up = True
        self.stalled_until = 0.0
        self.active = self.faults.active(0.0)
        self.change = self.faults.change(0.0)
        self.plain = not self.active

    # Faults.

    def condition(self, now: float) -> Condition:
        """How it is now."""
        if now >= self.change:
            self.active = self.faults.active(now)
            self.change = self.faults.change(now)
            self.plain = not self.active and self.stalled_until <= now
        if not self.active:
            self.plain = self.stalled_until <= now
            return WELL
        found = condition(self.active, now)
        self.stalled_until = max(self.stalled_until, found.stalled_until)
        return found

    def fall(self, _: object) -> None:
        """Goes down: what it had is reset, what waits is lost."""
        self.up = False
        self.queue.clear()
        self.touch()
        for attempt in list(self.open):
            attempt.worker.reset(attempt)
        for worker in self.sim.workers:
            worker.idle[self.slot] = 0

    def rise(self, _: object) -> None:
        """Is up again."""
        self.up = True
        self.touch()

    def touch(self) -> None:
        """It is not what it was."""
        if self.touched is not None:
            self.touched.add(self.slot)

    # Requests.

    def reach(self, attempt: Attempt) -> None:
        """A request arrives."""
        now = self.sim.now
        if self.touched is not None:
            self.touched.add(self.slot)
        if self.holding:
            self.open[attempt] = None
        if self.plain and now < self.change:
            if self.busy < self.slots:
                self.busy += 1
                index = attempt.exchange.index
                seconds = self.times[index] if attempt.number == 1 else self.draw(index)
                self.at(now + seconds, self.done, attempt)
            elif len(self.queue) < self.backlog:
                self.queue.append(attempt)
            else:
                attempt.worker.refused(attempt)
            return
        found = self.condition(now)
        if found.unreachable or (found.hang and self.rng.random() < found.hang):
            return
        if found.errors and self.rng.random() < found.errors:
            self.sim.at(now + found.error_seconds, self.err, attempt)
        elif self.busy < max(1, int(self.slots * found.share)):
            self.serve(attempt, found.slow)
        elif len(self.queue) < self.backlog:
            self.queue.append(attempt)
        else:
            attempt.worker.refused(attempt)

    def draw(self, index: int) -> float:
        """The service time of a further attempt: the same work of the request, other luck."""
        return service.once(self.spec.service, self.rng.gauss(0.0, 1.0), self.sim.work[index])

    def serve(self, attempt: Attempt, slow: float) -> None:
        """Takes a slot."""
        self.busy += 1
        index = attempt.exchange.index
        seconds = (self.times[index] if attempt.number == 1 else self.draw(index)) * slow
        now = self.sim.now
        if self.stalled_until > now:
            seconds += self.stalled_until - now
        self.sim.at(now + seconds, self.finish, attempt)

    def err(self, attempt: Attempt) -> None:
        """Answers that it could not."""
        if attempt.open:
            attempt.worker.response(attempt, 503)

    def finish(self, attempt: Attempt) -> None:
        """A request is done: its slot goes to the next one."""
        now = self.sim.now
        if self.touched is not None:
            self.touched.add(self.slot)
        if self.plain and now < self.change:
            self.served += 1
            queue = self.queue
            self.busy -= 1
            while queue:
                following = queue.popleft()
                if following.open:
                    self.busy += 1
                    index = following.exchange.index
                    seconds = self.times[index] if following.number == 1 else self.draw(index)
                    self.at(now + seconds, self.done, following)
                    break
        else:
            found = self.condition(now)
            if self.stalled_until > now:
                self.sim.at(self.stalled_until, self.finish, attempt)
                return
            self.served += 1
            self.busy -= 1
            slots = max(1, int(self.slots * found.share))
            while self.queue and self.busy < slots:
                following = self.queue.popleft()
                if following.open:
                    self.serve(following, found.slow)
        if self.recent is not None:
            self.recent.add(attempt.met, now - attempt.sent_at)
        if attempt.open:
            attempt.worker.response(attempt, 200)

    # What some may ask.

    def held(self) -> int:
        """Requests here: in service and waiting."""
        return self.busy + len(self.queue)

    def probe(self, now: float) -> tuple[int, float]:
        """As `Fleet.probe`."""
        if self.recent is None:
            self.recent = Recent()
        found = self.condition(now)
        if not self.up or found.hang >= 1.0 or found.unreachable:
            return 0, float("nan")
        held = self.held()
        return held, self.recent.median(held)

    def truth(self, now: float) -> tuple[bool, float]:
        """Whether a request sent now may fail, and the seconds that are expected of it: as `Fleet.truths`."""
        errors, extra = 0.0, 0.0
        if self.plain and now < self.change:
            slots = self.slots
            slow, pause, silent = 1.0, 0.0, False
        else:
            found = self.condition(now)
            slots = max(1, int(self.slots * found.share))
            slow, pause = found.slow, max(0.0, self.stalled_until - now)
            silent = found.hang > 0.0 or found.unreachable
            errors, extra = found.errors, found.error_seconds
        if silent or errors >= 1.0 or not self.up or (self.faults.downs and self.faults.falls_within(now, SOON)):
            return True, math.inf
        waiting = self.busy + len(self.queue) + 1 - slots
        seconds = self.mean * slow
        seconds = pause + (seconds * (1.0 + waiting / slots) if waiting > 0 else seconds)
        return errors > 0.0, seconds + errors / (1.0 - errors) * (extra + seconds)
