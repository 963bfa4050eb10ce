"""Instances that say what they will take: weights, draining, bounds, their end, and who counts more."""

from __future__ import annotations

from adaptive.controller import Controller, Settings
from adaptive.types import Announced, Command, Health, Moved, Overridden, Publish, Reconfigured, Snapshot, Tick
from tests.simulation.toy import topology

AT = 1000.0


def controller(n: int = 3) -> Controller:
    made = Controller(topology(n), Settings(enabled=False))
    made.handle(Tick(AT))
    return made


def published(commands: list[Command]) -> Snapshot:
    return next(c.snapshot for c in reversed(commands) if isinstance(c, Publish))


def moves(commands: list[Command]) -> list[Moved]:
    return [c for c in commands if isinstance(c, Moved)]


def test_who_announces_that_it_leaves_drains_at_once_and_comes_back_when_it_says_so() -> None:
    c = controller()
    commands = c.handle(Announced(AT, 1, 0.0, 0, AT + 30))
    assert [(m.after, m.reason) for m in moves(commands)] == [(Health.DRAINING, "it announced that it leaves")]
    assert published(commands).health == [0, Health.DRAINING, 0]
    assert not moves(c.handle(Announced(AT + 1, 1, 0.0, 0, AT + 31)))
    back = c.handle(Announced(AT + 2, 1, 1.0, 0, AT + 32))
    assert [m.after for m in moves(back)] == [Health.HEALTHY]
    assert published(back).weight == [100, 100, 100]


def test_an_announcement_that_is_not_repeated_ends() -> None:
    c = controller()
    c.handle(Announced(AT, 1, 0.0, 0, AT + 5))
    assert not moves(c.handle(Tick(AT + 4.9)))
    assert [m.after for m in moves(c.handle(Tick(AT + 5.0)))] == [Health.HEALTHY]


def test_a_share_scales_the_weight_and_a_maximum_bounds_what_is_in_flight() -> None:
    c = controller()
    c.handle(Announced(AT, 1, 0.5, 8, AT + 30))
    snapshot = published(c.handle(Tick(AT + 0.1)))
    assert snapshot.weight == [100, 50, 100]
    assert snapshot.limit == [0, 8, 0]
    assert snapshot.health == [0, 0, 0]
    c.handle(Announced(AT + 1, 1, 1.0, 0, AT + 31))
    snapshot = published(c.handle(Tick(AT + 1.1)))
    assert snapshot.weight == [100, 100, 100]
    assert snapshot.limit == [0, 0, 0]


def test_an_operator_counts_more_than_the_instance() -> None:
    c = controller()
    c.handle(Overridden(AT, 1, Health.HEALTHY, AT + 10))
    assert not moves(c.handle(Announced(AT, 1, 0.0, 0, AT + 60)))
    ended = c.handle(Tick(AT + 10))
    assert [m.after for m in moves(ended)] == [Health.DRAINING]


def test_all_may_say_that_they_leave_and_the_traffic_still_has_somewhere_to_go() -> None:
    c = controller(2)
    c.handle(Announced(AT, 0, 0.0, 0, AT + 30))
    assert published(c.handle(Announced(AT, 1, 0.0, 0, AT + 30))).clusters[0].panic


def test_a_reload_forgets_no_announcement_and_unknown_slots_change_nothing() -> None:
    c = controller()
    assert c.handle(Announced(AT, 99, 0.0, 0, AT + 30)) == []
    c.handle(Announced(AT, 1, 0.0, 0, AT + 30))
    c.handle(Announced(AT, 2, 0.25, 4, AT + 30))
    snapshot = published(c.handle(Reconfigured(AT + 1, topology(3))))
    assert snapshot.health == [0, Health.DRAINING, 0]
    assert snapshot.weight[2] == 25
    assert snapshot.limit == [0, 0, 4]
    shown = c.report()["clusters"][0]["endpoints"][2]["announced"]
    assert (shown["share"], shown["most"]) == (0.25, 4)
