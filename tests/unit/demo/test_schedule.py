"""What happens to which instance of the demo and when."""

from __future__ import annotations

import pytest

from adaptive.demo import schedule
from adaptive.demo.schedule import CALM, COLD, DOWN, FAILING, LEAK, describe
from replay.scenario_file import checked
from replay.simulator.faults import WELL, condition

LEAKING = schedule.leak(10.0, 22.0, 26.0, 30.0)


def now(faults: tuple[schedule.Fault, ...], t: float) -> object:
    return condition([one for one in faults if one.start <= t < one.end], t)


def test_a_leak_slows_down_up_to_its_factor_with_pauses_that_grow() -> None:
    slow = [now(LEAKING, 10.0 + i * 0.1).slow for i in range(120)]  # type: ignore[attr-defined]
    assert slow == sorted(slow) and slow[0] == 1.0 and slow[-1] == pytest.approx(7.0, rel=0.01)
    starts = [10.0 + second for second in range(1, 12)]
    lengths = [now(LEAKING, t + 0.001).stalled_until - t for t in starts]  # type: ignore[attr-defined]
    assert lengths == sorted(lengths) and lengths[0] > 0.0 and lengths[-1] < schedule.PAUSE / 1e3 < 2 * lengths[-1]


def test_what_is_going_on_is_said_in_a_few_words() -> None:
    assert describe((), 5.0) == describe(LEAKING, 9.99) == describe(LEAKING, 30.0) == (CALM, "")
    assert describe(LEAKING, 21.99) == (LEAK, "leaks: 7.0×, 0 s left")
    assert describe(LEAKING, 23.0) == (DOWN, "crashed, back in 3 s")
    assert describe(LEAKING, 27.0) == (COLD, "back, cold: 3.2×")
    assert describe(schedule.plan().instances[2].faults, 31.0)[0] == FAILING


def test_the_plan_has_leaks_long_enough_to_be_foreseen_and_an_instance_that_fails_fast() -> None:
    world = checked(schedule.plan())
    assert len(world.instances) == 6
    assert [crashed - began >= 15.0 for _, began, crashed in schedule.crashes(world)] == [True, True]
    assert any(fault.kind == "errors" for instance in world.instances for fault in instance.faults)


def test_most_instances_are_well_at_every_moment() -> None:
    world = schedule.plan()
    for tenth in range(int(schedule.SECONDS * 10)):
        ill = sum(now(instance.faults, tenth / 10) != WELL for instance in world.instances)
        assert ill <= 2


def test_every_crash_is_within_the_run_and_another_length_stretches_it() -> None:
    for seconds in (8.0, schedule.SECONDS, 120.0):
        crashes = schedule.crashes(schedule.plan(seconds))
        assert [c / seconds for _, _, c in crashes] == pytest.approx([24.0 / 64.0, 56.0 / 64.0])
