"""Requests through the data plane as conversations, without sockets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive.telemetry import counters
from adaptive.types import Cause, Mark
from tests.unit.gateway.plane_stub import CONFIG, World, make_world, sent

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def test_a_request_goes_out_with_its_own_lines_and_its_answer_comes_back(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    head = sent(upstream)
    assert head.startswith(b"GET /a HTTP/1.1\r\nhost: shop.test\r\n")
    assert b"x-forwarded-for: 192.0.2.7\r\n" in head and b"via: 1.1 adaptive\r\n" in head
    world.now += 0.25
    upstream.data_received(OK)
    answer = sent(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nok")
    (row,) = world.outcomes()
    assert (row["cause"], row["status"], row["attempt"]) == (Cause.RESPONSE, 200, 1)
    assert row["first_byte"] - row["sent_at"] == pytest.approx(0.25)
    assert row["marks"] == Mark.REPEATABLE | Mark.FRESH | Mark.FINAL
    assert row["propensity"] == pytest.approx(1 / 3)


def test_the_next_request_uses_the_same_connection_to_the_endpoint(world: World) -> None:
    client = world.client()
    slots = []
    for _ in range(30):
        client.data_received(GET)
        upstream = world.open() if world.opening else client.exchange.attempt.upstream  # type: ignore[union-attr]
        assert upstream is not None
        upstream.data_received(OK)
        slots += [row["slot"] for row in world.outcomes()]
    assert len(world.upstreams) == len(set(slots)) == 3


def test_a_get_whose_endpoint_answers_503_is_answered_by_another(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    world.open().data_received(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    world.open().data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK\r\n")
    rows = world.outcomes()
    assert list(rows["status"]) == [503, 200] and list(rows["attempt"]) == [1, 2]
    assert rows["slot"][0] != rows["slot"][1] and rows["request"][0] == rows["request"][1]


def test_a_post_is_not_sent_again_once_it_may_have_been_acted_on(world: World) -> None:
    client = world.client()
    client.data_received(POST)
    upstream = world.open()
    assert sent(upstream).endswith(b"\r\n\r\nbody")
    upstream.transport.lose()  # type: ignore[attr-defined]
    assert sent(client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert not world.opening
    assert [row["cause"] for row in world.outcomes()] == [Cause.RESET]


def test_a_post_that_could_not_connect_is_sent_to_another_endpoint(world: World) -> None:
    client = world.client()
    client.data_received(POST)
    _, attempt = world.opening.pop()
    attempt.failed(Cause.CONNECT_REFUSED)
    upstream = world.open()
    assert sent(upstream).endswith(b"\r\n\r\nbody")
    upstream.data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_stale_pooled_connection_costs_a_get_nothing_even_when_all_are_stale(world: World) -> None:
    clients = [world.client() for _ in range(9)]
    for client in clients:
        client.data_received(GET)
    for upstream in [world.open() for _ in range(9)]:
        upstream.data_received(OK)
    for client in clients:
        sent(client)
    clients[0].data_received(GET)
    while not world.opening:  # each pooled connection that it is given turns out to be closed
        clients[0].exchange.attempt.upstream.transport.lose()  # type: ignore[union-attr]
    world.open().data_received(OK)
    assert sent(clients[0]).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_experiment_gives_a_share_of_the_requests_to_another_cluster_with_all_their_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four standard errors of 400 draws at a quarter are 0.09."""
    other = CONFIG.replace("routes:", "  api-b: {endpoints: [127.0.0.1:9001, 127.0.0.1:9002], policy: random}\nroutes:")
    config = other.replace("cluster: api,", "cluster: api, experiment: {cluster: api-b, share: 0.25},")
    world = make_world(monkeypatch, config)
    client = world.client()
    failing = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    for number in range(400):
        client.data_received(GET)
        for answer in (OK,) if number % 10 else (failing, OK):
            upstream = world.open() if world.opening else client.exchange.attempt.upstream  # type: ignore[union-attr]
            assert upstream is not None
            upstream.data_received(answer)
    rows = world.outcomes()
    assert len(rows) == 440
    by_request = [set(rows["cluster"][rows["request"] == number]) for number in np.unique(rows["request"])]
    assert all(len(clusters) == 1 for clusters in by_request)
    assert {int(slot) for slot in rows["slot"][rows["cluster"] == 1]} == {3, 4}
    assert abs(sum(clusters == {1} for clusters in by_request) / 400 - 0.25) < 0.09


