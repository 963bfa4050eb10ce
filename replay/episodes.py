"""Fleets to learn from: what every endpoint showed, what became of it, and what was really wrong with it.

Each episode is a small fleet drawn from a seed. Forecastable faults begin small and grow; abrupt and gray ones do not
announce themselves; in calm ones nothing is wrong, but the load swings, instances are deployed and warm up, requests
change, and the gateway itself stalls. Severities are drawn from a scale from 0 to 1: those to tune on from its even
fifths, those to report on from the odd ones, with seeds of their own.

A Controller watches and moves nobody, so that every label is there; or it acts, and what it hides is hidden.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptive.controller import Settings
from adaptive.types import Moved, Topology
from models.columns import Floats
from models.detectors import LEAST_SHARE, threshold
from models.fitting import Rows
from models.predictor import Pair, Predictor
from replay.asking import EVERY, Asked, Table, Watching, joined
from replay.policies import named
from replay.scenario import Clients, Fault, Instance, Load, Scenario, Service
from replay.simulator.brain import TICK
from replay.simulator.simulation import Simulation, cluster_of
from replay.troubles import fault

FORECASTABLE = ("leak", "pauses", "creeping", "antagonist")
ABRUPT = ("slow", "errors", "hang", "crash", "gray_errors", "gray_hangs", "gray_slow")
CALM = ("calm", "swings", "deploys", "mix", "stalls")
SECONDS = 150.0
COLD_AFTER = 2.0  # seconds after a cold start in which what it served still comes in


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one instance, from when until when."""

    slot: int
    kind: str
    start: float
    end: float
    divergence: float = (
        0.0  # Kullback-Leibler, nats an attempt, of an abrupt change; 0 where an attempt does not show it
    )


@dataclass(frozen=True, slots=True)
class Episode:
    """One fleet for one time."""

    kind: str
    seed: int
    troubles: Sequence[Trouble]
    asked: Table
    counted: Floats  # (looks, 2, instances) attempts and failures since the start, at each look
    moved: Sequence[Moved]
    detected: Sequence[float]  # by trouble: attempts sent from its start to a detector's alarm; NaN: none
    alarms: int  # of detectors, at endpoints that are as they were
    cold: tuple[int, int]  # cold starts that raised one, which are slow for real, and how many there were
    requests: int
    hours: float  # instance-hours


def _severity(rng: random.Random, held_out: bool) -> float:
    """From 0 to 1: the even fifths to tune on, the odd ones to report on."""
    fifth = rng.choice((1, 3)) if held_out else rng.choice((0, 2, 4))
    return (fifth + rng.random()) / 5


def _between(low: float, high: float, u: float) -> float:
    """Geometrically."""
    return float(low * (high / low) ** u)


def _troubles(kind: str, u: float, start: float, end: float, mean: float, rng: random.Random) -> list[Fault]:
    """The faults of one instance. `u` is the severity, 0 the mildest."""
    if kind == "leak":
        tau = _between(45.0, 18.0, u)
        pauses = fault("gc", start, end, pause_ms=_between(50, 300, u), period=5.0, grow=1.0)
        return [fault("leak", start, end, tau=tau), pauses]
    if kind == "pauses":
        period = rng.uniform(3.0, 6.0)
        return [fault("gc", start, end, pause_ms=_between(900, 2500, u), period=period, grow=1.0)]
    if kind == "creeping":
        return [fault("ramp_errors", start, end, p=_between(0.1, 0.3, u), seconds=mean * rng.uniform(0.3, 1.2))]
    if kind == "antagonist":
        return [fault("ramp_slow", start, end, factor=_between(4.5, 9.0, u))]
    if kind == "slow":
        return [fault("slow", start, end, factor=_between(3.5, 12.0, u))]
    if kind == "errors":
        return [fault("errors", start, end, p=_between(0.2, 1.0, u), seconds=mean * rng.uniform(0.1, 1.0))]
    if kind == "hang":
        return [fault("hang", start, end, p=_between(0.3, 1.0, u))]
    if kind == "crash":
        return [fault("down", start, start + 20.0)]
    if kind == "gray_errors":
        return [fault("errors", start, end, p=_between(0.01, 0.15, u), seconds=mean)]
    if kind == "gray_hangs":
        return [fault("hang", start, end, p=_between(0.01, 0.15, u))]
    if kind == "gray_slow":
        return [fault("slow", start, end, factor=_between(1.2, 2.5, u))]
    return []


