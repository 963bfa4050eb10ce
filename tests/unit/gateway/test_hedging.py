"""Second copies of slow requests, as conversations without sockets."""

from __future__ import annotations

import pytest

from adaptive.gateway.upstream import Upstream
from adaptive.telemetry import counters
from adaptive.types import Cause, Mark
from tests.unit.gateway.plane_stub import CONFIG, World, make_world, sent

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
OFF = CONFIG.replace("9003]", "9003], hedging: false")


def ready(monkeypatch: pytest.MonkeyPatch, config: str = CONFIG) -> World:
    """A cluster whose p95 is known to be a tenth of a second."""
    world = make_world(monkeypatch, config)
    balancer = world.plane.clusters[0].balancer
    balancer.usual = balancer.tail = 0.1  # type: ignore[attr-defined]
    balancer.medians_due = float("inf")  # type: ignore[attr-defined]
    return world


def slow(world: World, request: bytes = GET) -> tuple[object, Upstream]:
    """A request that has taken longer than most."""
    client = world.client()
    client.data_received(request)
    first = world.open()
    world.pass_time(0.01)
    world.pass_time(0.1)
    return client, first


def test_a_slow_get_goes_out_once_more_elsewhere_and_the_loser_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(monkeypatch)
    client, first = slow(world)
    second = world.open()
    assert second.pool is not first.pool and sent(second) == sent(first)
    second.data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK")  # type: ignore[arg-type]
    assert first.transport.is_closing()
    lost, won = sorted(world.outcomes(), key=lambda row: row["attempt"])
    assert (won["cause"], won["marks"] & Mark.HEDGE, won["marks"] & Mark.FINAL) == (
        Cause.RESPONSE, Mark.HEDGE, Mark.FINAL,
    )  # fmt: skip
    assert lost["cause"] == Cause.CANCELLED and lost["marks"] & Mark.CENSORED and not lost["marks"] & Mark.FINAL
    assert world.plane.row[counters.HEDGES] == 1
    assert all(not lane.in_flight for lane in world.plane.clusters[0].balancer.lanes)


def test_the_first_may_still_win(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(monkeypatch)
    client, first = slow(world)
    second = world.open()
    first.data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK") and second.transport.is_closing()  # type: ignore[arg-type]
    assert sorted(row["cause"] for row in world.outcomes()) == [Cause.RESPONSE, Cause.CANCELLED]


@pytest.mark.parametrize("which", [0, 1])
def test_a_failure_of_one_leaves_the_other_to_answer(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    world = ready(monkeypatch)
    client, first = slow(world)
    pair = [first, world.open()]
    pair[which].data_received(BUSY)
    assert not sent(client) and not world.opening  # type: ignore[arg-type]
    pair[1 - which].data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK")  # type: ignore[arg-type]


def test_when_both_fail_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(monkeypatch)
    client, first = slow(world)
    second = world.open()
    first.connection_lost(ConnectionResetError())
    second.connection_lost(ConnectionResetError())
    world.open().data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK")  # type: ignore[arg-type]


def test_a_client_who_leaves_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(monkeypatch)
    client, first = slow(world)
    second = world.open()
    client.connection_lost(None)  # type: ignore[attr-defined]
    assert first.transport.is_closing() and second.transport.is_closing()
    assert [row["cause"] for row in world.outcomes()] == [Cause.CLIENT_GONE] * 2


@pytest.mark.parametrize("case", ["post", "switched off", "budget", "overload"])
def test_no_copy_goes_out(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    world = ready(monkeypatch, OFF if case == "switched off" else CONFIG)
    cluster = world.plane.clusters[0]
    if case == "budget":
        while cluster.hedges.withdraw(world.now):
            pass
        cluster.hedges.ratio = cluster.hedges.minimum = 0.0
    if case == "overload":
        cluster.admission.held, cluster.admission.due = True, float("inf")
    slow(world, POST if case == "post" else GET)
    assert not world.opening and world.plane.row[counters.ATTEMPTS] == 1


def test_retries_use_the_budget_of_copies_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(monkeypatch)
    hedges = world.plane.clusters[0].hedges
    world.client().data_received(GET)
    world.open().data_received(BUSY)
    assert not hedges.affords(world.now)
