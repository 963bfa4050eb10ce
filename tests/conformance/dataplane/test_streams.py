"""Long bodies: whole, in order, and held back where a reader is slow; and connections that become tunnels."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, Visit, answering
from tests.conformance.dataplane.wire import Client, read_response_head, reply, request, request_body, response_body

Alone = tuple[str, Origin]

MIB = 1 << 20
BLOCK = bytes(range(256)) * 256  # 64 KiB
LARGE = 128 * MIB
# What may be under way in a stalled stream: two sockets' kernel buffers (up to 6 MB each by default on Linux, on both
# sides) and the gateway's own; far less than the stream, or it would prove nothing.
UNDER_WAY = 48 * MIB
GROWTH = 32 * MIB

_pause = threading.Event()


def memory(gateway: Gateway) -> int:
    """The workers' peak resident memory in bytes."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in gateway.workers()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )


def settled(value: list[int]) -> int:
    """A counter once it has stopped for half a second, which is what a stall looks like from outside."""
    before = -1
    for _ in range(40):
        if value[0] == before:
            return before
        before = value[0]
        _pause.wait(0.5)
    raise AssertionError("the stream never stalled")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_slow_reader_holds_the_origin_back(plane: Gateway, alone: Alone, framing: str) -> None:
    """Several seconds: 128 MiB go through, after a stall that must fill every buffer on the way."""
    host, origin = alone
    sent = [0]
    digest = hashlib.sha256()

    def script(visit: Visit) -> None:
        visit.next()
        fields = {"length": f"Content-Length: {LARGE}", "chunked": "Transfer-Encoding: chunked", "close": "X-A: b"}
        visit.send(f"HTTP/1.1 200 Fine\r\n{fields[framing]}\r\n\r\n".encode())
        piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
        for _ in range(LARGE // len(BLOCK)):
            visit.send(piece)
            digest.update(BLOCK)
            sent[0] += len(BLOCK)
        if framing == "chunked":
            visit.send(b"0\r\n\r\n")

    origin.start(script)
    before = memory(plane)
    with plane.client(timeout=30, receive_buffer=65536) as client:
        client.send(request("/", host, "X-Slow: reader"))
        response = read_response_head(client)
        assert settled(sent) < UNDER_WAY
        got = hashlib.sha256()
        count = 0
        for piece in response_body(client, response, "GET"):
            got.update(piece)
            count += len(piece)
    assert count == LARGE
    assert got.digest() == digest.digest()
    assert memory(plane) - before < GROWTH


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_slow_origin_holds_the_client_back(plane: Gateway, alone: Alone, framing: str) -> None:
    """Several seconds, as above."""
    host, origin = alone
    go = threading.Event()
    got = hashlib.sha256()
    sent = [0]

    def script(visit: Visit) -> None:
        asked = visit.next_head()
        assert asked is not None
        assert go.wait(30)
        for piece in request_body(visit, asked):
            got.update(piece)
        visit.send(reply())

    origin.start(script)
    before = memory(plane)
    with plane.client(timeout=30) as client:
        line = f"Content-Length: {LARGE}" if framing == "length" else "Transfer-Encoding: chunked"
        client.send(request("/", host, line, method="POST"))
        piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK

        def upload() -> None:
            for _ in range(LARGE // len(BLOCK)):
                client.send(piece)
                sent[0] += len(BLOCK)
            if framing == "chunked":
                client.send(b"0\r\n\r\n")

        sender = threading.Thread(target=upload, daemon=True)
        sender.start()
        origin.wait(lambda o: len(o.begun) == 1)
        assert settled(sent) < UNDER_WAY
        go.set()
        sender.join(30)
        assert not sender.is_alive()
        assert client.response().status == 200
    expected = hashlib.sha256()
    for _ in range(LARGE // len(BLOCK)):
        expected.update(BLOCK)
    assert got.digest() == expected.digest()
    assert memory(plane) - before < GROWTH


def test_a_large_body_is_echoed_whole(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            visit.send(reply(200, asked.body))

    origin.start(script)
    body = hashlib.shake_256(b"seed").digest(5 * MIB)
    for _ in range(2):
        assert client.ask("/", host, method="POST", body=body).body == body


def test_a_reader_who_hangs_up_stops_the_origin(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    stopped = threading.Event()

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(b"HTTP/1.1 200 Fine\r\n\r\n")
        try:
            for _ in range(LARGE // len(BLOCK)):
                visit.send(BLOCK)
        except OSError:
            stopped.set()

    origin.start(script)
    client = plane.client()
    client.send(request("/", host))
    read_response_head(client)
    client.reset()
    assert stopped.wait(10), "the origin was left talking to nobody"


def test_a_pipeline_behind_a_slow_reader_is_bounded(plane: Gateway, alone: Alone) -> None:
    """Responses wait for their turn without being heaped up: 64 of 4 MiB each, asked for at once."""
    host, origin = alone
    body = BLOCK * 64
    origin.start(answering(reply(200, body)))
    before = memory(plane)
    with plane.client(timeout=30, receive_buffer=65536) as client:
        client.send(b"".join(request(f"/{n}", host) for n in range(64)))
        _pause.wait(1.0)
        for _ in range(64):
            assert client.response().body == body
    assert memory(plane) - before < GROWTH


def test_a_websocket_works_through_it(plane: Gateway, alone: Alone) -> None:
    host, origin = alone

    def echo(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    origin.sock.listen(16)
    server = websockets.sync.server.serve(echo, sock=origin.sock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with websockets.sync.client.connect(
            f"ws://{host}/chat", sock=plane.client().sock, max_size=None, compression=None
        ) as socket:
            for message in ("hello", b"\0\1", "x" * 200_000):
                socket.send(message)
                assert socket.recv(timeout=10) == message
    finally:
        server.shutdown()


UPGRADE = ("Connection: Upgrade", "Upgrade: test/1")
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test/1\r\nX-A: b\r\n\r\n"


def test_a_tunnel_carries_what_was_sent_early_and_ends_with_either_side(plane: Gateway, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        asked = visit.next()
        assert asked is not None
        visit.send(ACCEPTED + b"server first")
        assert visit.exactly(12) == b"client first"
        visit.send(b"\x00\r\n\r\nbye")

    origin.start(script)
    with plane.client() as client:
        client.send(request("/", host, *UPGRADE))
        response = read_response_head(client)
        assert (response.status, response.get("x-a")) == (101, "b")
        assert (response.get("upgrade"), (response.get("connection") or "").lower()) == ("test/1", "upgrade")
        client.send(b"client first")
        assert client.rest() == b"server first\x00\r\n\r\nbye"
    assert (origin.last.get("connection") or "").lower() == "upgrade"
    assert origin.last.get("upgrade") == "test/1"


def test_a_tunnel_ends_at_the_origin_when_the_client_leaves(plane: Gateway, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(ACCEPTED)
        visit.rest()

    origin.start(script)
    with plane.client() as client:
        client.send(request("/", host, *UPGRADE))
        assert read_response_head(client).status == 101
    origin.wait(lambda o: o.open_visits == 0)


@pytest.mark.parametrize("first", ["client", "origin"])
def test_a_tunnel_whose_both_sides_have_left_is_closed(plane: Gateway, alone: Alone, first: str) -> None:
    """Two closed halves are a closed connection; what keeps one open runs out of descriptors."""
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(ACCEPTED)
        if first == "client":
            visit.rest()

    origin.start(script)
    before = plane.sockets()
    for _ in range(20):
        with plane.client() as client:
            client.send(request("/", host, *UPGRADE))
            assert read_response_head(client).status == 101
            if first == "origin":
                assert client.rest() == b""
    for _ in range(60):
        if plane.sockets() <= before + 5:
            return
        _pause.wait(0.1)
    raise AssertionError(f"{before} sockets before, {plane.sockets()} after 20 tunnels have ended")


def test_a_tunnel_has_back_pressure_too(plane: Gateway, alone: Alone) -> None:
    """Over a second: the tunnel is left to fill up."""
    host, origin = alone
    sent = [0]

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(ACCEPTED)
        for _ in range(LARGE // len(BLOCK)):
            visit.send(BLOCK)
            sent[0] += len(BLOCK)

    origin.start(script)
    with plane.client(receive_buffer=65536) as client:
        client.send(request("/", host, *UPGRADE))
        assert read_response_head(client).status == 101
        assert settled(sent) < UNDER_WAY


def test_an_upgrade_that_is_refused_leaves_an_ordinary_connection(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(426, b"no", "Upgrade: other/1", "Connection: upgrade"), reply()))
    assert client.ask("/", host, *UPGRADE).status == 426
    assert client.ask("/", host).status == 200


def test_an_upgrade_that_is_ignored_is_an_ordinary_response(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    assert client.ask("/", host, *UPGRADE).body == b"ok"
    assert client.ask("/", host).status == 200


def test_upgrade_without_connection_is_not_passed_on(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    assert client.ask("/", host, "Upgrade: h2c").status == 200
    assert origin.last.all("upgrade") == []


def test_requests_behind_an_upgrade_do_not_slip_into_it(client: Client, alone: Alone) -> None:
    """What was pipelined behind it is the tunnel's if there is one, and a request if there is none: never both."""
    host, origin = alone
    origin.start(answering(reply(400, b"no")))
    client.send(request("/", host, *UPGRADE) + request("/after", host))
    assert client.response().status == 400
    assert client.response().status == 400
    assert [r.target for r in origin.requests] == ["/", "/after"]
