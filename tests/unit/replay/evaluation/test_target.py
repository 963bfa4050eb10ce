"""A recording told to a target policy's balancer: what it hears, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Collection

import numpy as np
import pytest

from adaptive.lanes import Lane, Lanes
from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import Cause, Cluster, Endpoint, Mark, Member
from replay.evaluation.chances import NoDistribution
from replay.evaluation.target import decisions, features

SLOTS = (3, 5, 8)
CLUSTER = Cluster("c", 0, tuple(Member(Endpoint("c", "127.0.0.1", 80 + s), s) for s in SLOTS))


class Least(Lanes):
    """All of the probability to the lane with the fewest attempts in flight, the first of equals; not where it was."""

    def distribution(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> list[float]:
        costs = [(lane.slot in tried, lane.load, i) for i, lane in enumerate(self.lanes)]
        return [float(cost == min(costs)) for cost in costs]

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        raise AssertionError("a recording is not picked anew")


def least(rng: random.Random) -> Least:
    return Least(CLUSTER, rng)


def rows(*told: tuple[float, float, int, int, int]) -> np.ndarray:
    """(sent_at, done, slot, request, worker) of answered attempts."""
    out = np.zeros(len(told), OUTCOME_DTYPE)
    for i, (sent, done, slot, request, worker) in enumerate(told):
        row = {"sent_at": sent, "first_byte": done, "done": done, "slot": slot, "request": request, "worker": worker}
        for name, value in row.items():
            out[name][i] = value
    out["cause"], out["status"], out["marks"] = int(Cause.RESPONSE), 200, int(Mark.REPEATABLE)
    return out


def test_the_target_sees_the_queues_that_the_recording_made() -> None:
    told = rows((0.0, 5.0, 3, 1, 0), (1.0, 2.0, 5, 2, 0), (1.5, 9.0, 8, 3, 0), (2.0, 3.0, 3, 4, 0), (6.0, 7.0, 8, 5, 0))
    found = decisions(told, least, 0)
    assert found.target.argmax(axis=1).tolist() == [0, 1, 2, 1, 0]  # at 2.0 slot 5 has just answered
    assert found.of_pick().tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_a_further_attempt_minds_where_its_request_has_been() -> None:
    told = rows((0.0, 1.0, 3, 1, 0), (2.0, 3.0, 5, 1, 0), (4.0, 5.0, 3, 2, 0))
    assert decisions(told, least, 0).target.argmax(axis=1).tolist() == [0, 1, 0]


def test_rows_may_come_in_any_order() -> None:
    told = rows((0.0, 5.0, 3, 1, 0), (1.0, 2.0, 5, 2, 0), (1.5, 9.0, 8, 3, 0))
    found = decisions(told[[2, 0, 1]], least, 0)
    assert found.row.tolist() == [1, 2, 0]
    assert (found.target == decisions(told, least, 0).target).all()


def test_a_worker_knows_the_attempts_of_the_others() -> None:
    told = rows((0.0, 5.0, 3, 1, 0), (1.0, 2.0, 5, 2, 1), (1.5, 9.0, 8, 3, 0))
    assert decisions(told, least, 0).target.argmax(axis=1).tolist() == [0, 1, 2]


def test_a_pick_that_the_target_has_no_lane_for_has_no_chance() -> None:
    found = decisions(rows((0.0, 1.0, 4, 1, 0)), least, 0)
    assert found.lane.tolist() == [-1]
    assert found.of_pick().tolist() == [0.0]


def test_a_policy_that_cannot_say_is_named() -> None:
    class Silent:
        lanes: tuple[Lane, ...] = ()

    with pytest.raises(NoDistribution, match="Silent does not say"):
        decisions(rows((0.0, 1.0, 3, 1, 0)), lambda rng: Silent(), 0)


def test_features_count_what_was_in_flight_and_remember_what_was_answered() -> None:
    told = rows((0.0, 5.0, 3, 1, 0), (1.0, 2.0, 5, 2, 0), (1.5, 9.0, 3, 3, 0), (6.0, 7.0, 5, 4, 0))
    told["status"][1] = 503
    found = features(told, SLOTS)
    assert found[:, 0, 0].tolist() == [0, 1, 1, 1]
    assert found[:, 1, 0].tolist() == [0, 0, 1, 0]
    assert found[:, 0, 2].tolist() == [0, 1, 2, 1]
    assert found[3, :, 3].tolist() == [5.0, 1.0, 0.0]
    assert found[3, :, 4].tolist() == [0.0, 1.0, 0.0]