def test_an_attempt_that_is_never_answered_ends_with_the_routes_time_out_and_is_marked_censored(world: World) -> None:
    client = world.client()
    client.data_received(POST)
    world.open()
    world.pass_time(0.1)
    world.pass_time(2.0)
    assert sent(client).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    (row,) = world.outcomes()
    assert row["cause"] == Cause.TIMEOUT_ROUTE and row["marks"] & Mark.CENSORED and math.isnan(row["first_byte"])


def test_a_client_that_leaves_ends_its_attempt_and_says_nothing_of_the_endpoint(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    client.transport.lose()  # type: ignore[attr-defined]
    assert upstream.transport.is_closing()
    (row,) = world.outcomes()
    assert row["cause"] == Cause.CLIENT_GONE and row["marks"] & Mark.CENSORED


def test_a_response_cut_in_its_body_cuts_the_client_too(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    upstream.transport.lose()  # type: ignore[attr-defined]
    assert client.transport.is_closing()
    assert [row["cause"] for row in world.outcomes()] == [Cause.RESET_BODY]


def test_bytes_after_a_whole_response_close_the_connection_and_reach_nobody(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    upstream.data_received(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert b"evil" not in sent(client)
    assert upstream.transport.is_closing()


def test_retries_stop_when_the_budget_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    frugal = CONFIG.replace("9003]}", "9003], retry_budget: {ratio: 0.0, minimum: 1.0, window: 1s}}")
    world = make_world(monkeypatch, frugal)
    statuses = []
    for _ in range(3):
        client = world.client()
        client.data_received(GET)
        while world.opening:
            world.open().data_received(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        statuses.append(sent(client)[9:12])
    assert statuses == [b"503"] * 3
    assert len(world.outcomes()) == 4  # three requests and the one retry that the budget had


def test_a_slow_client_stops_the_endpoint_and_lets_it_go_on(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    client.pause_writing()
    assert not upstream.transport.reading  # type: ignore[attr-defined]
    client.resume_writing()
    assert upstream.transport.reading  # type: ignore[attr-defined]
    upstream.data_received(b"x" * 100)
    assert len(world.outcomes()) == 1


def test_a_slow_endpoint_stops_the_client(world: World) -> None:
    client = world.client()
    client.data_received(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
    upstream = world.open()
    upstream.pause_writing()
    assert not client.transport.reading  # type: ignore[attr-defined]
    upstream.resume_writing()
    assert client.transport.reading  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"websocket, h2c", b"HTTP/2.0", b"TLS/1.0, HTTP/1.1"])
def test_an_upgrade_to_another_http_is_not_passed_on(world: World, protocol: bytes) -> None:
    client = world.client()
    asked = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n" % protocol
    client.data_received(b"GET /a HTTP/1.1\r\nHost: a\r\n" + asked + b"\r\n")
    head = sent(world.open()).lower()
    assert b"upgrade" not in head and b"http2" not in head


def test_an_address_with_too_many_connections_is_told_429(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, CONFIG + "server: {limits: {connections_per_client: 2}}\n")
    first, second, third = (world.client() for _ in range(3))
    answer = sent(third)
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n") and b"retry-after: 1\r\n" in answer
    assert not sent(first) and not sent(second)
    for gone in (third, first):
        gone.transport.lose()  # type: ignore[attr-defined]
    assert not sent(world.client())
    second.transport.lose()  # type: ignore[attr-defined]
    assert world.plane.by_peer[second.peer] == 1


def test_a_client_that_pipelines_too_much_is_held_and_counted(world: World) -> None:
    client = world.client()
    client.data_received(GET)
    client.data_received(GET * 3000)
    client.data_received(GET)
    assert not client.transport.reading  # type: ignore[attr-defined]
    assert world.plane.row[counters.REJECT_PIPELINE_FULL] == 1


def test_the_requests_in_the_gateway_are_a_gauge(world: World) -> None:
    clients = [world.client() for _ in range(3)]
    for client in clients[:2]:
        client.data_received(GET)
    world.pass_time(0.1)
    assert world.plane.row[counters.REQUESTS_OPEN] == 2
    for upstream in (world.open(), world.open()):
        upstream.data_received(OK)
    world.pass_time(0.1)
    assert world.plane.row[counters.REQUESTS_OPEN] == 0
