"""A scenario under a policy, in virtual time: a heap of events, and the arrivals beside it.

Equal times go in the order in which they were scheduled. All chance comes from streams named by the seed, so that equal
arguments give equal runs, bit for bit, in any process; and the requests, their work and the drawn faults do not depend
on the policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

import numpy as np

from adaptive.controller import ModelSettings, Settings
from adaptive.types import Cluster, Command, Endpoint, Member, Topology, first_snapshot
from models.predictor import Pair, Predictor
from replay import arrivals
from replay.policies import Policy, named
from replay.scenario import Scenario, Service
from replay.simulator import service
from replay.simulator.brain import Brain, Checks, Log, rows
from replay.simulator.exchange import Exchange
from replay.simulator.gateway import Worker
from replay.simulator.instance import LOOK, Instance
from replay.simulator.run import Requests, Run, View
from replay.simulator.truths import Truths

CLUSTER = "fleet"
PORT = 9100  # of the first instance whose name holds none
SPAN = 1.0  # seconds after the last time-out until which what is under way is followed


def cluster_of(scenario: Scenario, policy: str, random_picks: float = 0.0) -> Cluster:
    """The scenario's fleet as one cluster; an instance's slot is its place."""
    members = []
    for slot, spec in enumerate(scenario.instances):
        host, _, port = spec.name.rpartition(":")
        found = (host, int(port)) if host and port.isdigit() else (spec.name, PORT + slot)
        members.append(Member(Endpoint(CLUSTER, *found), slot, spec.weight, spec.priority, spec.zone))
    made = Cluster(CLUSTER, 0, tuple(members), policy, health_checked=scenario.rules.check_interval > 0.0)
    return replace(made, random_picks=random_picks) if random_picks else made


def simulate(
    scenario: Scenario,
    policy: str | Policy,
    seed: int,
    *,
    record: bool = False,
    views: bool = True,
    settings: ModelSettings | None = None,
    predictor: Predictor | Pair | None = None,
    log: Log | None = None,
    compiled: bool = False,
    luck: int = 0,
) -> Run:
    """Runs the scenario. `record` keeps every Outcome; `log` is told all that the first gateway's Controller is;
    `compiled` lets `replay.simulator.compiled` do it, where it can and nothing else is asked for: it is far faster once
    its functions are loaded, which takes as long as some ten thousand requests. Another `luck` leaves requests, their
    work and the faults as the seed says, and draws anew what nobody could tell beforehand: picks, what an instance
    answers by chance, when health checks fall.

    Raises ValueError for a policy that does not exist.
    """
    chosen = named(policy) if isinstance(policy, str) else policy
    if compiled and not record and log is None and not luck:
        from replay.simulator import compiled as fast

        found = fast.run(scenario, chosen, seed)
        if found is not None:
            return found
    return Simulation(scenario, chosen, seed, record, settings, predictor, log, luck).run(views)


class Simulation:
    """One run."""

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        seed: int,
        record: bool,
        settings: ModelSettings | None,
        predictor: Predictor | Pair | None,
        log: Log | None,
        luck: int = 0,
    ) -> None:
        self.scenario, self.policy, self.seed, self.record = scenario, policy, seed, record
        self.luck = f"{seed}/luck {luck}" if luck else str(seed)  # the root of all streams of mere chance
        self.events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.counter = 0
        self.now = 0.0
        self.attempts = self.ticks = self.handled = 0
        self.counts = {"retries": 0, "hedges": 0, "shed": 0, "budget_exhausted": 0, "given_up": 0}
        self.views: list[View] = []
        self.moves: list[tuple[int, Command]] = []
        self.stalls = scenario.stalls
        self.true: Truths | None = None
        plan = self.plan = arrivals.draw(scenario, seed)
        n = len(plan.due)
        self.work: list[float] = plan.work.tolist()
        kinds: dict[Service, list[float]] = {}
        for spec in scenario.instances:
            if spec.service not in kinds:
                kinds[spec.service] = service.times(spec.service, plan.normal, plan.work)
        self.workers: list[Worker] = []
        self.totals = [[0] * len(scenario.instances) for _ in range(scenario.gateways)]  # attempts in flight, by slot
        self.instances = [
            Instance(self, slot, spec, kinds[spec.service], seed) for slot, spec in enumerate(scenario.instances)
        ]
        for instance in self.instances:
            for start, end in instance.faults.downs:
                self.at(start + LOOK if start > 0.0 else 0.0, instance.fall, None)
                self.at(end + LOOK, instance.rise, None)
        self._gateways(settings, predictor, log)
        # What became of each request of a client.
        self.ended = [math.nan] * n
        self.status = [0] * n
        self.tries = [0] * n
        self.made = [0] * n
        self.home = self._homes(n)
        self.open: list[Exchange | None] = [None] * n
        self.posts: list[bool] = plan.post.tolist()
        self.due: list[float] = plan.due.tolist()
        self.again = scenario.clients.retries > 0 or scenario.clients.attempt_timeout > 0.0
        self.route_timeout = scenario.rules.route_timeout

    def _gateways(self, settings: ModelSettings | None, predictor: Predictor | Pair | None, log: Log | None) -> None:
        scenario, policy = self.scenario, self.policy
        share = float(policy.settings.get("random", 0.0))
        live = "adaptive" if policy.brain else policy.name.partition("@")[0]
        off = {name for name, value in policy.settings.items() if not value}
        cluster = replace(
            cluster_of(scenario, live, share),
            predict="predict" not in off,
            hedging="hedging" not in off,
            learn_capacity="capacity" not in off,
            stall_gate="stall_gate" not in off,
        )
        topology = Topology(1, (cluster,), len(cluster.members))
        checking = scenario.rules.check_interval > 0.0
        # One that minds nothing but health checks has nothing to do where none can fail.
        minding = policy.checked and checking and any(i.faults.unchecked for i in self.instances)
        brains = policy.brain or minding or (policy.checked and log is not None)
        first = first_snapshot(topology, 0.0 if brains else math.inf)
        if share:
            from adaptive.exploring import Exploring
        for gateway in range(scenario.gateways):
            for number in range(scenario.workers):
                rng = random.Random(f"{self.luck}/picks/{gateway}/{number}")
                made = policy.build(cluster, rng, (), self)
                if share:
                    made = Exploring(made, share, random.Random(f"{self.luck}/random picks/{gateway}/{number}"))
                made.apply(first)
                chances = self.record or log is not None  # no Controller reads them, and some cost as much as a pick
                self.workers.append(
                    Worker(self, gateway, len(self.workers), made, scenario, brains or self.record, chances)
                )
        self.brains = []
        for gateway in range(scenario.gateways):
            brain = None
            if brains:
                told = settings if settings is not None else Settings(seed=self.seed)
                if not policy.brain:  # nobody would ask its model
                    told = Settings(told.horizon, told.seed, False, told.explore)
                brain = Brain(self, gateway, topology, told, predictor, log if gateway == 0 else None)
                self.brains.append(brain)
            if checking:
                Checks(self, gateway, scenario.rules, brain)

    def _homes(self, n: int) -> list[int]:
        """The worker that each request comes to: any, with equal chance."""
        if len(self.workers) == 1:
            return [0] * n
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed & 0xFFFFFFFF, 0x40ED])))
        found: list[int] = rng.integers(0, len(self.workers), n).tolist()
        return found

    # Time.

    def at(self, when: float, what: Callable[[Any], None], argument: Any) -> None:
        """Schedules a call."""
        self.counter = number = self.counter + 1
        heappush(self.events, (when, number, what, argument))

    def stalled(self, gateway: int) -> float:
        """Until when a gateway does nothing; in the past where it works."""
        now = self.now
        found = 0.0
        for which, at, seconds in self.stalls:
            if which == gateway and at <= now < at + seconds:
                found = max(found, at + seconds)
        return found

    def run(self, views: bool) -> Run:
        """Until the last request is answered or given up."""
        due, n = self.due, len(self.due)
        events, pop = self.events, heappop
        timeout = self.scenario.clients.timeout
        arrive = self.arrive if self.stalls else self.enter
        end = (due[-1] if n else 0.0) + timeout + SPAN
        infinite = math.inf
        index = oldest = handled = 0
        arrives = due[0] if n else infinite
        expires = arrives + timeout
        while True:
            earliest = events[0][0] if events else infinite
            if arrives <= earliest and arrives <= expires:
                if arrives == infinite:
                    break
                self.now = arrives
                arrive(index)
                index += 1
                arrives = due[index] if index < n else infinite
            elif expires <= earliest:
                if expires == infinite:
                    break
                self.now = expires
                self.give_up(oldest)
                oldest += 1
                while oldest < index and self.ended[oldest] == self.ended[oldest]:
                    oldest += 1
                expires = due[oldest] + timeout if oldest < n else infinite
            else:
                when, _, what, argument = pop(events)
                if when > end:
                    break
                self.now = when
                handled += 1
                what(argument)
        self.handled = handled
        return self._result(views)

    # Clients.

    def arrive(self, index: int) -> None:
        """A request is due, and some gateway stands still at times."""
        worker = self.workers[self.home[index]]
        if self.stalls and (until := self.stalled(worker.gateway)) > self.now:
            self.at(until, self.enter, index)
            return
        self.enter(index)

    def enter(self, index: int) -> None:
        """It comes to its gateway."""
        if self.ended[index] == self.ended[index]:  # the client has given up
            return
        now = self.now
        try_ = self.tries[index]
        exchange = Exchange(index, self.posts[index], now, now + self.route_timeout, try_)
        self.open[index] = exchange
        if self.again and self.scenario.clients.attempt_timeout > 0.0:
            self.at(now + self.scenario.clients.attempt_timeout, self.impatient, exchange)
        self.workers[self.home[index]].begin(exchange)

    def answered(self, exchange: Exchange, status: int) -> None:
        """The gateway answered."""
        index = exchange.index
        self.made[index] += exchange.attempts
        if self.again and status >= 500 and self._retries(exchange):
            return
        self.ended[index] = self.now
        self.status[index] = status
        self.open[index] = None

    def impatient(self, exchange: Exchange) -> None:
        """The client has waited long enough for this try."""
        if not exchange.done and self.open[exchange.index] is exchange:
            self.workers[self.home[exchange.index]].gone(exchange)
            self.made[exchange.index] += exchange.attempts
            if not self._retries(exchange):
                self.ended[exchange.index] = self.now
                self.open[exchange.index] = None

    def _retries(self, exchange: Exchange) -> bool:
        """Whether the client tries once more."""
        index, clients = exchange.index, self.scenario.clients
        when = self.now + clients.backoff
        if self.tries[index] >= clients.retries or when >= self.due[index] + clients.timeout:
            return False
        self.tries[index] += 1
        self.open[index] = None
        self.at(when, self.enter, index)
        return True

    def give_up(self, index: int) -> None:
        """The client's time-out."""
        if self.ended[index] == self.ended[index]:
            return
        exchange = self.open[index]
        self.ended[index] = self.now
        self.counts["given_up"] += 1
        if exchange is not None:
            self.workers[self.home[index]].gone(exchange)
            self.made[index] += exchange.attempts
            self.open[index] = None

    # As Fleet.

    def probe(self, slot: int, now: float) -> tuple[int, float]:
        """What an instance answers to a probe."""
        return self.instances[slot].probe(now)

    def utilisation(self, slot: int, now: float) -> float:
        """Busy slots over slots."""
        instance = self.instances[slot]
        return instance.busy / instance.slots

    def capacity(self, slot: int) -> float:
        """Slots over the mean service time, as the scenario begins with them."""
        instance = self.instances[slot]
        return instance.slots / instance.mean

    def truths(self, now: float) -> tuple[list[float], set[int]]:
        """How the instances really are."""
        if self.true is None:
            self.true = Truths(self.instances)
        return self.true.now(now)

    # The end.

    def _result(self, views: bool) -> Run:
        for exchange in self.open:
            if exchange is not None and not exchange.done:
                self.workers[self.home[exchange.index]].gone(exchange)
        outcomes = self._outcomes() if self.record else None
        status = np.array(self.status, dtype=np.uint16)
        latency = np.array(self.ended) - self.plan.due
        latency[status > 0] += self.scenario.wire
        counts = {
            **self.counts,
            "attempts": self.attempts,
            "ticks": self.ticks,
            "events": self.handled + len(self.due),
        }
        gateways = np.array([w.gateway for w in self.workers], dtype=np.uint8)
        failed = (status < 200) | (status >= 300)
        timeout = self.scenario.clients.timeout
        return Run(
            scenario=self.scenario.name,
            policy=self.policy.name,
            seed=self.seed,
            warm=self.scenario.warm,
            timeout=timeout,
            requests=Requests(
                self.plan.due,
                np.minimum(latency, timeout),
                failed,
                self.plan.post,
                status,
                np.minimum(np.array(self.made, dtype=np.int64), 255).astype(np.uint8),
                gateways[np.array(self.home, dtype=np.int64)],
            ),
            served=[i.served for i in self.instances],
            counts=counts,
            views=tuple(self.views) if views else (),
            moves=tuple(self.moves),
            outcomes=outcomes,
        )

    def _outcomes(self) -> Any:
        """Every Outcome, in the order of `done`."""
        parts = [part for brain in self.brains for part in brain.kept or ()]
        parts += [rows(worker.rows) for worker in self.workers if worker.rows]
        if not parts:
            return rows([])
        every = np.concatenate(parts)
        return every[np.argsort(every["done"], kind="stable")]
