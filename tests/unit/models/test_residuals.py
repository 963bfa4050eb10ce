"""What all endpoints show alike is nobody's slowness, and how sure a mean is, is measured and not believed."""

from __future__ import annotations

import numpy as np
import pytest

from models.columns import Floats, Peers
from models.residuals import KNOWN, Residual, Residuals
from tests.unit.models.made import moment

N, EACH, SPREAD, TICK = 8, 4, 0.5, 0.1
PEERS = Peers(np.zeros(N, dtype=np.int64), 1)


class Fleet:
    """Endpoints with so many latencies each tick, all of one log-normal distribution but for `shift`."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.found = Residuals(N)
        self.at = 100.0

    def tick(self, shift: Floats | float = 0.0, seen: int = 30 * EACH * 10) -> Residual:
        """One moment; `seen` latencies are in the window of 30 s."""
        self.at += TICK
        logs = self.rng.normal(-3.0 + shift, SPREAD / np.sqrt(EACH), N) * EACH
        count = np.full(N, float(EACH))
        window = moment(self.at, N, measured=np.full((3, N), seen), log_var=np.full(N, seen * SPREAD**2))
        recent = self.found.take(window, PEERS, TICK, (count, logs, np.zeros(N)))
        beside = self.found.beside(PEERS.others(recent), PEERS, np.zeros(N))
        self.found.learn(self.at, PEERS, TICK, np.zeros(N))
        return beside

    def run(self, ticks: int) -> Fleet:
        for _ in range(ticks):
            self.tick()
        return self


def test_nothing_is_said_before_the_usual_is_known() -> None:
    fleet = Fleet()
    early = [fleet.tick() for _ in range(int(KNOWN / EACH) - 1)]
    assert all(np.isinf(beside.variance).all() and (beside.mean == 0).all() for beside in early)
    assert np.isfinite(fleet.run(2).tick().variance).all()


def test_a_change_of_all_requests_at_once_is_nobodys() -> None:
    fleet = Fleet().run(200)
    said = [np.abs(fleet.tick(1.0).mean) / np.sqrt(fleet.tick(1.0).variance) for _ in range(40)]
    assert np.mean(said) < 1.5  # of a standard error; it would be four and more, were it taken for the endpoints' own
    assert fleet.tick(1.0).expected == pytest.approx(-2.0, abs=0.2)


def test_a_change_of_one_is_its_own_from_the_first_tick() -> None:
    fleet = Fleet().run(200)
    shift = np.where(np.arange(N) == 3, 1.0, 0.0)
    first = fleet.tick(shift)
    assert int(np.argmax(first.mean)) == 3
    assert first.mean[3] == pytest.approx(1.0, abs=4 * np.sqrt(first.variance[3]))


def test_the_spread_survives_a_window_that_was_emptied() -> None:
    fleet = Fleet().run(200)
    assert fleet.tick(seen=1).spread == pytest.approx(SPREAD, abs=0.05)


def test_latencies_that_wait_together_count_for_less() -> None:
    """Half of the variance is shared by all latencies of a second, the endpoint's own."""
    alone, together = Fleet().run(600), Fleet()
    for second in range(60):
        shared = together.rng.normal(0.0, SPREAD, N)
        for _ in range(10):
            together.tick(shared if second > 5 else 0.0)
    assert alone.found.dependence.max() < 1.6
    assert together.found.dependence.min() > 3.0
