"""Forecasts are judged by thresholds that other fleets set, and a forecast counts only where it came early enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.features import COUNT
from replay.asking import Table
from replay.episodes import Episode, Trouble
from replay.foretelling import Alarm, alarms, crossed, foreseen, halves, precise, threshold, threshold_of_looks

BREACH = 60.0  # seconds from the beginning; the trouble begins at 30


def episode(
    seed: int, warned: float, kind: str = "leak", level: float = 0.9, false: float = 0.0, until: float = -60.0
) -> Episode:
    """Two endpoints, one of them ill: a sure forecast from `warned` to `until` seconds before its breach, and one that
    is wrong, of the healthy one at the level `false`.
    """
    at = np.repeat(np.arange(0.0, 120.0, 0.5), 2)
    slot = np.tile([0.0, 1.0], len(at) // 2)
    ill = slot == 1
    soon = np.where(ill & (at >= BREACH), 1.0, 0.0)
    ahead = np.where(ill & (at >= BREACH - 30.0), 1.0, 0.0)
    said = np.where(ill & (at >= BREACH - warned) & (at < BREACH - until), level, 0.01)
    said = np.where(~ill & (at > 40.0) & (at < 48.0), np.maximum(false, 0.01), said)
    one = np.ones(len(at))
    table = Table(
        at, slot, np.zeros((len(at), COUNT), dtype=np.float32), one * 0.1, np.column_stack([said, said]),
        np.zeros(len(at), dtype=bool), soon, one, ahead, one,
    )  # fmt: skip
    return Episode(
        kind, seed, (Trouble(1, kind, 30.0, 110.0),), table, np.zeros((0, 2, 2)), (), (), 0, (0, 0), 1000, 0.1
    )


def test_halves_are_alike_in_who_balances() -> None:
    found = halves([episode(seed, 20.0) for seed in range(1000, 1008)])
    assert [len(half) for half in found] == [4, 4]
    # Odd seeds are balanced by one policy, even ones by the other.
    assert [sum(e.seed % 2 for e in half) for half in found] == [2, 2]


@pytest.mark.parametrize(("warned", "hit"), [(20.0, True), (11.0, True), (8.0, False)])
def test_a_forecast_counts_from_ten_seconds_on(warned: float, hit: bool) -> None:
    found = foreseen([episode(0, 20.0)], [episode(1, warned)])
    assert found.hits == [hit]
    assert found.of_possible() == (int(hit), 1)
    assert found.precision == 1.0


def test_each_half_is_judged_by_the_threshold_of_the_other() -> None:
    # In the second half the model says less of the same: its own threshold would find it, the first half's does not.
    fleets = [
        *(episode(seed, 20.0, false=0.8) for seed in (0, 1)),
        *(episode(seed, 20.0, "pauses", 0.7) for seed in (2, 3)),
    ]
    for level_of in (threshold, threshold_of_looks):
        assert crossed(fleets, level_of).by_kind() == {"leak": (2, 2), "pauses": (0, 2)}


def test_a_forecast_that_was_taken_back_before_its_time_foretold_nothing() -> None:
    early = episode(1, 29.0, until=20.0)
    assert foreseen([episode(0, 20.0)], [early]).hits == [True]
    earlier = replace(early, troubles=(Trouble(1, "leak", 0.0, 110.0),))
    at = earlier.asked.at - 20.0  # everything was said twenty seconds earlier, half a minute before it could come true
    said = np.where((earlier.asked.slot == 1) & (at >= -10.0) & (at < 0.0), 0.9, 0.01)
    asked = replace(earlier.asked, said=np.column_stack([said, said]))
    assert foreseen([episode(0, 20.0)], [replace(earlier, asked=asked)]).hits == [False]


def test_an_operator_is_told_once_of_forecasts_that_follow_each_other() -> None:
    e = episode(0, 20.0)
    ill = e.asked.slot == 1

    def told(*spans: tuple[float, float]) -> list[Alarm]:
        sure = np.zeros(len(ill), dtype=bool)
        for begin, end in spans:
            sure |= ill & (e.asked.at >= begin) & (e.asked.at < end)
        return alarms(e, sure)

    # Too early by itself, but it stands until it comes true; or it was taken back long before.
    assert told((10.0, 12.0), (31.0, 33.0)) == [Alarm(10.0, True)]
    assert told((1.0, 3.0), (45.0, 50.0)) == [Alarm(1.0, False), Alarm(45.0, True)]
    # What begins at the breach or in its wake foretells nothing; nor does a single look.
    assert told((BREACH, 100.0)) == []
    assert told((45.0, 45.5)) == []


def test_what_is_said_of_endpoints_that_breach_already_pays_for_no_false_alarm() -> None:
    # Right in every fleet, wrong in as many: rows are mostly of the long breach, and precise; alarms are not.
    fleets = [episode(seed, 20.0, false=0.9) for seed in range(4)]
    assert threshold_of_looks(fleets) == 0.9
    assert precise(fleets, 0.9) == (4, 8)
    assert threshold(fleets) > 1.0
