"""A few forged outcomes must not turn the gateway against a healthy endpoint.

What one bad instance can forge are its own load reports; what a hostile client can are cancels, of requests that go
anywhere. A forged hundredth of all outcomes is either here, for half a minute, on top of ordinary traffic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptive.controller import Controller
from adaptive.telemetry.columns import OUTCOME_DTYPE
from adaptive.types import (
    Cause,
    Cluster,
    Endpoint,
    Health,
    InFlightSeen,
    Mark,
    Member,
    Moved,
    OutcomesSeen,
    Tick,
    Topology,
)

N, RATE, SECONDS = 8, 40, 30.0  # endpoints, requests a second each


def fleet() -> Controller:
    members = tuple(Member(Endpoint("api", f"10.0.0.{i}", 80), i, 1.0, 0, "") for i in range(N))
    return Controller(Topology(1, (Cluster("api", 0, members, "adaptive"),), N))


def traffic(rng: np.random.Generator, at: float) -> np.ndarray[Any, Any]:
    count = round(N * RATE * 0.1)
    made = np.zeros(count, OUTCOME_DTYPE)
    made["slot"] = rng.integers(0, N, count)
    made["done"] = made["first_byte"] = at - rng.random(count) * 0.1
    made["sent_at"] = made["done"] - rng.lognormal(-3.5, 0.4, count)
    made["load_cpu"] = made["load_app"] = np.where(made["slot"] == 0, 0.5, np.nan)
    made["cause"], made["status"] = int(Cause.RESPONSE), 200
    return made


def cancelled(made: np.ndarray[Any, Any], forged: np.ndarray[Any, Any]) -> None:
    """A client that waits half a second and hangs up, and says that it was the endpoint."""
    made["cause"][forged], made["status"][forged] = int(Cause.CLIENT_GONE), 0
    made["marks"][forged] |= int(Mark.CENSORED)
    made["sent_at"][forged] = made["done"][forged] - 0.5
    made["first_byte"][forged] = np.nan


def boasting(made: np.ndarray[Any, Any], forged: np.ndarray[Any, Any]) -> None:
    """The bad instance, slot 0, says that it is idle, or that it burns."""
    mine = made["slot"] == 0
    made["load_cpu"][mine] = np.where(np.arange(mine.sum()) % 2, 0.0, 10.0)
    made["load_app"][mine] = made["load_cpu"][mine]


@pytest.mark.parametrize("forge", [cancelled, boasting])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_forged_hundredth_moves_no_healthy_endpoint(forge: Any, seed: int) -> None:
    """Half a minute of eight endpoints: some two seconds."""
    rng = np.random.default_rng(seed)
    controller = fleet()
    moved: list[Moved] = []
    for tick in range(round(SECONDS * 10)):
        at = 100.0 + 0.1 * tick
        made = traffic(rng, at)
        forged = np.zeros(len(made), dtype=bool)
        if tick > 50:
            # All of a hostile client's requests may go to one endpoint, by a sticky key or by luck: slot 3.
            forged = (rng.random(len(made)) < 0.01 * (N if forge is cancelled else 1)) & (made["slot"] == 3)
            forge(made, forged)
        controller.handle(OutcomesSeen(at, made))
        controller.handle(InFlightSeen(at, np.ones(N), np.full(N, at - 0.02)))
        moved += [c for c in controller.handle(Tick(at)) if isinstance(c, Moved)]
    assert [m for m in moved if m.after > Health.DEGRADED] == []
    assert [m for m in moved if m.endpoint.host != "10.0.0.0"] == []
