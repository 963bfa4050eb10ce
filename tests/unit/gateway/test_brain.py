"""The brain's shell: what it tells the Controller each tick, and what it does with the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.gateway.boot import BrainBoot, Configuration
from adaptive.gateway.brain import Brain, Parts
from adaptive.telemetry.board import Board
from adaptive.telemetry.ring import Ring
from adaptive.types import (
    OUTCOME_FIELDS,
    Command,
    Endpoint,
    Event,
    Health,
    InFlightSeen,
    Moved,
    ObserverSeen,
    OutcomesSeen,
    Publish,
    Reconfigured,
    Tick,
    Topology,
    TrustChanged,
    first_snapshot,
)

TEXT = """
listen: 127.0.0.1:8080
clusters: {api: {endpoints: [127.0.0.1:9100, 127.0.0.1:9101]}}
routes: [{prefix: /, cluster: api}]
"""
ROW = {name: 0 for name, _, _ in OUTCOME_FIELDS}


class FakeController:
    """Remembers events, and answers each kind with what the test planted."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answers: dict[type, Callable[[Any], list[Command]]] = {}

    def handle(self, event: Event) -> list[Command]:
        self.events.append(event)
        return self.answers.get(type(event), lambda e: [])(event)

    def report(self) -> dict[str, Any]:
        return {"clusters": []}

    def explain(self, cluster: str, address: str) -> dict[str, Any]:
        raise KeyError(address)


