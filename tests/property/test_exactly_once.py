"""Whatever happens in whatever order: each attempt gives one outcome, and nothing stays counted as in flight."""

from __future__ import annotations

import asyncio
import random

import pytest

from adaptive.gateway.client import ClientConnection
from adaptive.gateway.upstream import Upstream
from adaptive.telemetry import counters
from adaptive.types import Cause
from tests.unit.gateway.plane_stub import World, make_world

REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    b"c\r\n0\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"rubbish\r\n\r\n",
)
REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"no HTTP\r\n\r\n",
    b"HTTP/1.1 2",
)
# Weighted so that most requests get somewhere before something happens to them.
VERBS = ("ask",) * 6 + ("open",) * 6 + ("reply",) * 8 + ("leave",) * 3 + ("refuse", "eof", "reset", "wait")
STEPS = 250


def _connected(world: World) -> list[Upstream]:
    return [upstream for upstream in world.upstreams if not upstream.transport.is_closing()]


def _step(world: World, clients: list[ClientConnection], verb: str, index: int, extra: object) -> None:
    world.now += 0.001
    if verb == "ask":
        client = clients[index]
        if client.transport.is_closing() or client.lost:
            client = clients[index] = world.client()
        client.data_received(extra)  # type: ignore[arg-type]
    elif verb == "leave" and not clients[index].lost:
        clients[index].transport.lose()  # type: ignore[attr-defined]
    elif verb == "wait":
        world.pass_time(index * 0.1)
    elif verb in ("open", "refuse") and world.opening:
        if verb == "open":
            world.open(index % len(world.opening))
        else:
            pool, attempt = world.opening.pop(index % len(world.opening))
            pool.total -= 1
            attempt.failed(extra)
    elif connected := _connected(world):
        upstream = connected[index % len(connected)]
        if verb == "reply":
            upstream.data_received(extra)  # type: ignore[arg-type]
        elif (verb == "eof" and not upstream.eof_received()) or verb == "reset":
            upstream.transport.lose()  # type: ignore[attr-defined]


def _random_step(world: World, clients: list[ClientConnection], rng: random.Random) -> None:
    verb = rng.choice(VERBS)
    extra: object = None
    if verb == "ask":
        extra = rng.choice(REQUESTS)
    elif verb == "reply":
        extra = rng.choice(REPLIES[:1] * 4 + REPLIES)
    elif verb == "refuse":
        extra = rng.choice((Cause.CONNECT_REFUSED, Cause.CONNECT_FAILED))
    _step(world, clients, verb, rng.randrange(len(clients)) if verb in ("ask", "leave") else rng.randrange(40), extra)


@pytest.mark.parametrize("seed", range(40))
async def test_each_attempt_is_closed_exactly_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    world = make_world(monkeypatch)
    clients = [world.client() for _ in range(3)]
    for _ in range(STEPS):
        _random_step(world, clients, rng)
        await asyncio.sleep(0)  # a pipelined request is taken up by the loop
    for client in list(world.plane.clients):
        client.transport.lose()  # type: ignore[attr-defined]
    rows = world.outcomes()
    pairs = list(zip(rows["request"], rows["attempt"], strict=True))
    assert len(pairs) == len(set(pairs)) == world.plane.row[counters.ATTEMPTS] > 10
    assert len(set(rows["cause"])) >= 4, "the steps reach too few endings to prove anything"
    for cluster in world.plane.clusters:
        assert cluster.admission.in_flight == 0 and cluster.admission.waiting == 0
        assert all(not lane.in_flight and not lane.outstanding for lane in cluster.balancer.lanes)
    assert world.plane.row[counters.CONNECTIONS_OPEN] == 0
    assert all(upstream.attempt is None for upstream in world.upstreams)
