"""Ten gateways in front of one fleet, each of which sees a tenth of the traffic: no herd, no oscillation.

Shares are of the attempts sent in each second. A fleet picked from at random would spread them binomially; that spread
is the measure, for a herd or an oscillation would be wider. The one run simulates ten brains, which takes 8 s of CPU.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from replay.scenario import Clients, Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate
from replay.troubles import fault

N, GATEWAYS, RATE, SEED = 10, 10, 700.0, 501
ILL_FROM, ILL_UNTIL, SECONDS = 5.0, 10.0, 16
SETTLED = 2  # seconds after a change from which on shares are held against the bounds
SPREAD = math.sqrt((1 / N) * (1 - 1 / N) / RATE)  # binomial, of one second's share
FAR = 4.5  # spreads: by chance in one of 150,000 shares, and there are some hundred


@cache
def shares() -> NDArray[np.float64]:
    """(seconds, instances): the first instance is five times slower from ILL_FROM to ILL_UNTIL."""
    one = Instance("10.0.0.1:80", Service(0.04, 0.6), slots=4)
    fleet = [replace(one, name=f"10.0.0.{i + 1}:80") for i in range(N)]
    fleet[0] = replace(fleet[0], faults=(fault("slow", ILL_FROM, ILL_UNTIL, factor=5.0),))
    made = Scenario(
        "ten gateways", tuple(fleet), Load(((0.0, RATE),)), Clients(timeout=4.0), seconds=float(SECONDS), warm=1.0,
        seed=SEED, gateways=GATEWAYS,
    )  # fmt: skip
    run = simulate(made, "adaptive", SEED, record=True, views=False)
    assert run.outcomes is not None and run.failures() == 0
    sent, slot = run.outcomes["sent_at"], run.outcomes["slot"]
    counts = np.histogram2d(sent, slot, bins=(np.arange(SECONDS + 1), np.arange(N + 1)))[0]
    assert counts.sum() > 0.9 * RATE * SECONDS
    return counts / counts.sum(axis=1, keepdims=True)


def test_in_calm_every_instance_has_its_tenth_in_every_second() -> None:
    calm = shares()[1 : int(ILL_FROM)]
    assert np.abs(calm - 1 / N).max() < FAR * SPREAD
    assert calm.std() < 1.25 * SPREAD  # forty shares: by chance in one of a hundred seeds


def test_a_slow_instance_is_left_by_all_at_once_and_nobody_swings_between_the_others() -> None:
    ill = shares()[int(ILL_FROM) + SETTLED : int(ILL_UNTIL)]
    assert ill[:, 0].max() < 0.5 / N
    others = ill[:, 1:]
    assert np.abs(others - others.mean()).max() < FAR * SPREAD


def test_after_it_has_healed_it_is_not_overrun_and_comes_back_to_its_tenth() -> None:
    healed = shares()[int(ILL_UNTIL) :]
    assert healed[:, 0].max() < 1 / N + FAR * SPREAD
    assert np.abs(healed[-1] - 1 / N).max() < FAR * SPREAD
    assert np.diff(healed[:, 0]).min() > -FAR * SPREAD * math.sqrt(2)  # it rises, and does not swing
