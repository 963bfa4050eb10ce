"""What the slow loop must keep with every predictor and every cluster policy: it helps, and it never harms.

Each story is a minute of virtual traffic; with the product of settings these take some ten seconds together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptive.controller import Controller, Settings
from adaptive.types import Health
from models.columns import Floats
from models.features import COUNT, SCHEMA
from models.predictor import Predictor, Silent
from tests.simulation.toy import Behaviour, Fleet


class Liar:
    """A predictor that is sure that everyone fails; it must not be able to do harm."""

    name = "liar"
    schema = SCHEMA
    rows = 0

    def predict(self, features: Floats) -> Floats:
        return np.ones(len(features))

    def contributions(self, features: Floats) -> Floats:
        return np.zeros((len(features), COUNT))

    def learn(self, features: Floats, labels: Floats, weights: Floats) -> None:
        self.rows += len(labels)


MODES: dict[str, tuple[Settings, Predictor | None]] = {
    "online": (Settings(), None),
    "rule": (Settings(enabled=False), None),
    "silent": (Settings(), Silent(SCHEMA)),
    "liar": (Settings(), Liar()),
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fleet(mode: str, scenario: Any, size: int = 8, **fields: Any) -> Fleet:
    settings, predictor = MODES[mode]
    made = Fleet(size, scenario, rate=lambda t: 400, settings=settings, **fields)
    made.controller = Controller(made.topology, settings, predictor)
    return made


def test_calm_is_exactly_even(mode: str) -> None:
    made = fleet(mode, lambda t, s: Behaviour(latency=0.03 if t // 5 % 2 else 0.06, errors=0.005)).run(40)
    assert made.moves() == []
    assert {tuple(p.snapshot.weight) for p in made.snapshots()} == {(100,) * 8}


def test_a_crash_is_taken_out_and_comes_back(mode: str) -> None:
    made = fleet(mode, lambda t, s: Behaviour(refused=s == 0 and 10 < t < 14)).run(40)
    assert Health.EJECTED in {after for _, after, _ in made.moves(0)}
    assert made.snapshots()[-1].snapshot.health == [0] * 8
    assert made.moves() == made.moves(0)


def test_while_everything_fails_someone_serves(mode: str) -> None:
    made = fleet(mode, lambda t, s: Behaviour(refused=t > 5)).run(30)
    for p in made.snapshots():
        assert min(p.snapshot.health) < Health.EJECTED
        assert p.snapshot.inconsistencies(made.topology) == []


@pytest.mark.parametrize("policy", ["round_robin", "random", "least_request", "peak_ewma"])
def test_requests_move_nobody_under_a_classical_policy(mode: str, policy: str) -> None:
    made = fleet(mode, lambda t, s: Behaviour(errors=float(s == 0)), size=4, cluster={"policy": policy}).run(10)
    assert made.moves() == []
