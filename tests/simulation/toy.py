"""A toy fleet in virtual time: makes outcome rows and feeds them to a Controller, without a balancer or a queue.

Load is shared evenly over the endpoints whose health lets them serve, with a trickle for the others, as the data plane
does. Service times are log-normal with sigma 0.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adaptive.controller import Controller, Settings
from adaptive.types import (
    OUTCOME_FIELDS,
    Cause,
    Cluster,
    Command,
    Endpoint,
    Event,
    Health,
    InFlightSeen,
    Mark,
    Member,
    Moved,
    OutcomesSeen,
    Publish,
    Tick,
    Topology,
    TrustChanged,
)
from models.predictor import Predictor

_KINDS = {"d": "<f8", "f": "<f4", "Q": "<u8", "I": "<u4", "H": "<u2", "B": "<u1"}
ROW = np.dtype([(name, _KINDS[code]) for name, code, _ in OUTCOME_FIELDS])
TICK = 0.1


def topology(n: int, clusters: int = 1, generation: int = 1, **settings: Any) -> Topology:
    """`clusters` clusters of `n` endpoints each, slots in order."""
    made = []
    for c in range(clusters):
        members = tuple(Member(Endpoint(f"c{c}", "10.0.0.1", 9000 + c * n + i), c * n + i) for i in range(n))
        made.append(Cluster(f"c{c}", c, members, **settings))
    return Topology(generation, tuple(made), n * clusters)


def rows(n: int) -> np.ndarray[Any, Any]:
    """Rows of attempts that went well, but for their times and slots."""
    made = np.zeros(n, dtype=ROW)
    made["status"], made["attempt"], made["propensity"], made["marks"] = 200, 1, 1.0, int(Mark.REPEATABLE)
    made["load_cpu"] = made["load_app"] = np.nan
    return made


@dataclass
class Behaviour:
    """How one endpoint does at one moment."""

    latency: float = 0.04  # mean, seconds
    errors: float = 0.0  # share answered with 500, at a tenth of the latency
    refused: bool = False
    hung: bool = False  # takes attempts and never answers: they time out after 2 s


Scenario = Callable[[float, int], Behaviour]
GATED = (Health.DEGRADED, Health.CANARY)


@dataclass
class Fleet:
    """Runs a scenario against a Controller. `commands` holds all that came out, with its time."""

    size: int
    scenario: Scenario
    rate: Callable[[float], float] = lambda t: 1000.0
    seed: int = 1
    settings: Settings = field(default_factory=Settings)
    gate: bool = True  # the fast loop turns away from an endpoint that has just failed
    start: float = 1000.0
    cluster: dict[str, Any] = field(default_factory=dict)
    extra: Callable[[float], list[Event]] = lambda t: []
    predictor: Predictor | None = None  # None: the one that ships
    commands: list[tuple[float, Command]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.topology = topology(self.size, **self.cluster)
        self.controller = Controller(self.topology, self.settings, self.predictor)
        self.health = np.zeros(self.size, dtype=int)
        self.failed_at = np.full(self.size, -1e9)
        self.pending = np.zeros(0, dtype=ROW)
        self.panic = False

    def run(self, seconds: float, log: bool = False) -> Fleet:
        """Feeds `seconds` of traffic, counted from the start."""
        for i in range(1, round(seconds / TICK) + 1):
            t = i * TICK
            batch = self._traffic(t)
            self._feed(OutcomesSeen(self.start + t, batch), log)
            outstanding = self.pending[self.pending["sent_at"] <= self.start + t]
            in_flight = np.bincount(outstanding["slot"], minlength=self.size)
            oldest = np.full(self.size, np.nan)
            for slot in range(self.size):
                mine = outstanding["sent_at"][outstanding["slot"] == slot]
                if len(mine):
                    oldest[slot] = mine.min()
            self._feed(InFlightSeen(self.start + t, in_flight, oldest), log)
            for event in self.extra(t):
                self._feed(event, log)
            self._feed(Tick(self.start + t), log)
        return self

    def _feed(self, event: Event, log: bool) -> None:
        if log:
            self.events.append(event)
        for command in self.controller.handle(event):
            self.commands.append((event.at - self.start, command))
            if isinstance(command, Publish):
                self.health = np.array(command.snapshot.health)
                self.panic = command.snapshot.clusters[0].panic

    def _traffic(self, t: float) -> np.ndarray[Any, Any]:
        """The attempts sent in this tick; returns those that have closed by its end."""
        n = self.rng.poisson(self.rate(t) * TICK)
        made = rows(n)
        made["sent_at"] = self.start + t - TICK + np.sort(self.rng.random(n)) * TICK
        made["slot"] = self._share(t, n)
        noise = self.rng.lognormal(-0.18, 0.6, n)
        draw = self.rng.random(n)
        for slot in range(self.size):
            b = self.scenario(t, slot)
            mine = made["slot"] == slot
            spent = np.where(draw < b.errors, 0.1, 1.0) * b.latency * noise
            if b.refused:
                spent = np.full(n, 0.0005)
                made["cause"][mine] = Cause.CONNECT_REFUSED
                made["status"][mine] = 0
            elif b.hung:
                spent = np.full(n, 2.0)
                made["cause"][mine] = Cause.TIMEOUT_ATTEMPT
                made["status"][mine] = 0
                made["marks"][mine] |= int(Mark.CENSORED)
            else:
                made["status"][mine & (draw < b.errors)] = 500
            made["done"][mine] = (made["sent_at"] + spent)[mine]
            if (b.refused or b.hung or b.errors > draw[mine].min(initial=1.0)) and mine.any():
                self.failed_at[slot] = t
        made["first_byte"] = np.where(made["cause"] == Cause.RESPONSE, made["done"], np.nan)
        self.pending = np.concatenate([self.pending, made])
        closed = self.pending["done"] <= self.start + t
        out, self.pending = self.pending[closed], self.pending[~closed]
        return out

    def _share(self, t: float, n: int) -> np.ndarray[Any, Any]:
        gated = np.isin(self.health, GATED) | (self.gate & (t - self.failed_at < 2.0))
        usable = ~gated & (self.health < Health.CANARY)
        if self.panic or not usable.any():
            usable = np.ones(self.size, dtype=bool)
        slots = self.rng.choice(np.flatnonzero(usable), n)
        trickle = np.flatnonzero(gated & (self.health != Health.EJECTED))
        if len(trickle):
            explored = self.rng.random(n) < 0.002
            slots[explored] = self.rng.choice(trickle, int(explored.sum()))
        return slots

    def moves(self, slot: int | None = None) -> list[tuple[float, Health, str]]:
        """(when, to, why) of every move, of one endpoint or of all."""
        port = None if slot is None else 9000 + slot
        return [
            (round(t, 1), c.after, c.reason)
            for t, c in self.commands
            if isinstance(c, Moved) and (port is None or c.endpoint.port == port)
        ]

    def snapshots(self) -> list[Publish]:
        """Every Snapshot published."""
        return [c for _, c in self.commands if isinstance(c, Publish)]

    def trust(self) -> list[tuple[float, bool, str]]:
        """(when, fallback, why) of every change of trust."""
        return [(round(t, 1), c.fallback, c.reason) for t, c in self.commands if isinstance(c, TrustChanged)]
