"""What policies may ask of simulated instances is answered quickly, and as if it were worked out anew."""

from __future__ import annotations

import random

import pytest

from replay import library
from replay.simulator.recent import KEPT, Recent
from replay.simulator.simulation import simulate
from replay.simulator.truths import Truths


def test_the_median_is_that_of_the_recent_answers_that_met_about_as_many() -> None:
    rng, recent, told = random.Random(1), Recent(), list[tuple[int, float]]()
    for _ in range(4 * KEPT):
        told.append((rng.randrange(12), rng.choice([0.01, 0.02, 0.04, 0.08])))
        recent.add(*told[-1])
        held = rng.randrange(16)
        last = told[-KEPT:]
        near = sorted(latency for met, latency in last if abs(met - held) <= max(1, held // 4))
        near = near or sorted(latency for _, latency in last)
        assert recent.median(held) == near[len(near) // 2]


@pytest.mark.parametrize("name", ["s4_crash", "s4_unreachable", "s5_pauses", "s7_leak", "s9_rates_that_flip"])
def test_what_is_kept_of_instances_is_how_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, asked = Truths.now, list[int]()

    def compared(self: Truths, now: float) -> tuple[list[float], set[int]]:
        expected, risky = kept(self, now)
        found = [instance.truth(now) for instance in self.instances]
        assert found == [(slot in risky, seconds) for slot, seconds in enumerate(expected)]
        asked.append(len(risky))
        return expected, risky

    monkeypatch.setattr(Truths, "now", compared)
    simulate(library.one(name, 5, 0.7, 1, False, 6.0, 0.04, False), "clairvoyant", 1)
    assert len(asked) > 100
