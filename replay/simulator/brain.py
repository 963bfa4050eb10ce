"""The Controller above one gateway in virtual time: its ticks, its events in the live order, and health checks."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from adaptive.controller import Controller, ModelSettings
from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import (
    Command,
    Event,
    HealthChecked,
    InFlightSeen,
    ObserverSeen,
    OutcomesSeen,
    Publish,
    Snapshot,
    Tick,
    Topology,
)
from models.predictor import Pair, Predictor
from replay.scenario import Rules
from replay.simulator.run import View

if TYPE_CHECKING:
    from replay.simulator.simulation import Simulation

TICK = 0.1  # seconds
HEALTHY, UNHEALTHY = 2, 2  # checks in a row, as configured by default
JITTER = 0.1  # share of the interval between checks
CHECKED = 0.0005  # seconds that a passing check takes

Rows = np.ndarray[Any, Any]


class Log(Protocol):
    """Keeps what a Controller was told and what followed, as `adaptive.telemetry.event_log.EventLog` does."""

    def begin(self, at: float, topology: Topology, settings: Any, resumed: Snapshot | None) -> None:
        """A Controller was made."""

    def event(self, event: Event) -> None:
        """An event that it is about to be told."""

    def commands(self, commands: list[Command]) -> None:
        """What followed from the last one."""


def rows(noted: list[bytes]) -> Rows:
    """What the workers noted, as columns."""
    return np.frombuffer(b"".join(noted), OUTCOME_DTYPE)


class Checks:
    """Active health checks of one gateway: what they find is told when it came often enough in a row."""

    def __init__(self, sim: Simulation, gateway: int, rules: Rules, brain: Brain | None) -> None:
        self.sim, self.rules, self.brain, self.gateway = sim, rules, brain, gateway
        self.rng = random.Random(f"{sim.luck}/checks/{gateway}")
        self.ok: list[bool | None] = [None] * len(sim.instances)
        self.held: list[list[HealthChecked]] = [[] for _ in sim.instances]
        self.balancers = [w.balancer for w in sim.workers if w.gateway == gateway and hasattr(w.balancer, "checked")]
        if brain is not None or self.balancers:
            for slot in range(len(sim.instances)):
                sim.at(self.rng.random() * min(rules.check_interval, 1.0), self.check, slot)

    def check(self, slot: int) -> None:
        """One check goes out."""
        sim, instance = self.sim, self.sim.instances[slot]
        began = sim.now
        unreachable = not instance.plain and instance.condition(began).unreachable
        ok = instance.up and not unreachable
        took = CHECKED if ok or not unreachable else self.rules.check_timeout
        sim.at(began + took, self.came, (slot, ok, took))
        pause = self.rules.check_interval * (1 + JITTER * (self.rng.random() - 0.5))
        sim.at(began + max(pause, took), self.check, slot)

    def came(self, what: tuple[int, bool, float]) -> None:
        """It came back, or did not."""
        slot, ok, took = what
        now = self.sim.now
        for balancer in self.balancers:
            balancer.checked(slot, ok, now)
        if self.brain is None:
            return
        found = HealthChecked(now, slot, ok, took, "status 200" if ok else "no answer")
        if self.ok[slot] is None or ok == self.ok[slot]:
            self.ok[slot] = ok
            self.held[slot].clear()
            self.brain.handle(found)
            return
        self.held[slot].append(found)
        if len(self.held[slot]) >= (HEALTHY if ok else UNHEALTHY):
            self.ok[slot] = ok
            told, self.held[slot] = self.held[slot], []
            for event in told:
                self.brain.handle(event)


class Brain:
    """One gateway's Controller."""

    def __init__(
        self,
        sim: Simulation,
        gateway: int,
        topology: Topology,
        settings: ModelSettings | None,
        predictor: Predictor | Pair | None,
        log: Log | None,
    ) -> None:
        self.sim, self.gateway, self.log = sim, gateway, log
        self.workers = [w for w in sim.workers if w.gateway == gateway]
        self.controller = Controller(topology, settings, predictor)
        if log is not None:
            log.begin(0.0, topology, self.controller.settings, None)
        self.slots = topology.slots
        self.kept: list[Rows] | None = [] if sim.record else None
        self.due = TICK
        self.shown: tuple[object, ...] = ()
        sim.at(TICK, self.tick, None)

    def tick(self, _: object) -> None:
        """Ten times a second."""
        sim = self.sim
        now = sim.now
        if sim.stalls and (until := sim.stalled(self.gateway)) > now:
            sim.at(until, self.tick, None)
            return
        late = now - self.due
        while self.due <= now:
            self.due += TICK
        sim.at(self.due, self.tick, None)
        sim.ticks += 1
        seen = self.drain()
        self.handle(ObserverSeen(now, late, 0))
        if len(seen):
            self.handle(OutcomesSeen(now, seen))
        self.handle(self.live(now))
        self.handle(Tick(now))

    def live(self, now: float) -> InFlightSeen:
        """What is under way in all workers together."""
        in_flight, oldest = [0.0] * self.slots, [math.inf] * self.slots
        for worker in self.workers:
            for lane in worker.balancer.lanes:
                if lane.in_flight:
                    slot = lane.slot
                    in_flight[slot] += lane.in_flight
                    oldest[slot] = min(oldest[slot], next(iter(lane.outstanding.values())))
        since = np.array(oldest)
        since[since == math.inf] = np.nan
        return InFlightSeen(now, np.array(in_flight), since)

    def drain(self) -> Rows:
        """What the workers noted since the last time."""
        noted: list[bytes] = []
        for worker in self.workers:
            if worker.rows:
                noted += worker.rows
                worker.rows = []
        found = rows(noted)
        if self.kept is not None and len(found):
            self.kept.append(found)
        return found

    def handle(self, event: Event) -> None:
        """Tells the Controller, and carries out what follows."""
        if self.log is not None:
            self.log.event(event)
        commands = self.controller.handle(event)
        if self.log is not None:
            self.log.commands(commands)
        for command in commands:
            if isinstance(command, Publish):
                snapshot = command.snapshot
                for worker in self.workers:
                    worker.waiting = snapshot
                shown = (tuple(snapshot.weight), tuple(snapshot.health))
                if shown != self.shown:
                    self.shown = shown
                    self.sim.views.append(View(snapshot.at, self.gateway, *shown))
            else:
                self.sim.moves.append((self.gateway, command))
