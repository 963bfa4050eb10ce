"""What is said of a policy's picks is what the policy itself logged when it made them."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from adaptive.balancer import POLICIES
from adaptive.types import Cluster, Endpoint, Member
from replay.evaluation.attempts import Seen, seen
from replay.evaluation.beside import first_rows, targets
from replay.evaluation.chances import NoDistribution, chances, known
from replay.evaluation.logged import likely
from replay.policies import named
from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate

N = 6
SCENARIO = Scenario(
    "even",
    tuple(Instance(f"127.0.0.1:{9100 + i}", Service(0.02), slots=4) for i in range(N)),
    Load(((0.0, 700.0),)),
    seconds=6.0,
)


def recorded(policy: str) -> Seen:
    run = simulate(SCENARIO, policy, 3, record=True)
    names = {str(i): ("fleet", one.name) for i, one in enumerate(SCENARIO.instances)}
    header = {"clusters": ["fleet"], "endpoints": names}
    return seen(SimpleNamespace(header=header, rows=run.outcomes, partial=""))


@pytest.mark.parametrize("policy", ["least_request", "random", "least_request@random=0.05"])
def test_the_probability_of_each_pick_is_the_logged_one(policy: str) -> None:
    data = recorded(policy)
    told = targets(data, named(policy), 0)
    rows = data.rows[first_rows(data)]
    mine = told[np.arange(len(told)), data.requests.first]
    assert told.sum(axis=1) == pytest.approx(np.ones(len(told)))
    explored = (rows["marks"] & 8) > 0  # whose logged probability is that of the random pick alone
    # A few attempts end in the moment in which another begins, and are counted on the other side of it.
    off = np.abs(mine - rows["propensity"])[~explored]
    assert (off < 0.02).mean() > 0.98


@pytest.mark.parametrize("policy", ["least_request", "peak_ewma", "adaptive"])
def test_the_policy_that_recorded_is_told_from_its_picks(policy: str) -> None:
    found, ahead = likely(recorded(policy))
    assert found == policy and ahead > 0.05


@pytest.mark.parametrize("policy", ["least_request", "peak_ewma", "adaptive", "random"])
def test_asking_often_is_like_picking_often(policy: str) -> None:
    cluster = Cluster("c", 0, tuple(Member(Endpoint("c", "127.0.0.1", 80 + s), s) for s in range(N)))
    balancer = POLICIES[policy](cluster, random.Random(1))
    for slot, count in enumerate((3, 1, 0, 2, 0, 5)):
        for k in range(count):
            balancer.sent(balancer.lanes[slot], (slot, k), 1.0)
    said = chances(balancer, 1.01, True)
    picks = Counter(lane.slot for _ in range(4000) if (lane := balancer.pick(1.01, True)) is not None)
    # 4,000 picks: three standard errors of a share of a half are 0.024.
    assert [picks[lane.slot] / 4000 for lane in balancer.lanes] == pytest.approx(said, abs=0.025)


def test_a_policy_that_cannot_say_is_named() -> None:
    with pytest.raises(NoDistribution, match="SimpleNamespace does not say"):
        known(SimpleNamespace())
