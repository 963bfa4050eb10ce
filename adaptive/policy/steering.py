"""Ladder, guard and weights of every endpoint together: what the slow loop has decided so far, and its next round."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adaptive.policy import guard, ladder, rule, weights
from adaptive.stats import CONNECT, OK, STATUS, Stats
from adaptive.types import Announced, Cluster, Health, Member, Moved, Overridden, Snapshot, Topology
from models.columns import Floats, Ints, Observed

_FAILURES = slice(CONNECT, STATUS + 1)
LEAVES = "it announced that it leaves"
RELOOK = 60.0  # seconds after a return for which an endpoint's weight is still looked at


@dataclass(slots=True)
class ClusterState:
    """What is decided for one cluster."""

    cluster: Cluster
    slots: Ints
    place: dict[int, int]  # slot → position among the members
    panic: bool = False
    fallback: bool = True
    reason: str = "no data yet"
    typical: float = 0.0  # seconds; 0: not known yet
    guarded: str = ""  # what the guard refused last
    guarded_at: float = -math.inf


class Steering:
    """Columns (slots,) of health and weight, and the state machines behind them."""

    def __init__(self, topology: Topology, at: float) -> None:
        # With the weight that is in force: the configured one times the share that an instance announced.
        self.members: dict[int, Member] = {m.slot: m for c in topology.clusters for m in c.members}
        self.configured = {slot: member.weight for slot, member in self.members.items()}
        self.clusters = [
            ClusterState(
                c,
                np.array([m.slot for m in c.members], dtype=np.int64),
                {m.slot: i for i, m in enumerate(c.members)},
            )
            for c in sorted(topology.clusters, key=lambda c: c.index)
        ]
        self.cluster = np.full(topology.slots, -1, dtype=np.int64)  # index of each slot's cluster
        for state in self.clusters:
            self.cluster[state.slots] = state.cluster.index
        self.full = np.ones(topology.slots, dtype=np.int64)
        for slot, member in self.members.items():
            self.full[slot] = weights.full(member.weight)
        self.weight = self.full.copy()
        self.health = np.zeros(topology.slots, dtype=np.int64)
        self.rungs = {slot: ladder.Rung(since=at) for slot in self.members}
        self.capacity = guard.Capacity(topology.slots)
        self.overrides: dict[int, Overridden] = {}
        self.announced: dict[int, Announced] = {}  # what instances said of themselves, while it is in force
        self.most = np.zeros(topology.slots, dtype=np.int64)  # attempts in flight, as announced; 0: no bound
        self.refusals: dict[int, tuple[float, str]] = {}  # slot → when and what the guard refused it last
        self.watched = np.zeros(topology.slots, dtype=bool)
        self.forecast: Callable[[int], str] | None = None  # a prediction in words, set by who predicts

    def adopt(self, old: Steering, stay: list[int]) -> None:
        """Takes over what an older one knows of the endpoints in the slots `stay`."""
        for slot in stay:
            if slot in old.announced:
                self.announced[slot] = old.announced[slot]
                self._scale(slot)
            self.rungs[slot] = old.rungs[slot]
            self.health[slot] = old.health[slot]
            self.weight[slot] = max(1, round(old.weight[slot] / old.full[slot] * self.full[slot]))
            self.watched[slot] = True
        self.capacity.adopt(old.capacity, stay)
        self.overrides = {slot: o for slot, o in old.overrides.items() if slot in stay}
        before = {state.cluster.name: state for state in old.clusters}
        for state in self.clusters:
            same = before.get(state.cluster.name)
            if same is not None:
                state.typical, state.fallback, state.reason = same.typical, same.fallback, same.reason
            self._panic(state)

    def resume(self, last: Snapshot, at: float) -> None:
        """Takes over health and weight from a Snapshot; what an operator set, the operator's overrides bring back."""
        for slot, rung in self.rungs.items():
            health = Health(int(last.health[slot]))
            if health in (Health.DEGRADED, Health.CANARY, Health.EJECTED):
                rung.health, rung.since, rung.level = health, at, 1
                rung.reason = "as it was before the brain was replaced"
                self.health[slot], self.watched[slot] = int(health), True
                self.weight[slot] = max(1, int(last.weight[slot]))
        for state in self.clusters:
            self._panic(state)

    def steer(
        self, at: float, stats: Stats, seen: Observed, judged: rule.Judgement, probability: Floats, blind: str
    ) -> list[Moved]:
        """One round over every endpoint that is worth a look."""
        doubt = np.fmax(judged.suspicion, probability)
        watched = (doubt >= ladder.RAISE) | judged.solid
        watched &= stats.member
        look = np.flatnonzero(watched | self.watched)
        self.watched = watched
        moved: list[Moved] = []
        if len(look):
            clusters = self.cluster[look]
            for index in sorted(set(clusters.tolist())):
                part = look[clusters == index]
                moved += self._cluster(at, self.clusters[index], part.tolist(), stats, seen, judged, probability, blind)
        return moved

    def _cluster(
        self,
        at: float,
        state: ClusterState,
        look: list[int],
        stats: Stats,
        seen: Observed,
        judged: rule.Judgement,
        probability: Floats,
        blind: str,
    ) -> list[Moved]:
        """Ladder and guard for the endpoints of one cluster."""
        slots = state.slots
        doubt = np.fmax(judged.suspicion, probability)
        badness = np.where(judged.useless[slots], guard.USELESS, doubt[slots]).tolist()
        load = self._load(state, stats)
        needed = load.inflation >= guard.INFLATED
        moves: dict[int, ladder.Move] = {}
        wishes: list[guard.Wish] = []
        for slot in look:
            if self.held(slot):
                continue
            move = self.rungs[slot].propose(at, _sight(slot, stats, seen, judged, probability, needed))
            if move is None:
                continue
            if self.forecast is not None and move.reason.startswith(ladder.FORECAST):
                move = move._replace(reason=self.forecast(slot))
            i = state.place[slot]
            moves[i] = move
            if move.to > self.health[slot]:
                wishes.append(guard.Wish(i, move.to, badness[i], bool(judged.useless[slot])))
        moves = self._guarded(at, state, moves, wishes, badness, load, blind)
        moved = [self._move(at, int(slots[i]), move, stats) for i, move in sorted(moves.items())]
        for slot in {*look, *(int(slots[i]) for i in moves)}:
            rung = self.rungs[slot]
            if not self.held(slot):
                self.weight[slot] = weights.weigh(
                    rung, self.members[slot].weight, float(doubt[slot]), int(self.weight[slot]), at, needed
                )
            self.watched[slot] |= (
                rung.health != Health.HEALTHY
                or rung.level > 0
                or rung.doubted > 0
                or rung.predicted > 0
                or at - rung.returned < RELOOK
            )
        if moves:
            self._panic(state)
        return moved

    def _guarded(
        self,
        at: float,
        state: ClusterState,
        moves: dict[int, ladder.Move],
        wishes: list[guard.Wish],
        badness: list[float],
        load: guard.Load,
        blind: str,
    ) -> dict[int, ladder.Move]:
        """The moves that the guard lets pass, and those that it adds. Its refusals are kept for the operator."""
        slots = state.slots
        health = [Health(h) for h in self.health[slots].tolist()]
        if not wishes and Health.DEGRADED not in health:
            return moves
        ruling = guard.rule(load, health, badness, wishes, blind)
        for i, reason in ruling.refused.items():
            text = f"{moves.pop(i).to.name} refused: {reason}"
            self.refusals[int(slots[i])] = (at, text)
            state.guarded_at, state.guarded = at, f"{state.cluster.members[i].endpoint.address}: {text}"
        for i in ruling.recalled:
            if i not in moves and not self.held(int(slots[i])):
                moves[i] = ladder.Move(Health.HEALTHY, "called back: the rest is overloaded without it")
        return moves

    def _load(self, state: ClusterState, stats: Stats) -> guard.Load:
        """What the cluster bears now, and could bear."""
        slots = state.slots
        last = stats.sums[0][:, slots]
        return guard.Load(
            [member.weight for member in state.cluster.members],
            float(last[OK].sum() + last[_FAILURES].sum()) / stats.latest,
            self.capacity.estimate(slots).tolist(),
            self.capacity.strain(slots),
        )

    def _move(self, at: float, slot: int, move: ladder.Move, stats: Stats) -> Moved:
        before = Health(int(self.health[slot]))
        attempts, failures = _counts(stats, slot)
        self.rungs[slot].move(at, move.to, move.reason, attempts, failures)
        self.health[slot] = int(move.to)
        if move.to == Health.HEALTHY:
            stats.acquit(slot)
        return Moved(at, self.members[slot].endpoint, before, move.to, move.reason)

    def override(self, at: float, event: Overridden, stats: Stats) -> list[Moved]:
        """Sets an endpoint's health by hand, or ends that. Slots of no endpoint are passed over."""
        if event.slot not in self.members:
            return []
        if event.health is not None and event.until > at:
            self.overrides[event.slot] = event
            to, reason = event.health, f"set by an operator{': ' if event.reason else ''}{event.reason}"
        elif self.overrides.pop(event.slot, None) is not None:
            to, reason = Health.HEALTHY, "the operator's override ended"
            if self._leaves(event.slot):
                to, reason = Health.DRAINING, LEAVES
        else:
            return []
        return self._set(at, event.slot, ladder.Move(to, reason), stats)

    def announce(self, at: float, event: Announced, stats: Stats) -> list[Moved]:
        """Takes what an instance said of itself. An operator's word counts more. Passes over slots of no endpoint."""
        slot, left = event.slot, self._leaves(event.slot)
        if slot not in self.members or (slot not in self.announced and event.share >= 1.0 and not event.most):
            return []
        self.announced[slot] = event
        before = int(self.full[slot])
        self._scale(slot)
        if event.share >= 1.0 and not event.most:
            del self.announced[slot]
        self.watched[slot] = True
        if slot in self.overrides:
            return []
        if self._leaves(slot):
            return self._set(at, slot, ladder.Move(Health.DRAINING, LEAVES), stats)
        if left:
            return self._set(at, slot, ladder.Move(Health.HEALTHY, "it announced that it is back, or no more"), stats)
        self.weight[slot] = max(1, round(self.weight[slot] / before * self.full[slot]))
        return []

    def _scale(self, slot: int) -> None:
        """Puts an announced share and bound in force. A share of 0 leaves the weight: the health says it all."""
        event = self.announced[slot]
        self.members[slot] = replace(
            self.members[slot], weight=self.configured[slot] * (event.share if event.share > 0.0 else 1.0)
        )
        self.full[slot] = weights.full(self.members[slot].weight)
        self.most[slot] = event.most

    def _leaves(self, slot: int) -> bool:
        return slot in self.announced and self.announced[slot].share <= 0.0

    def held(self, slot: int) -> bool:
        """Whether somebody else than the ladder says what an endpoint's health is."""
        return slot in self.overrides or self._leaves(slot)

    def _set(self, at: float, slot: int, move: ladder.Move, stats: Stats) -> list[Moved]:
        """Sets health and weight at once, without steps."""
        self.watched[slot] = True
        moved = []
        if move.to != self.health[slot]:
            level = self.rungs[slot].level
            moved.append(self._move(at, slot, move, stats))
            self.rungs[slot].level = level  # what somebody wanted is no relapse
        self.weight[slot] = weights.by_hand(move.to, self.members[slot].weight)
        for state in self.clusters:
            if slot in state.place:
                self._panic(state)
        return moved

    def expire(self, at: float, stats: Stats) -> list[Moved]:
        """Ends the overrides and announcements whose time has come."""
        moved = []
        for o in [o for o in self.overrides.values() if at >= o.until]:
            moved += self.override(at, Overridden(at, o.slot, None, at), stats)
        for a in [a for a in self.announced.values() if at >= a.until]:
            moved += self.announce(at, Announced(at, a.slot, 1.0, 0, at), stats)
        return moved

    def _panic(self, state: ClusterState) -> None:
        state.panic = guard.panics(
            [m.weight for m in state.cluster.members],
            [Health(h) for h in self.health[state.slots].tolist()],
            [int(slot) in self.overrides for slot in state.slots],
        )


def _counts(stats: Stats, slot: int) -> tuple[int, int]:
    """Attempts and failures of an endpoint since the start."""
    failures = int(stats.totals[_FAILURES, slot].sum())
    return int(stats.totals[OK, slot]) + failures, failures


def _sight(
    slot: int, stats: Stats, seen: Observed, judged: rule.Judgement, probability: Floats, needed: bool
) -> ladder.Sight:
    attempts, failures = _counts(stats, slot)
    return ladder.Sight(
        suspicion=float(judged.suspicion[slot]),
        aside=float(rule.suspicion(judged.slow[slot] + judged.stalled[slot] + judged.unchecked[slot])),
        solid=bool(judged.solid[slot]),
        probability=float(probability[slot]),
        attempts=attempts,
        failures=failures,
        streak=int(seen.streak[slot]),
        checks_failed=int(seen.checks_failed[slot]),
        checks_passed=int(seen.checks_passed[slot]),
        evidence="; ".join(rule.describe(seen, judged, slot)),
        needed=needed,
    )
