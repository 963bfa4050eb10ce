"""Forecasts are judged by thresholds that other fleets set, and a forecast counts only where it came early enough."""

from __future__ import annotations

import numpy as np
import pytest

from models.features import COUNT
from replay.asking import Table
from replay.episodes import Episode, Trouble
from replay.foretelling import crossed, foreseen, halves

BREACH = 60.0  # seconds from the beginning; the trouble begins at 30


def episode(seed: int, warned: float, kind: str = "leak", level: float = 0.9) -> Episode:
    """Two endpoints, one of them ill; a sure forecast from `warned` seconds before its breach."""
    at = np.repeat(np.arange(0.0, 120.0, 0.5), 2)
    slot = np.tile([0.0, 1.0], len(at) // 2)
    ill = slot == 1
    soon = np.where(ill & (at >= BREACH), 1.0, 0.0)
    ahead = np.where(ill & (at >= BREACH - 30.0), 1.0, 0.0)
    said = np.where(ill & (at >= BREACH - warned), level, 0.01)
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
    fleets = [*(episode(seed, 20.0) for seed in (0, 1)), *(episode(seed, 20.0, "pauses", 0.7) for seed in (2, 3))]
    assert crossed(fleets).by_kind() == {"leak": (2, 2), "pauses": (0, 2)}
