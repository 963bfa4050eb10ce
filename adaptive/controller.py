"""The control loop as a state machine: events in, commands out, changed only by `handle`.

A tick goes: windows → rule → model → ladder → guard → weights → Snapshot. Events carry their own time, so that a log of
them fed to a fresh Controller gives the same commands. A Snapshot is published when something changed, and every
HEARTBEAT seconds, so that its age shows that the brain lives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from adaptive.model_events import ModelChanged, ModelMoved
from adaptive.policy import account, rule
from adaptive.policy.forecast import sentence
from adaptive.policy.guard import LAG, Observer
from adaptive.policy.steering import Steering
from adaptive.stats import CONNECT, FLIGHT, LOG_MICRO, MEASURED, MICROSECONDS, OK, STATUS, Stats
from adaptive.types import (
    Announced,
    ClusterEntry,
    Command,
    Drifted,
    Event,
    Health,
    HealthChecked,
    InFlightSeen,
    Moved,
    ObserverSeen,
    OutcomesSeen,
    Overridden,
    Publish,
    Reconfigured,
    Snapshot,
    Tick,
    Topology,
    TrustChanged,
)
from models import default
from models.columns import Observed, Peers
from models.contest import Contest, unpacked
from models.labels import Evidence
from models.learner import Learner
from models.predictor import Pair, Predictor, paired

HEARTBEAT = 1.0  # seconds
TYPICAL_STEP = 0.1  # relative change of a cluster's typical latency that is worth a Snapshot
LEAST_MEASURED = 5  # latencies within 1 s whose mean says how an endpoint bears its load
# Probabilities between two of these steps are the same to the data plane, and not worth a Snapshot by themselves.
PROBABILITY_STEPS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_FAILURES = slice(CONNECT, STATUS + 1)
_HEALTHY, _CANARY = int(Health.HEALTHY), int(Health.CANARY)
# Lower end of the interval of the long horizon's probability at which an endpoint is lowered for it. By choice, not by
# measurement: lowering costs room that a wrong forecast wastes, so four in five must come true in the worst case.
FORESEEN = 0.8


class ModelSettings(Protocol):
    """What the Controller reads of the configuration's model section."""

    @property
    def horizon(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def explore(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """The same, with the defaults of the configuration."""

    horizon: float = 2.0
    seed: int = 0
    enabled: bool = True
    explore: float = 0.004


class Controller:
    """The brain's decisions. `predictor` None means the one that ships, where the settings enable the model; one
    alone sees nothing coming, a Pair does.
    """

    steers: type[Steering] = Steering

    def __init__(
        self, topology: Topology, settings: ModelSettings | None = None, predictor: Predictor | Pair | None = None
    ) -> None:
        self.settings: ModelSettings = settings or Settings()
        self.at: float | None = None
        self.version = 0
        self.last: Snapshot | None = None
        self.published_at = -math.inf
        self.observer = Observer()
        self.was_blind = False
        self.rows = 0  # outcomes seen by the last tick: a tick with nothing new has nothing to decide
        self.learner: Learner | None = None
        self.contest = Contest()
        if self.settings.enabled:
            made = paired(predictor) if predictor is not None else self._default()
            self.learner = Learner(made, self.settings.horizon)
        self._lay_out(topology, 0.0)

    def _default(self) -> Pair:
        return default.pair(self.settings.seed)

    def handle(self, event: Event) -> list[Command]:
        """Takes one event; returns what follows from it. Events go in order of their time."""
        if self.at is None:
            self.at = event.at
            self._lay_out(self.topology, event.at)
            if self.last is not None:
                self.steering.resume(self.last, event.at)
        at = self.at = max(event.at, self.at)
        match event:
            case Tick():
                return self._tick(at)
            case OutcomesSeen():
                self.stats.fold(event.rows, at)
            case InFlightSeen():
                self.stats.saw_live(event.in_flight, event.oldest)
            case ObserverSeen():
                self.observer.saw(at, event.lag, event.lost)
            case HealthChecked():
                if event.ok or not self.observer.blind(at):
                    self.stats.saw_check(event.slot, event.ok, event.seconds)
            case Overridden():
                moved = self.steering.override(at, event, self.stats)
                return [*moved, self._publish(at)]
            case Announced():
                moved = self.steering.announce(at, event, self.stats)
                return [*moved, self._publish(at)] if moved else []
            case Reconfigured():
                return self._reconfigure(at, event.topology)
            case ModelChanged():
                return self._change_model(at, event)
        return []

    def resume(self, last: Snapshot) -> None:
        """Goes on from the Snapshot that another Controller published last, before any event: a brain that replaces a
        dead one must not send traffic back to what is out. One of another configuration gives its version only.
        """
        self.version = last.version
        if last.generation == self.topology.generation and len(last.health) == self.topology.slots:
            self.last = last

    def report(self) -> dict[str, Any]:
        """Every cluster and endpoint as it stands, JSON-able: for /clusters and the metrics."""
        found = account.report(self._scene())
        return {**found, "model": {**found.get("model", {}), "versions": self.contest.report()}}

    def explain(self, cluster: str, address: str) -> dict[str, Any]:
        """Why one endpoint has its state and weight. KeyError where there is no such endpoint."""
        for state in self.steering.clusters:
            for member in state.cluster.members:
                if state.cluster.name == cluster and member.endpoint.address == address:
                    return {**account.explain(self._scene(), state, member), "models": self.contest.report()}
        raise KeyError(f"{cluster}/{address}")

    def _scene(self) -> account.Scene:
        at = self.at if self.at is not None else 0.0
        self.stats.advance(at)
        seen = self.stats.observed(at)
        judged = self._judge(seen)
        blind = self.observer.blind(at)
        return account.Scene(
            at, self.stats, self.steering, seen, judged, self.probability, self.learner, blind, self.foreseen
        )

    def _lay_out(self, topology: Topology, at: float) -> None:
        """Makes every column anew for a topology."""
        self.topology = topology
        n = topology.slots
        cluster = np.full(n, -1, dtype=np.int64)
        self.errors, self.latency = np.full(n, 0.05), np.full(n, np.nan)
        self.requests, self.checked, self.predicts = (np.zeros(n, dtype=bool) for _ in range(3))
        for c in topology.clusters:
            slots = [m.slot for m in c.members]
            cluster[slots] = c.index
            self.errors[slots] = min(max(c.objective_errors, 0.001), 0.5)
            self.latency[slots] = c.objective_latency if c.objective_latency is not None else np.nan
            self.requests[slots] = c.policy == "adaptive"
            self.checked[slots] = c.health_checked
            self.predicts[slots] = c.predict and c.policy == "adaptive"
        self.peers = Peers(cluster, len(topology.clusters))
        self.stats = Stats(n, cluster >= 0, at)
        self.steering = self.steers(topology, at)
        self.steering.forecast = self._forecast
        self.probability = np.full(n, np.nan)
        self.evidence: Evidence | None = None  # of the last look, with what the rule said
        self.suspicion = np.zeros(n)
        self.foreseen = np.zeros(n, dtype=bool)  # the probability is that of the long horizon
        self.published: tuple[object, ...] = ()

    def _reconfigure(self, at: float, topology: Topology) -> list[Command]:
        """Takes over a new topology; endpoints that stay keep their windows, state and weight."""
        stats, steering = self.stats, self.steering
        self._lay_out(topology, at)
        old, new = steering.members, self.steering.members
        stay = [slot for slot, m in new.items() if slot in old and old[slot].endpoint == m.endpoint]
        self.stats.adopt(stats, stay)
        self.steering.adopt(steering, stay)
        if self.learner is not None:
            self.learner.forget()
        return [self._publish(at)]

    def _change_model(self, at: float, told: ModelChanged) -> list[Command]:
        """Takes over a version that was checked; one that cannot be used all the same leaves everything as it is."""
        known = self.contest.champion if told.role == "champion" else self.contest.challenger
        if self.learner is None or told.version == known:
            return []
        try:
            pair = unpacked(told.arrays, told.meta, self.settings.seed) if len(told.arrays) else None
        except ValueError as error:
            return [ModelMoved(at, "refused", told.version, str(error), False)]
        if told.role == "challenger":
            self.contest.challenge(told.version, pair, told.reason)
            return [ModelMoved(at, "challenges", told.version, told.reason, False)]
        self.learner.replace(pair if pair is not None else self._default())
        self.contest.crown(told.version, told.reason)
        return [ModelMoved(at, "serves", told.version, told.reason, False)]

    def _contest(self, at: float) -> list[Command]:
        """What the live scores of champion and challenger have come to."""
        assert self.learner is not None
        verdict = self.contest.take(at, self.learner.answered)
        if verdict is None:
            return []
        shadow = self.contest.shadow
        if verdict.deed == "promoted" and shadow is not None:
            self.learner.replace(shadow)
            self.contest.crown(verdict.version, verdict.reason)
        elif verdict.deed == "dismissed":
            self.contest.challenge("", None, "")
        else:  # which one served before, the store knows: until it tells, the default does
            self.learner.replace(self._default())
            self.contest.crown("", verdict.reason)
        return [ModelMoved(at, verdict.deed, verdict.version, verdict.reason, True)]

    def _tick(self, at: float) -> list[Command]:
        stats = self.stats
        commands: list[Command] = [*self.steering.expire(at, stats)]
        stats.advance(at)
        blind = self.observer.blind(at)
        if self.was_blind and not blind:
            stats.forget()
        self.was_blind = bool(blind)
        fresh, self.rows = stats.rows != self.rows, stats.rows
        if fresh or stats.in_flight.any() or stats.checks_failed.any() or self.steering.watched.any():
            seen = stats.observed(at)
            self._learn_load(seen)
            judged = self._judge(seen)
            commands += self._predict(at, seen, judged, blind)
            moved = self.steering.steer(at, stats, seen, judged, self.probability, blind)
            self._settle(moved)
            commands += moved
        if commands or at - self.published_at >= HEARTBEAT or self._essence() != self.published:
            commands.append(self._publish(at))
        return commands

    def _judge(self, seen: Observed) -> rule.Judgement:
        """What the rule says of what is seen."""
        lowered = self.steering.health != _HEALTHY
        return rule.judge(seen, self.peers, self.errors, self.latency, self.requests, self.checked, lowered)

    def _learn_load(self, seen: Observed) -> None:
        """Capacities, and each cluster's typical latency."""
        stats = self.stats
        last, measured = stats.sums[0], seen.measured[0]
        mean = last[MICROSECONDS] / (np.maximum(measured, 1) * 1e6)
        mean[measured < LEAST_MEASURED] = np.nan
        failing = seen.failures[0] * 5 > last[OK]
        self.steering.capacity.learn(stats.now, last[OK] / stats.latest, mean, failing)
        usual = seen.latency[1].copy()
        usual[self.steering.health >= _CANARY] = np.nan
        for state, value in zip(self.steering.clusters, self.peers.median(usual).tolist(), strict=True):
            if not math.isnan(value) and abs(value - state.typical) > TYPICAL_STEP * state.typical:
                state.typical = value
                stats.typical[state.slots] = value

    def _predict(self, at: float, seen: Observed, judged: rule.Judgement, blind: str) -> list[Command]:
        """Asks the model, teaches it what it may know by now, and passes clusters between it and the rule."""
        if self.learner is None:
            for state in self.steering.clusters:
                state.reason = "the model is switched off"
            return []
        totals, failures = self.stats.totals, np.add.reduce(self.stats.totals[_FAILURES])
        evidence = self.evidence = Evidence(
            totals[OK] + failures,
            failures,
            totals[MEASURED],
            totals[LOG_MICRO] / 1e6,
            totals[FLIGHT] / 1e6,
            judged.stalled > 0,
        )
        self.suspicion = judged.suspicion
        health = self.steering.health
        shown = (health < _CANARY) & (not blind)
        # An observer that runs late sees its own delay: the more of it, the less is made of what it sees.
        well = 0.0 if blind else max(0.0, 1.0 - self.observer.lag / LAG)
        lowered = health > _HEALTHY
        raw = self.learner.step(
            at, seen, self.peers, evidence, judged.suspicion, shown, lowered, self.errors, self.latency, well
        )
        commands = self._contest(at)
        for cluster, what in self.learner.drifts:
            name = "" if cluster is None else self.steering.clusters[cluster].cluster.name
            commands.append(Drifted(at, name, what))
        used = self.predicts & shown
        ahead = used & (self.learner.coming_least >= FORESEEN)
        for state in self.steering.clusters:
            index = state.cluster.index
            soon, reason = self.learner.trusted(at, index)
            long, why = self.learner.trusted_ahead(at, index)
            if not (state.cluster.predict and state.cluster.policy == "adaptive"):
                soon = long = False
                reason = "prediction is switched off for this cluster"
            elif long and not soon:
                reason = f"the long horizon is {why}; of the short one: {reason}"
            if state.fallback == (soon or long):
                commands.append(TrustChanged(at, state.cluster.name, not (soon or long), reason))
            state.fallback, state.reason = not (soon or long), reason
            if not soon:
                used[state.slots] = False
            if not long:
                ahead[state.slots] = False
        now = raw.copy()
        now[~used] = np.nan
        if np.count_nonzero(ahead):
            coming = np.where(ahead, self.learner.coming, np.nan)
            self.foreseen = ~(np.isnan(coming) | (now >= coming))
            now = np.fmax(now, coming)
        else:
            self.foreseen = np.zeros(len(now), dtype=bool)
        self.probability = now * well
        return commands

    def _forecast(self, slot: int) -> str:
        """Why a prediction lowers this endpoint, in words."""
        assert self.learner is not None
        return sentence(self.learner, slot, float(self.probability[slot]), bool(self.foreseen[slot]))

    def _settle(self, moved: list[Moved]) -> None:
        """Forgets what speaks against endpoints that have come back."""
        if self.learner is not None and self.learner.past.slots == self.topology.slots:
            back = [m.endpoint for m in moved if m.after == Health.HEALTHY]
            slots = [slot for slot, member in self.steering.members.items() if member.endpoint in back]
            if slots:
                self.learner.past.clear(np.array(slots))

    def _essence(self) -> tuple[object, ...]:
        """All of a Snapshot that is worth publishing at once when it changes."""
        steps = PROBABILITY_STEPS.searchsorted(self.probability)
        states = [(state.panic, state.fallback, state.typical) for state in self.steering.clusters]
        columns = (self.steering.weight, self.steering.health, self.steering.most, steps)
        return *(column.tobytes() for column in columns), tuple(states)

    def _publish(self, at: float) -> Publish:
        """The Snapshot of this moment."""
        self.version += 1
        self.published_at, self.published = at, self._essence()
        n = self.topology.slots
        snapshot = Snapshot(
            version=self.version,
            at=at,
            generation=self.topology.generation,
            weight=self.steering.weight.tolist(),
            health=self.steering.health.tolist(),
            probability=self.probability.tolist(),
            limit=self.steering.most.tolist(),
            hedge_delay=[0.0] * n,
            attempt_timeout=[0.0] * n,
            clusters=[
                ClusterEntry(state.panic, state.fallback, self.settings.explore, state.typical)
                for state in self.steering.clusters
            ],
        )
        wrong = snapshot.inconsistencies(self.topology)
        if wrong:
            raise AssertionError(f"an inconsistent snapshot was about to be published: {'; '.join(wrong)}")
        return Publish(snapshot)
