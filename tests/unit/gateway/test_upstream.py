"""What cannot be sent twice goes out only where the kernel knows of no end, and at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from adaptive.gateway.upstream import Upstream
from tests.unit.gateway.plane_stub import CONFIG, Transport, World, make_world, sent

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ALONE = CONFIG.replace("[127.0.0.1:9001, 127.0.0.1:9002, 127.0.0.1:9003]", "[127.0.0.1:9001]")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch, ALONE)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def pooled(world: World, sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """A connection that has carried one request, over a real socket."""
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    upstream.data_received(OK)
    sent(upstream)
    transport: Any = upstream.transport
    monkeypatch.setattr(transport, "get_extra_info", lambda name, default=None: sock if name == "socket" else default)
    return upstream


def test_a_post_does_not_go_out_on_a_connection_whose_end_lies_unread(
    world: World, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = pooled(world, pair[0], monkeypatch)
    pair[1].close()
    world.client().data_received(POST)
    assert sent(upstream) == b""
    assert upstream.transport.is_closing()
    assert sent(world.open()).startswith(b"POST /a ")


def test_a_post_goes_out_at_once_on_a_connection_that_stands(
    world: World, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = pooled(world, pair[0], monkeypatch)
    world.client().data_received(POST)
    assert not world.opening
    assert sent(upstream) == b""
    pair[1].setblocking(False)
    assert pair[1].recv(4096).startswith(b"POST /a ")


def test_what_the_kernel_does_not_take_goes_the_usual_way(
    world: World, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = pooled(world, pair[0], monkeypatch)
    with pytest.raises(BlockingIOError):
        while True:
            pair[0].send(bytes(65536))
    world.client().data_received(POST)
    assert sent(upstream).startswith(b"POST /a ")


def test_nothing_overtakes_bytes_that_wait_in_the_transport(
    world: World, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = pooled(world, pair[0], monkeypatch)
    monkeypatch.setattr(Transport, "get_write_buffer_size", lambda self: 10)
    world.client().data_received(POST)
    assert sent(upstream).startswith(b"POST /a ")


def test_a_get_takes_the_connection_without_asking(
    world: World, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = pooled(world, pair[0], monkeypatch)
    pair[1].close()
    world.client().data_received(GET)
    assert sent(upstream).startswith(b"GET /a ")