def divergence(kind: str, made: Fault, spread: float) -> float:
    """Nats by which one attempt tells the change from none, at the share that a healthy endpoint is taken to fail."""
    if kind in ("slow", "gray_slow"):
        return math.log(made.values["factor"]) ** 2 / (2 * spread**2)
    if kind in ("errors", "gray_errors", "crash"):
        p, q = min(made.values.get("p", 1.0), 1 - 1e-9), LEAST_SHARE
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return 0.0


def fleet(kind: str, seed: int, held_out: bool = False, n: int = 0, seconds: float = SECONDS) -> Scenario:
    """The scenario of an episode; its troubles are in the notes. `n` 0: drawn. KeyError for a kind that is none."""
    if kind not in (*FORECASTABLE, *ABRUPT, *CALM):
        raise KeyError(kind)
    rng = random.Random(f"episodes/{kind}/{'held out' if held_out else 'tuning'}/{seed}")
    n = n or rng.choice((4, 5, 6, 8, 10, 12))
    load, per_second = rng.uniform(0.25, 0.65), _between(8.0, 60.0, rng.random())
    mean = 4 * load / per_second
    spread = rng.uniform(0.3, 0.8)
    faults: dict[int, list[Fault]] = {i: [] for i in range(n)}
    if rng.random() < 0.5:  # every real fleet fails a little
        p = _between(0.0003, 0.003, rng.random())
        for i in range(n):
            faults[i].append(fault("errors", 0.0, seconds, p=p, seconds=mean))
    speeds = [rng.uniform(0.85, 1.2) for _ in range(n)]
    troubles: list[Trouble] = []
    if kind not in CALM:
        u = _severity(rng, held_out)
        # What can be foreseen takes half a minute and more to come, as leaks do.
        slow = kind in FORECASTABLE
        start = (rng.uniform(0.2, 0.3) if slow else rng.uniform(0.25, 0.4)) * seconds
        end = start + (0.62 if slow else rng.uniform(0.4, 0.5)) * seconds
        for slot in rng.sample(range(n), 1 if n < 8 else rng.choice((1, 2))):
            made = _troubles(kind, u, start, end, mean, rng)
            faults[slot] += made
            troubles.append(Trouble(slot, kind, start, made[0].end, divergence(kind, made[0], spread)))
    rates, work, stalls = _habits(kind, n, seconds, mean, faults, rng)
    capacity = sum(4 / (mean * speed) for speed in speeds)
    return Scenario(
        name=f"{kind}-{seed}",
        instances=tuple(
            Instance(f"10.1.0.{i + 1}:8080", Service(mean * speeds[i], spread), slots=4, faults=tuple(faults[i]))
            for i in range(n)
        ),
        load=Load(rates=tuple((at, load * capacity * x) for at, x in rates), work=tuple(work)),
        clients=Clients(timeout=max(2.0, 50 * mean)),
        seconds=seconds,
        seed=seed,
        stalls=tuple(stalls),
        notes={"troubles": troubles},
    )


def _habits(
    kind: str, n: int, seconds: float, mean: float, faults: dict[int, list[Fault]], rng: random.Random
) -> tuple[list[tuple[float, float]], list[tuple[float, float]], list[tuple[int, float, float]]]:
    """Rates, work and stalls; deploys go into the faults, for a cold instance is slow without being ill."""
    rates, work, stalls = [(0.0, 1.0)], [(0.0, 1.0)], []
    if kind == "swings" or (kind != "calm" and rng.random() < 0.3):
        rates += [(t, rng.uniform(0.35, 1.35)) for t in np.arange(10.0, seconds, rng.uniform(8.0, 30.0)).tolist()]
    if kind == "mix" or (kind != "calm" and rng.random() < 0.2):
        work += [(t, rng.uniform(0.5, 1.4)) for t in np.arange(15.0, seconds, rng.uniform(15.0, 40.0)).tolist()]
    if kind == "deploys":
        length = rng.uniform(6.0, 15.0)
        for place, i in enumerate(rng.sample(range(n), n)):
            at = 20.0 + place * (seconds - 40.0) / n
            faults[i].append(fault("cold", at, at + length, factor=rng.uniform(1.5, 2.5)))
    if kind == "stalls":
        stalls = [(0, t, rng.uniform(0.2, 2.0)) for t in np.arange(20.0, seconds, rng.uniform(15.0, 40.0)).tolist()]
    return rates, work, stalls


