"""What happens to which instance and when."""

from __future__ import annotations

import json

import pytest

from adaptive.demo import schedule
from adaptive.demo.schedule import CALM, COLD, DOWN, FAILING, LEAK, Condition, Fault, condition, describe

LEAKING = schedule.leak(10.0, 22.0, 26.0, 30.0)


def test_without_a_fault_an_instance_is_calm() -> None:
    assert condition((), 5.0) == Condition(1.0, 0.0, False, False)
    assert describe((), 5.0) == (CALM, "")


def test_before_and_after_its_faults_an_instance_is_calm() -> None:
    assert condition(LEAKING, 9.99) == Condition()
    assert condition(LEAKING, 30.0) == Condition()


def test_a_leak_slows_down_step_by_step_up_to_its_factor() -> None:
    slowdowns = [condition(LEAKING, 10.0 + i * 0.1).slowdown for i in range(120)]
    assert slowdowns == sorted(slowdowns)
    assert len(set(slowdowns)) == schedule.STEPS
    assert slowdowns[0] == pytest.approx(1 + 6.0 / schedule.STEPS)
    assert slowdowns[-1] == pytest.approx(7.0)


def test_the_pauses_of_a_leak_come_each_second_and_grow() -> None:
    lengths = []
    for second in range(12):
        start = 10.0 + second
        ends = condition(LEAKING, start).pause_ends
        assert start < ends < start + schedule.PAUSE_EVERY
        assert condition(LEAKING, start + 0.9).pause_ends == 0.0
        lengths.append(ends - start)
    assert lengths == sorted(lengths)
    assert lengths[-1] == pytest.approx(0.12)


def test_a_leak_ends_in_a_crash_and_the_instance_comes_back_cold_and_warms_up() -> None:
    assert not condition(LEAKING, 21.99).down
    assert condition(LEAKING, 22.0).down
    assert condition(LEAKING, 25.99).down
    back, later = condition(LEAKING, 26.0), condition(LEAKING, 29.0)
    assert not back.down
    assert back.slowdown == pytest.approx(4.0)
    assert later.slowdown == pytest.approx(1.75)


def test_a_failing_instance_is_as_fast_as_ever() -> None:
    assert condition((Fault(FAILING, 1.0, 2.0),), 1.5) == Condition(1.0, 0.0, True, False)


def test_overlapping_slowdowns_multiply() -> None:
    faults = (Fault(COLD, 0.0, 2.0, factor=3.0), Fault(COLD, 0.0, 2.0, factor=5.0))
    assert condition(faults, 0.0).slowdown == pytest.approx(15.0)


def test_what_is_going_on_is_said_in_a_few_words() -> None:
    assert describe(LEAKING, 21.5) == (LEAK, "leaks: 7.0×, 0 s left")
    assert describe(LEAKING, 23.0) == (DOWN, "crashed, back in 3 s")
    assert describe(LEAKING, 27.0) == (COLD, "back, cold: 3.2×")


def test_the_plan_has_a_leak_long_enough_to_be_foreseen_and_an_instance_that_fails_fast() -> None:
    plan = schedule.plan()
    assert len(plan.faults) == 6
    assert [crashed - began >= 15.0 for _, began, crashed in plan.crashes] == [True, True]
    assert any(fault.kind == FAILING for faults in plan.faults for fault in faults)


def test_most_instances_are_well_at_every_moment() -> None:
    plan = schedule.plan()
    for tenth in range(int(schedule.SECONDS * 10)):
        ill = sum(condition(faults, tenth / 10) != Condition() for faults in plan.faults)
        assert ill <= 2


def test_every_crash_is_within_the_run_and_another_length_stretches_it() -> None:
    for seconds in (8.0, schedule.SECONDS, 120.0):
        crashes = schedule.plan(seconds).crashes
        assert [c / seconds for _, _, c in crashes] == pytest.approx([24.0 / 64.0, 56.0 / 64.0])


def test_a_plan_survives_the_command_line() -> None:
    plan = schedule.plan(20.0)
    assert schedule.load(json.loads(json.dumps(schedule.dump(plan)))) == plan


def test_a_plan_with_an_unknown_fault_is_refused() -> None:
    values = json.loads(json.dumps(schedule.dump(schedule.plan())))
    values["faults"][0] = [{"kind": "flood", "start": 0.0, "end": 1.0}]
    with pytest.raises(ValueError, match="flood"):
        schedule.load(values)
