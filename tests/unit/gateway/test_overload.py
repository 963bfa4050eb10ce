"""What the data plane does with requests that its cluster has no room for."""

from __future__ import annotations

import pytest

from adaptive.telemetry import counters
from tests.unit.gateway.plane_stub import World, make_world, sent

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\nbo"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster that is overloaded: one request may be in flight, one may wait, for a tenth of a second."""
    made = make_world(monkeypatch)
    admission = made.plane.clusters[0].admission
    admission.held, admission.limit, admission.least, admission.wait = True, 1, 1, 0.1
    admission.due = float("inf")
    return made


def test_a_request_waits_for_the_one_before_it_and_then_goes_out_whole(world: World) -> None:
    first, second = world.client(), world.client()
    first.data_received(GET)
    second.data_received(POST)
    assert len(world.opening) == 1
    second.data_received(b"dy")
    upstream = world.open()
    upstream.data_received(OK)
    assert sent(first).startswith(b"HTTP/1.1 200 OK")
    _, attempt = world.opening[-1]
    assert attempt.exchange is second.exchange
    other = world.open()
    assert sent(other).endswith(b"\r\n\r\nbody")
    other.data_received(OK)
    assert sent(second).startswith(b"HTTP/1.1 200 OK")
    assert world.plane.clusters[0].admission.in_flight == 0


def test_what_finds_no_room_is_refused_at_once_with_word_of_when_to_come_back(world: World) -> None:
    clients = [world.client() for _ in range(3)]
    for client in clients:
        client.data_received(GET)
    answer = sent(clients[2])
    assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in answer
    assert world.plane.row[counters.SHED] == 1 and world.plane.row[counters.ATTEMPTS] == 1


def test_what_has_waited_too_long_is_refused(world: World) -> None:
    first, second = world.client(), world.client()
    first.data_received(GET)
    second.data_received(GET)
    world.pass_time(0.11)
    assert sent(second).startswith(b"HTTP/1.1 503 ")
    assert not world.plane.clusters[0].admission.waiting


def test_a_client_who_leaves_while_waiting_leaves_nothing_behind(world: World) -> None:
    first, second, third = (world.client() for _ in range(3))
    first.data_received(GET)
    second.data_received(GET)
    second.connection_lost(None)
    third.data_received(GET)
    world.open().data_received(OK)
    assert third.exchange is not None and third.exchange.attempt is not None
    assert world.plane.clusters[0].admission.in_flight == 1