class _Notes:
    """Asks at each look, and puts answers to their questions."""

    def __init__(self, sim: Simulation, until: float) -> None:
        self.sim = sim
        self.asked = Asked(len(sim.instances), until)
        self.troubles: Sequence[Trouble] = sim.scenario.notes.get("troubles", ())
        self.onset = [math.nan] * len(self.troubles)  # attempts sent by the start of each
        self.detected = [math.nan] * len(self.troubles)
        n = len(sim.instances)
        self.above, self.alarms = np.zeros(n, dtype=bool), 0
        self.cold = [(i, f) for i, spec in enumerate(sim.scenario.instances) for f in spec.faults if f.kind == "cold"]
        self.noticed: set[int] = set()  # of these
        self.counted: list[Floats] = []
        sim.at(EVERY + 0.001, self.look, None)
        sim.at(TICK + 0.0005, self.listen, None)

    def listen(self, _: object) -> None:
        """After every tick, the detectors: the threshold is that of ALARM_HOURS at the endpoint's own rate."""
        sim, at = self.sim, self.sim.now
        sim.at(at + TICK, self.listen, None)
        controller = sim.brains[0].controller
        if controller.evidence is None or controller.learner is None:
            return
        attempts = controller.evidence.attempts
        sent = attempts + controller.stats.in_flight  # what is outstanding is an observation too: it has lasted so long
        level = np.array([threshold(float(count) / at) for count in attempts])
        nats = controller.learner.past.nats.max(axis=0)
        above = nats >= level
        ill = np.zeros(len(above), dtype=bool)
        for i, trouble in enumerate(self.troubles):
            if at >= trouble.start:
                ill[trouble.slot] = True
                if math.isnan(self.onset[i]):
                    self.onset[i] = float(sent[trouble.slot])
                if above[trouble.slot] and math.isnan(self.detected[i]) and at < trouble.end:
                    self.detected[i] = float(sent[trouble.slot]) - self.onset[i]
        new = above & ~self.above & ~ill
        for place, (slot, cold) in enumerate(self.cold):
            if new[slot] and cold.start <= at < cold.end + COLD_AFTER:
                new[slot] = False
                self.noticed.add(place)
        self.alarms += int(new.sum())
        self.above = above | (self.above & (nats > level / 2))  # one alarm lasts until the sum has fallen by half

    def look(self, _: object) -> None:
        """One look, just after a tick."""
        sim, at = self.sim, self.sim.now
        sim.at(at + EVERY, self.look, None)
        controller = sim.brains[0].controller
        self.asked.look(controller, at)
        known = controller.evidence
        counts = (known.attempts, known.failures) if known is not None else np.zeros((2, len(sim.instances)))
        self.counted.append(np.array(counts, dtype=np.float64))

    def episode(self, kind: str, seed: int, scenario: Scenario, requests: int) -> Episode:
        """All of it as columns."""
        moved = [command for _, command in self.sim.moves if isinstance(command, Moved)]
        hours = len(scenario.instances) * scenario.seconds / 3600.0
        troubles = scenario.notes["troubles"]
        told, counted, cold = self.asked.table(), np.array(self.counted), (len(self.noticed), len(self.cold))
        return Episode(kind, seed, troubles, told, counted, moved, self.detected, self.alarms, cold, requests, hours)


def run(
    kind: str,
    seed: int,
    held_out: bool = False,
    *,
    acting: bool = False,
    predictor: Predictor | Pair | None = None,
    policy: str = "adaptive",
    scenario: Scenario | None = None,
    settings: Settings | None = None,
) -> Episode:
    """One episode. `policy` is the fast loop below; the Controller above only watches, unless it is `acting`."""
    scenario = scenario or fleet(kind, seed, held_out)
    chosen = replace(named(policy), brain=True)
    told = settings or Settings(seed=seed)
    sim = Simulation(scenario, chosen, scenario.seed, False, told, predictor, None)
    if not acting:
        cluster = cluster_of(scenario, "adaptive")
        topology = Topology(1, (cluster,), len(cluster.members))
        for brain in sim.brains:
            brain.controller = Watching(topology, told, predictor)
    notes = _Notes(sim, scenario.seconds)
    result = sim.run(False)
    return notes.episode(kind, seed, scenario, len(result.requests.due))


def rows(episodes: Sequence[Episode], horizon: str) -> Rows:
    """What a model is fitted to; `horizon` is soon or ahead."""
    runs = np.concatenate([np.full(len(e.asked.at), i) for i, e in enumerate(episodes)])
    return joined([e.asked for e in episodes]).rows(horizon, runs)
