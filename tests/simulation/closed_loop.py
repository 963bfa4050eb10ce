"""The gateway model of `fleet_model` with a Controller above its balancer: both loops, closed, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from adaptive import balancer
from adaptive.controller import Controller, Settings
from adaptive.types import (
    Cause,
    Cluster,
    Command,
    InFlightSeen,
    Mark,
    Moved,
    OutcomesSeen,
    Publish,
    Tick,
    Topology,
    TrustChanged,
    Verdict,
)
from tests.simulation.fleet_model import Attempt, Instance, Model, Request, cluster_of
from tests.simulation.toy import ROW, TICK


class ClosedLoop(Model):
    """One run. `moves` holds what the slow loop did."""

    def __init__(self, scenario: Mapping[str, Any], seed: int, settings: Settings | None = None) -> None:
        def build(cluster: Cluster, rng: random.Random, model: Model) -> Any:
            return balancer.make(cluster, rng)

        super().__init__(scenario, build, seed)
        cluster = cluster_of(scenario)
        self.topology = Topology(1, (cluster,), len(cluster.members))
        self.controller = Controller(self.topology, settings)
        self.batch: list[tuple[float, float, float, int, int, int]] = []
        self.refusals: set[int] = set()
        self.moves: list[Moved] = []
        self.trust: list[TrustChanged] = []
        self.weights: set[tuple[int, ...]] = set()
        self.at(TICK, self.tick)

    def refused(self, attempt: Attempt) -> None:
        self.refusals.add(id(attempt))
        super().refused(attempt)
        self.refusals.discard(id(attempt))

    def close(self, attempt: Attempt, verdict: int, latency: float | None) -> None:
        cause, status, mark = Cause.RESPONSE, 200, 0
        if verdict == Verdict.IGNORE:
            cause, status, mark = Cause.CANCELLED, 0, int(Mark.CENSORED)
        elif verdict == Verdict.FAILURE:
            if latency is not None:
                status = 500
            elif id(attempt) in self.refusals:
                cause, status = Cause.CONNECT_REFUSED, 0
            elif not attempt.instance.up or attempt.instance.state(self.now)[3]:
                cause, status = Cause.RESET, 0
            else:
                cause, status, mark = Cause.TIMEOUT_ATTEMPT, 0, int(Mark.CENSORED)
                if self.now - attempt.request.due >= self.timeout - 1e-9:
                    cause = Cause.TIMEOUT_ROUTE
        first = self.now if cause == Cause.RESPONSE else float("nan")
        self.batch.append((attempt.sent_at, first, self.now, attempt.lane.slot, int(cause), status | mark << 16))
        super().close(attempt, verdict, latency)

    def tick(self) -> None:
        """What the brain does every 100 ms."""
        if self.now < self.scenario["seconds"]:
            self.at(self.now + TICK, self.tick)
        rows = np.zeros(len(self.batch), dtype=ROW)
        if self.batch:
            sent, first, done, slot, cause, rest = zip(*self.batch, strict=True)
            rows["sent_at"], rows["first_byte"], rows["done"], rows["slot"], rows["cause"] = (
                sent,
                first,
                done,
                slot,
                cause,
            )
            rows["status"], rows["marks"] = np.array(rest) & 0xFFFF, np.array(rest) >> 16
        rows["load_cpu"] = rows["load_app"] = np.nan
        self.batch = []
        n = self.topology.slots
        oldest = np.full(n, np.nan)
        for lane in self.balancer.lanes:
            if lane.outstanding:
                oldest[lane.slot] = next(iter(lane.outstanding.values()))
        in_flight = np.array([lane.in_flight for lane in sorted(self.balancer.lanes, key=lambda x: x.slot)])
        for event in (OutcomesSeen(self.now, rows), InFlightSeen(self.now, in_flight, oldest), Tick(self.now)):
            for command in self.controller.handle(event):
                self.obey(command)

    def obey(self, command: Command) -> None:
        """Carries a command out."""
        if isinstance(command, Publish):
            self.balancer.apply(command.snapshot)
            self.weights.add(tuple(command.snapshot.weight))
        elif isinstance(command, Moved):
            self.moves.append(command)
        else:
            self.trust.append(command)


__all__ = ["ClosedLoop", "Instance", "Request"]
