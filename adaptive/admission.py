"""Admission: which requests may enter a cluster while it is overloaded. One of them per cluster and worker.

In calm it only counts. Once the mean latency of what comes back is INFLATED times its calm value and the load grows,
requests in flight are held to throughput × seconds: by Little's law that bounds the mean time that they spend at the
endpoints, at any capacity, without a search for the right number. What exceeds it waits here, served by priority, in
turn between clients, and in the order in which it came: no order serves more, and in any other some wait for longer
than the last would have. A late answer is worth more than none: refused is only what could not be served within most of
its time-out, the lowest priority and the client with the most waiting first, at once; and what an overload that lasts
keeps beyond the goal, for there a queue makes all late and serves nobody more.
A client that hangs up sooner than that is not worth serving later: its patience bounds the seconds, so that clients who
ask again do not keep the cluster busy with answers that nobody hears. A latency that rises and stays, as of a slower
network, is no overload.

Pure: `now` is an argument, and what must be refused or begun is handed back.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from math import exp, sqrt
from typing import Any

# Mean latency by its calm value from which on requests are held back. Two thirds of the load give 1.0, a fleet of which
# two fifths are five times slower 2.6, a lasting overload any number.
INFLATED = 3.0
# Calm means that an admitted request may take on average, its wait here included: with a log-normal service of 40 ms
# (p99 137 ms) that is 0.4 s, and 99 % of all stay under 0.5 s.
GOAL = 10.0
# The most of it that is spent at the endpoints, and the most in calm latencies; the rest is waited here, where the
# choice is still free: in one queue before all, nobody waits behind a long request while another endpoint is free.
# Without the second bound the p99.9 of a surge is 2 % higher. With three instead of five a surge's p99 is 0.4 % lower,
# but where rates flip every second it is 6 % higher (simulated): endpoints go on with what they have.
AT_ENDPOINTS, PLENTY = 0.8, 5.0
# Seconds below which the goal is not taken: a mean of a tenth of a second is too short to refuse for.
GOAL_FLOOR = 0.1
# A latency that rises and stays is a slower network or heavier work, and whoever holds requests back for it fails what
# would be served. An overload is a load that grows: over a window of four mean latencies, within these seconds, by more
# than the chance of two Poisson counts explains (3.5 standard deviations of their difference, each of sqrt(load); a
# window is looked at some hundred times a minute); or one so many times beyond what the goal allows.
WINDOW, LATENCIES, SPREADS, FAR = (0.5, 1.0), 4.0, 5.0, 2.5
# Nobody knows whether an overload passes by itself. Who waits pays in seconds, who is refused pays once: what this many
# seconds of waiting cost, the time-out of a route where none is named. So the excess beyond the goal waits until all of
# it has waited for as long as its refusal would have cost, and is refused from then on, until no more comes than is
# answered. Whenever the overload ends, about twice the least is paid that could have been (the rule for renting skis).
# For a backlog that grows evenly these are twice as many seconds. What cannot be served within its time-out is refused
# from the beginning.
LASTS = 15.0
LONGEST = 60.0  # seconds that one takes at most where no time-out bounds it
GROWS = 1.05  # what comes over what is answered, from which on it is more
LOOK = 0.025  # seconds between two looks at the counts
STOOD = 0.1  # seconds between two looks after which it was we who stood still: the throughput has not sunk meanwhile
RATE_TAU, LATENCY_TAU = 0.5, 0.1  # memory of the throughput, and of the latency that tells an onset
GROWTH_TAU = 2.0  # and of what comes and what is answered, where they are compared
# Memory of the throughput that tells how many can be served within the wait. As long as that: while endpoints stand
# still for less, as where pauses of several meet, who comes can be served after it.
LULL_TAU = 4.0
BASE_TAU = 2.0  # and of the one whose least value is the calm one: shorter, and it would be a lucky moment's
BASE_RISE = 300.0  # seconds in which the calm mean rises by e towards what is seen, where nothing is as fast any more
SETTLES = 1.0  # seconds after the first answer before their mean counts
FEW = 20  # answers that a first calm mean needs
# Inflation of the mean up to which there is room for second copies of requests; two thirds of the load give 1.1.
SPARE = 1.4
# And of the requests in flight, or so many standard deviations of a Poisson count: a load that grows shows there before
# any answer tells.
SPARE_SPREADS = 3.0
LEAST = 2  # requests in flight for each endpoint, whatever the throughput: what tells it anew
# And for each that is served at a time, where that is known, and no clients leave. The goal is a multiple of the calm
# latency: of endpoints that have become so much slower it leaves places empty, which lowers the throughput, and the
# bound with it.
FILLED = 2.0
# Share of requests whose client left, above which the clients' patience counts, and the part of it that may be used:
# what waits for longer may be answered when nobody hears it.
LEAVING, WITHIN = 0.1, 0.5
# Who has waited until so many times the seconds that it would spend at the endpoints are left of that patience is not
# let in any more: it leaves before its answer, for which others could have been served.
TOO_LATE = 2.0
# Part of a request's time-out after which it is answered on average; some services take several times the mean.
USABLE = 0.75
PATIENCE_RISE = 10.0  # seconds in which that patience is forgotten
IDLE = 60.0  # seconds without a look that count at most: days of quiet are no more than a minute of it, and no overflow
RANKS = 3


class Rank(IntEnum):
    """A route's priority: the higher are served first and refused last."""

    CRITICAL = 0
    NORMAL = 1
    SHEDDABLE = 2