class FakeRecorder:
    def __init__(self) -> None:
        self.rows = 0
        self.closed = False
        self.nodes: tuple[str, ...] = ()

    def write(self, rows: Any, topology: Topology) -> None:
        self.rows += len(rows)

    def tick(self, now: float) -> None:
        pass

    def close(self, seconds: float = 5.0) -> None:
        self.closed = True

    def report(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def name(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes


class FakeHealth:
    def configure(self, *_: object) -> None:
        pass


class World:
    """A brain between a real board and real rings, and a Controller of our own."""

    def __init__(self, workers: int = 2) -> None:
        self.board = Board.create(16, 4, workers)
        self.rings = [Ring.create(64) for _ in range(workers)]
        self.made: list[FakeController] = []
        self.recorder = FakeRecorder()
        self.brain = self.another()

    def another(self) -> Brain:
        boot = BrainBoot(self.board.fd, tuple(r.fd for r in self.rings), -1, 0, 0)
        brain = Brain(boot, Parts(self._controller, lambda configuration: self.recorder))
        brain.health = FakeHealth()  # type: ignore[assignment]
        return brain

    def _controller(self, topology: Topology, configuration: Configuration, board: Board) -> FakeController:
        self.made.append(FakeController())
        return self.made[-1]

    def configure(self, extra: str = "", generation: int = 1) -> FakeController:
        config = parse(TEXT + extra)
        self.brain.configure(Configuration(config, assign_slots(config, {}), generation), 1.0)
        return self.made[-1]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_tick_tells_what_was_seen_before_it_asks_for_decisions() -> None:
    world = World()
    controller = world.configure()
    controller.events.clear()
    world.rings[0].put(*{**ROW, "slot": 1}.values())
    world.rings[1].put(*{**ROW, "slot": 0}.values())
    world.rings[1].put(*{**ROW, "slot": 0}.values())
    world.board.live_row(0)[1] = 4
    world.brain.turn(10.0, 0.0)
    assert kinds(controller.events) == ["ObserverSeen", "OutcomesSeen", "OutcomesSeen", "InFlightSeen", "Tick"]
    seen = [event for event in controller.events if isinstance(event, OutcomesSeen)]
    assert [event.rows["slot"].tolist() for event in seen] == [[1], [0, 0]]
    (live,) = [event for event in controller.events if isinstance(event, InFlightSeen)]
    assert live.in_flight.tolist() == [0, 4] and np.isnan(live.oldest).all()
    assert world.recorder.rows == 3
    world.brain.turn(10.1, 0.0)
    assert kinds(controller.events)[5:] == ["ObserverSeen", "InFlightSeen", "Tick"]


def observed(controller: FakeController) -> list[tuple[float, int]]:
    return [(round(e.lag, 6), e.lost) for e in controller.events if isinstance(e, ObserverSeen)]


def test_the_worst_worker_s_lag_counts_and_so_does_our_own() -> None:
    world = World()
    controller = world.configure()
    world.board.beat(0, 9.9, lag=0.2)
    world.board.beat(1, 9.9, lag=0.5)
    world.brain.turn(10.0, 0.1)
    world.brain.turn(10.1, 0.0)
    world.brain.turn(11.1, 0.9)
    assert observed(controller) == [(0.5, 0), (0.0, 0), (0.9, 0)]


def test_lost_outcomes_are_told_once() -> None:
    world = World(workers=1)
    controller = world.configure()
    for _ in range(70):
        world.rings[0].put(*ROW.values())
    world.brain.turn(10.0, 0.0)
    world.brain.turn(10.1, 0.0)
    assert observed(controller) == [(0.0, 6), (0.0, 0)]


def test_a_brain_that_takes_over_is_not_blinded_by_what_came_before_it() -> None:
    world = World(workers=1)
    world.board.beat(0, 9.0, lag=30.0)
    for _ in range(70):
        world.rings[0].put(*ROW.values())
    world.brain = world.another()
    controller = world.configure()
    world.brain.turn(10.0, 0.0)
    assert observed(controller) == [(0.0, 0)]


def test_a_snapshot_is_put_on_the_board() -> None:
    world = World()
    controller = world.configure()
    topology = world.brain.topology
    assert topology is not None
    controller.answers[Tick] = lambda e: [Publish(first_snapshot(topology, e.at, version=7))]
    world.brain.turn(10.0, 0.0)
    assert world.board.version() == 7
    assert world.brain.report()["brain"]["snapshot"] == 7


def test_moves_and_changes_of_trust_are_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    controller = world.configure()
    sent: list[dict[str, Any]] = []
    world.brain._send = sent.append  # type: ignore[method-assign]
    endpoint = Endpoint("api", "127.0.0.1", 9100)
    controller.answers[Tick] = lambda e: [
        Moved(e.at, endpoint, Health.HEALTHY, Health.EJECTED, "it fails"),
        TrustChanged(e.at, "api", True, "drift"),
    ]
    with caplog.at_level("INFO"):
        world.brain.turn(10.0, 0.0)
    assert "api/127.0.0.1:9100: HEALTHY → EJECTED: it fails" in caplog.text
    assert [m["type"] for m in sent] == ["moved", "trust"]
    assert (sent[0]["endpoint"], sent[0]["after"]) == ("127.0.0.1:9100", "EJECTED")


def test_another_configuration_keeps_the_controller_and_what_it_knows() -> None:
    world = World()
    first = world.configure()
    again = world.configure("server: {timeouts: {idle: 5s}}\n", generation=2)
    assert again is first
    assert [e.topology.generation for e in first.events if isinstance(e, Reconfigured)] == [1, 2]


def test_other_settings_of_the_model_begin_anew() -> None:
    world = World()
    first = world.configure()
    assert world.configure("model: {enabled: false}\n", generation=2) is not first


def test_files_that_became_unusable_are_told_and_change_nothing() -> None:
    world = World()
    controller = world.configure()
    sent: list[dict[str, Any]] = []
    world.brain._send = sent.append  # type: ignore[method-assign]

    class Broken:
        def configure(self, *_: object) -> None:
            raise FileNotFoundError("ca.pem")

    world.brain.health = Broken()  # type: ignore[assignment]
    config = parse(TEXT)
    world.brain._obey(Configuration(config, assign_slots(config, {}), 2).message())
    assert (sent[0]["type"], sent[0]["generation"]) == ("failed", 2) and "ca.pem" in sent[0]["error"]
    assert [e.topology.generation for e in controller.events if isinstance(e, Reconfigured)] == [1]


def test_what_the_workers_left_is_recorded_at_the_end() -> None:
    world = World()
    world.configure()
    world.rings[0].put(*ROW.values())
    world.brain._finish()
    assert world.recorder.rows == 1 and world.recorder.closed


def test_who_records_has_the_names_of_envoys_before_and_after_a_configuration() -> None:
    world = World()
    world.brain._obey({"type": "envoys", "names": ["edge-0"], "dropped": {}})
    world.configure()
    assert world.recorder.nodes == ("edge-0",)
    world.brain._obey({"type": "envoys", "names": ["edge-0", "edge-1"], "dropped": {}})
    assert world.recorder.nodes == ("edge-0", "edge-1")


def test_an_unknown_endpoint_is_explained_as_nothing() -> None:
    world = World()
    world.configure()
    assert world.brain._explain({"cluster": "api", "endpoint": "127.0.0.1:1"}) is None
