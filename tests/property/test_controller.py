"""Whatever happens, in whatever order: snapshots stay consistent, weights are at least 1, and someone serves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive.controller import Controller, Settings
from adaptive.types import (
    Cause,
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
    Tick,
)
from tests.simulation.toy import rows, topology

SLOTS = 6
slots = st.integers(0, SLOTS + 1)
steps = st.one_of(
    st.tuples(st.just("tick"), st.integers(1, 40)),
    st.tuples(st.just("rows"), st.lists(st.tuples(slots, st.sampled_from(list(Cause)), st.booleans()), max_size=30)),
    st.tuples(st.just("storm"), st.tuples(st.sets(st.integers(0, SLOTS - 1)), st.integers(1, 40))),
    st.tuples(st.just("check"), st.tuples(slots, st.booleans())),
    st.tuples(st.just("observer"), st.tuples(st.floats(0, 2), st.integers(0, 3))),
    st.tuples(st.just("live"), st.lists(st.integers(0, 50), min_size=SLOTS, max_size=SLOTS)),
    st.tuples(st.just("override"), st.tuples(slots, st.none() | st.sampled_from(list(Health)), st.floats(-1, 5))),
    st.tuples(st.just("reload"), st.integers(1, SLOTS)),
)


def events(kind: str, what: Any, at: float, generation: int) -> list[Event]:
    match kind:
        case "tick":
            return [Tick(at + 0.1 * i) for i in range(what)]
        case "rows":
            made = rows(len(what))
            for i, (slot, cause, ok) in enumerate(what):
                made[i]["slot"], made[i]["cause"], made[i]["status"] = slot, cause, 200 if ok else 503
            made["sent_at"], made["done"], made["first_byte"] = at - 0.05, at, at - 0.01
            return [OutcomesSeen(at, made), Tick(at)]
        case "storm":
            ill, ticks = what
            found: list[Event] = []
            for i in range(ticks):
                made = rows(4 * SLOTS)
                made["slot"] = np.tile(np.arange(SLOTS), 4)
                made["status"] = np.where(np.isin(made["slot"], list(ill)), 500, 200)
                made["done"] = made["first_byte"] = at + 0.1 * i
                made["sent_at"] = made["done"] - 0.02
                found += [OutcomesSeen(at + 0.1 * i, made), Tick(at + 0.1 * i)]
            return found
        case "check":
            return [HealthChecked(at, what[0], what[1], 0.01)]
        case "observer":
            return [ObserverSeen(at, *what)]
        case "live":
            return [InFlightSeen(at, np.array(what), np.where(np.array(what) > 0, at - 3.0, np.nan))]
        case "override":
            return [Overridden(at, what[0], what[1], at + what[2], "by hand")]
    return [Reconfigured(at, topology(what, generation=generation, health_checked=True))]


@settings(max_examples=120)
@given(st.lists(steps, max_size=14), st.booleans())
def test_every_order_of_events_keeps_the_invariants(story: list[tuple[str, Any]], model: bool) -> None:
    current = topology(SLOTS, health_checked=True)
    controller = Controller(current, Settings(enabled=model))
    at, version = 1000.0, 0
    for number, (kind, what) in enumerate(story):
        at += 0.1
        for event in events(kind, what, at, number + 2):
            at = max(at, event.at)
            if isinstance(event, Reconfigured):
                current = event.topology
            commands = controller.handle(event)
            moved = [c.endpoint for c in commands if isinstance(c, Moved)]
            assert len(moved) == len(set(moved))
            for command in commands:
                if isinstance(command, Publish):
                    snapshot = command.snapshot
                    assert snapshot.inconsistencies(current) == []
                    assert snapshot.version == version + 1
                    version = snapshot.version
                    assert min(snapshot.weight) >= 1
                    for cluster in current.clusters:
                        healths = [snapshot.health[m.slot] for m in cluster.members]
                        # Only an operator or a reload may leave nothing; then health is ignored.
                        served = min(healths) < Health.EJECTED or snapshot.clusters[cluster.index].panic
                        assert served
                        by_itself = not any(kind in ("override", "reload") for kind, _ in story)
                        assert min(healths) < Health.EJECTED or not by_itself
    json.dumps(controller.report(), allow_nan=False)
    for cluster in current.clusters:
        for member in cluster.members:
            json.dumps(controller.explain(cluster.name, member.endpoint.address), allow_nan=False)