class Entrance(IntEnum):
    """What becomes of a request that wants to enter."""

    ENTERS = 0
    WAITS = 1
    REFUSED = 2


NORMAL = Rank.NORMAL
ENTERS, WAITS, REFUSED = Entrance.ENTERS, Entrance.WAITS, Entrance.REFUSED


class Admission:
    """The requests of one cluster in one worker: `enter`, then `left` exactly once for each that entered.

    `endpoints`: how many there are; `most`: requests that may be in flight whatever happens; `waiting`: that may wait;
    `goal`: seconds that an admitted request may take on average, 0: learned; `adaptive` False: only `most` holds
    requests back; the calm latency is learned all the same, since hedges go by it.
    """

    def __init__(
        self, endpoints: int, most: int, waiting: int, now: float, *, goal: float = 0.0, adaptive: bool = True
    ) -> None:
        self.least = LEAST * max(1, endpoints)
        self.most, self.room, self.given, self.adaptive = most, waiting, goal, adaptive
        self.in_flight = 0
        self.limit = most  # requests in flight beyond which one waits
        self.rate = 0.0  # answers a second
        self._throughput = 0.0  # the same over as long as one may wait
        self.recent = 0.0  # mean latency of late, seconds
        self.base = 0.0  # and in calm; 0: not known yet
        self.patience = float("inf")  # seconds after which clients leave, where many do
        self.wait = 0.0  # seconds that a request may wait here
        # Seconds since it came after which none is let in any more: its client leaves too soon.
        self.worth = float("inf")
        self.there = 0.0  # and that it spends at the endpoints then
        self.held = False  # whether requests are held back now
        self.served = 0.0  # requests that the endpoints serve at a time, as far as is known; told from outside
        self.refused = 0
        self._looked = now
        self.due = now + LOOK
        self._answers = self._gone = self._asked = 0
        self._spent = self._gone_spent = 0.0
        self._leaving = self._lasting = self._stayed = 0.0
        self._coming = self._going = 0.0  # requests that come, and answers, a second
        self._loads: deque[tuple[float, int]] = deque()  # requests here and at the endpoints, at the looks of a window
        self._calm = now  # when the latency was as usual for the last time
        self._excess = 0.0  # the most requests that were here beyond the goal since the load was within it
        self._waited = 0.0  # request-seconds that the excess over the goal has been here for
        self._stood = now  # when we had stood still for the last time
        self._burden = 0  # requests here and at the endpoints then, until the latency is as usual again
        self._seen = 0
        self._began: float | None = None
        self.waiting = 0
        self.turned_away: list[Any] = []  # what had to wait and cannot any more: for the caller to refuse and to clear
        self._queues: list[dict[Any, deque[tuple[Any, float, float]]]] = [{} for _ in range(RANKS)]

    @property
    def spare(self) -> bool:
        """Whether the cluster has so much room that work may be done twice."""
        usual = self.rate * self.base  # requests in flight, by Little's law
        return (
            not self.held
            and self.recent <= SPARE * self.base
            and self.in_flight <= 1.0 + max(SPARE * usual, usual + SPARE_SPREADS * sqrt(usual))
        )

    def enter(
        self, now: float, item: Any, client: Any = None, rank: int = NORMAL, timeout: float = float("inf")
    ) -> Entrance:
        """A request has come, to be answered within `timeout`. One that waits comes back from `next`, or in
        `turned_away`.
        """
        self._asked += 1
        if now >= self.due:
            self._look(now)
        if self.in_flight < self.limit and not self.waiting:
            self.in_flight += 1
            return ENTERS
        if not self.held:
            self.refused += 1
            return REFUSED
        wait = max(0.0, min(self.wait, USABLE * timeout - self.there))
        if self.waiting >= min(self.room, max(self.least, int(self._throughput * wait))):
            self.refused += 1
            if not self._yields(rank, client):
                return REFUSED
        self._queues[rank].setdefault(client, deque()).append((item, now + wait, now))
        self.waiting += 1
        return WAITS

    def left(self, now: float, seconds: float, answered: bool, gone: bool = False) -> None:
        """A request that had entered is over, `seconds` after it came. `answered`: well; `gone`: its client left."""
        self.in_flight -= 1
        if answered:
            self._answers += 1
            self._spent += seconds
        elif gone:
            self._gone += 1
            self._gone_spent += seconds
        if now >= self.due:
            self._look(now)

    def next(self, now: float) -> Any:
        """The request that enters now, or None. It counts as in flight from here on."""
        while self.waiting and self.in_flight < self.limit:
            queues = next(q for q in self._queues if q)
            client, queue = next(iter(queues.items()))
            item, until, came = queue.popleft()
            del queues[client]
            if queue:
                queues[client] = queue  # its next one comes after one of each other client
            self.waiting -= 1
            if until >= now and now - came <= self.worth:
                self.in_flight += 1
                return item
            self.refused += 1
            self.turned_away.append(item)
        return None

    def sweep(self, now: float) -> None:
        """Called every few milliseconds: who has waited for too long is turned away."""
        if now >= self.due:
            self._look(now)
        if not self.waiting:
            return
        for queues in self._queues:
            for client, queue in list(queues.items()):
                while queue and queue[0][1] < now:
                    self.turned_away.append(queue.popleft()[0])
                    self.waiting -= 1
                    self.refused += 1
                if not queue:
                    del queues[client]

    def forget(self, item: Any, client: Any, rank: int, seconds: float = 0.0) -> None:
        """A request that waits is gone. `seconds`: after which its client left, if that is why."""
        if seconds > 0.0:
            self._gone += 1
            self._gone_spent += seconds
        queue = self._queues[rank].get(client, ())
        for entry in queue:
            if entry[0] is item:
                self._drop(rank, client, entry)
                return

    def _drop(self, rank: int, client: Any, entry: tuple[Any, float, float]) -> None:
        queue = self._queues[rank][client]
        queue.remove(entry)
        self.waiting -= 1
        if not queue:
            del self._queues[rank][client]

    def _yields(self, rank: int, client: Any) -> bool:
        """Makes room for a request where one that waits has a lower priority, or the same and a client with more
        waiting; the newest of that client goes.
        """
        lowest = max((r for r, queues in enumerate(self._queues) if queues), default=-1)
        if lowest < rank:
            return False
        queues = self._queues[lowest]
        greedy = max(queues, key=lambda c: len(queues[c]))
        if lowest == rank and len(queues[greedy]) <= len(queues.get(client, ())) + 1:
            return False
        entry = queues[greedy][-1]
        self._drop(lowest, greedy, entry)
        self.turned_away.append(entry[0])
        return True

    def _look(self, now: float) -> None:
        """Takes the counts since the last look, and sets the limit anew."""
        passed = max(now - self._looked, 1e-6)
        self._looked, self.due = now, now + LOOK
        answers, gone = self._answers, self._gone
        counted = min(passed, STOOD)
        kept = exp(-counted / RATE_TAU)
        self.rate = self.rate * kept + answers / counted * (1.0 - kept)
        kept = exp(-counted / LULL_TAU)
        self._throughput = max(self.rate, self._throughput * kept + answers / counted * (1.0 - kept))
        if passed > STOOD:  # what has queued up before us comes next, and says nothing of what goes on coming
            self._waited, self._stood = 0.0, now
        if now - self._stood <= STOOD:  # nor is it a load that grows
            self._calm, self._burden = now, self.in_flight + self.waiting
            self._loads.clear()
        else:
            kept = exp(-passed / GROWTH_TAU)
            self._coming = self._coming * kept + self._asked / passed * (1.0 - kept)
            self._going = self._going * kept + answers / passed * (1.0 - kept)
        if answers:
            mean = self._spent / answers
            for_onset, for_base = exp(-passed / LATENCY_TAU), exp(-passed / BASE_TAU)
            self.recent = self.recent * for_onset + mean * (1.0 - for_onset) if self.recent else mean
            self._lasting = self._lasting * for_base + mean * (1.0 - for_base) if self._lasting else mean
            self._seen += answers
            if self._began is None:
                self._began = now
            if now - self._began < SETTLES:
                self._lasting = mean  # the first answers are the quick ones
        if gone or answers:
            kept = exp(-passed / RATE_TAU)
            self._leaving = self._leaving * kept + gone / (gone + answers) * (1.0 - kept)
        self.patience *= exp(min(passed, IDLE) / PATIENCE_RISE)
        if gone and self._leaving > LEAVING:
            # Of who asks again within the same patience, only the rest of it is seen: the mean counts, not the least.
            stayed = self._gone_spent / gone
            self._stayed = self._stayed * kept + stayed * (1.0 - kept) if self.patience < LONGEST else stayed
            self.patience = min(self.patience, self._stayed)
        self._answers = self._gone = self._asked = 0
        self._spent = self._gone_spent = 0.0
        if self._began is None or self._seen < FEW or now - self._began < 2 * SETTLES:
            return
        lower = self.base <= 0.0 or self._lasting < self.base
        self.base = self._lasting if lower else min(self.base * exp(min(passed, IDLE) / BASE_RISE), self._lasting)
        if not self.adaptive:
            return
        self._bound(now, counted)

    def _bound(self, now: float, passed: float) -> None:
        """How many may be in flight, and how long and how many may wait."""
        goal = min(self.given or max(GOAL_FLOOR, GOAL * self.base), WITHIN * self.patience)
        bound = max(self.least, int(self.rate * min(goal * AT_ENDPOINTS, PLENTY * self.base)))
        if self._leaving <= LEAVING:
            bound = max(bound, int(FILLED * self.served))
        self.held = self._leaving > LEAVING or self.waiting > 0 or self._overloaded(now, goal)
        lasts = self._lasts(goal, passed)
        whole = goal if lasts or self.given else min(LONGEST, WITHIN * self.patience)
        self.there = bound / self._throughput if self._throughput else 0.0
        self.wait = max(0.0, whole - self.there)
        self.worth = max(self.wait, self.patience - TOO_LATE * self.there)
        self.limit = min(self.most, bound) if self.held else self.most

    def _lasts(self, goal: float, passed: float) -> bool:
        """Whether what exceeds the goal has waited for longer than is worth it, and goes on growing."""
        excess = self.in_flight + self.waiting - self.rate * goal
        grows = self._coming > GROWS * self._going
        if excess > 0.0:
            self._waited += excess * passed
            self._excess = max(self._excess, excess)
        elif not grows:
            self._waited = self._excess = 0.0
        return grows and self._waited > LASTS * self._excess

    def _overloaded(self, now: float, goal: float) -> bool:
        """Whether more comes than is served, by how the load moves; once it was, until the latency is as usual."""
        load, loads = self.in_flight + self.waiting, self._loads
        loads.append((now, load))
        least, most = WINDOW
        window = min(most, max(least, LATENCIES * self.recent))
        while loads[0][0] < now - window:
            loads.popleft()
        if self.recent <= INFLATED * self.base:
            self._calm, self._burden = now, 0
            return False
        grows = now - self._calm >= window + self.recent and load - loads[0][1] > SPREADS * sqrt(load)
        # Answers that fail to come are also what the first moments of a slower network look like.
        load -= self._burden
        return self.held or grows or load > max(self.least, FAR * goal * max(self.rate, self._coming))
