"""Every bound and every time-out towards clients is kept, with the status that it deserves."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, Visit, answering
from tests.conformance.dataplane.wire import Client, Truncated, reply, request

Alone = tuple[str, Origin]

# The fixture's time-outs are 700 ms; a shared machine may be late, but not by this much.
SOON = 5.0

_pause = threading.Event()  # never set: waiting for it is a bounded sleep


@pytest.fixture
def alone(tight: Gateway) -> Alone:
    host, origin = tight.alone()
    return host, origin.start()


@pytest.fixture
def client(tight: Gateway) -> Iterator[Client]:
    with tight.client() as connection:
        yield connection


def refused(client: Client, data: bytes, status: int) -> None:
    """The bytes get this status and a closed connection, even if they were not all read."""
    try:
        client.send(data)
    except ConnectionError:
        pass
    assert client.response().status == status
    assert client.closed()


def test_a_head_within_its_bounds_passes(client: Client, alone: Alone) -> None:
    host, origin = alone
    lines = [f"X-{n}: {'v' * 150}" for n in range(15)]
    assert client.ask("/" + "p" * 1000, host, *lines).status == 200
    assert origin.last.get("x-14") == "v" * 150


def test_a_field_that_is_too_long_is_431(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, request("/", host, "X-A: " + "a" * 8192), 431)
    assert not origin.heard


def test_a_huge_field_is_431_before_it_ends(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, f"GET / HTTP/1.1\r\nHost: {host}\r\nX-A: ".encode() + b"a" * 1_000_000, 431)
    assert not origin.heard


def test_too_many_fields_are_431(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, request("/", host, *[f"X-{n}: v" for n in range(40)]), 431)
    assert not origin.heard


def test_a_target_that_is_too_long_is_414(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, request("/" + "p" * 1500, host), 414)
    assert not origin.heard


def test_a_target_without_end_is_414(client: Client, alone: Alone) -> None:
    _, origin = alone
    refused(client, b"GET /" + b"p" * 100_000, 414)
    assert not origin.heard


def test_a_body_that_says_it_is_too_large_is_413_at_once(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, request("/", host, "Content-Length: 65537", method="POST"), 413)
    assert not origin.heard


def test_a_body_of_just_the_bound_passes(client: Client, alone: Alone) -> None:
    host, origin = alone
    assert client.ask("/", host, method="POST", body=b"x" * 65536).status == 200
    assert len(origin.last.body) == 65536


def test_a_chunked_body_that_grows_too_large_is_413(client: Client, alone: Alone) -> None:
    host, origin = alone
    data = request("/", host, "Transfer-Encoding: chunked", method="POST")
    refused(client, data + b"4000\r\n" + b"x" * 0x4000 + b"\r\n" + b"f000\r\n" + b"x" * 0xF000 + b"\r\n", 413)
    assert not origin.requests


def test_a_body_too_large_with_expect_is_refused_before_it_is_sent(client: Client, alone: Alone) -> None:
    host, origin = alone
    refused(client, request("/", host, "Expect: 100-continue", "Content-Length: 99999", method="POST"), 413)
    assert not origin.heard


def test_endless_chunk_framing_is_refused(client: Client, alone: Alone) -> None:
    """A chunk extension costs the sender little and a careless reader much."""
    host, origin = alone
    data = request("/", host, "Transfer-Encoding: chunked", method="POST")
    try:
        client.send(data + b"1;" + b"e" * 400_000)
    except ConnectionError:
        pass
    assert client.response().status in (400, 413)
    assert not origin.requests


def test_endless_trailers_are_refused(client: Client, alone: Alone) -> None:
    host, origin = alone
    data = request("/", host, "Transfer-Encoding: chunked", method="POST")
    try:
        client.send(data + b"1\r\nx\r\n0\r\n" + b"X-A: b\r\n" * 50_000)
    except ConnectionError:
        pass
    assert client.response().status in (400, 413, 431)
    assert not origin.requests


def test_a_slow_head_is_408(client: Client, alone: Alone) -> None:
    """As long as the time-out."""
    host, origin = alone
    client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nX-A".encode())
    assert client.response().status == 408
    assert client.closed()
    assert not origin.heard


def test_a_head_that_trickles_is_408_too(client: Client, alone: Alone) -> None:
    """As long as the time-out: each byte comes in time, the head does not."""
    host, _ = alone
    stop = threading.Event()

    def trickle() -> None:
        for byte in request("/", host, "X-A: " + "a" * 200):
            try:
                client.send(bytes([byte]))
            except OSError:
                return
            if stop.wait(0.1):
                return

    sender = threading.Thread(target=trickle, daemon=True)
    sender.start()
    try:
        client.sock.settimeout(SOON)
        assert client.response().status == 408
    except ConnectionError:
        pass  # the reset that our late bytes earned may overtake the answer
    finally:
        stop.set()
        sender.join()


@pytest.mark.parametrize(
    ("framing", "part"), [("Content-Length: 10", b"12345"), ("Transfer-Encoding: chunked", b"5\r\n12345\r\n")]
)
def test_a_slow_body_is_408(client: Client, alone: Alone, framing: str, part: bytes) -> None:
    """As long as the time-out."""
    host, origin = alone
    client.send(request("/", host, framing, method="POST") + part)
    assert client.response().status == 408
    assert client.closed()
    origin.wait(lambda o: o.open_visits == 0)
    assert not origin.requests


def test_a_silent_connection_is_closed(client: Client, alone: Alone) -> None:
    """As long as the time-out. Nothing was asked, so an answer is not needed, but 408 is allowed."""
    client.sock.settimeout(SOON)
    data = client.rest()
    assert data == b"" or data.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_without_a_word(client: Client, alone: Alone) -> None:
    """As long as the time-out. A 408 on a kept connection would be taken for the answer to the next request."""
    host, _ = alone
    assert client.ask("/", host).status == 200
    assert client.closed(SOON)


def test_a_busy_connection_is_not_idle(client: Client, alone: Alone) -> None:
    """Over a second: longer than the idle time-out, in steps shorter than it."""
    host, _ = alone
    pause = threading.Event()
    for _ in range(5):
        assert client.ask("/", host).status == 200
        pause.wait(0.3)


def test_a_slow_answer_is_not_an_idle_client(client: Client, alone: Alone) -> None:
    """Over a second: longer than every time-out of the client's side."""
    host, origin = alone
    pause = threading.Event()

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            pause.wait(1.0)
            visit.send(reply())

    origin.start(script)
    assert client.ask("/", host).status == 200
    assert client.ask("/", host, method="POST", body=b"body").status == 200


def test_a_client_that_never_reads_is_cut_off(tight: Gateway, alone: Alone) -> None:
    """As long as the write time-out."""
    host, origin = alone
    origin.start(answering(reply(200, b"x" * 50_000_000)))
    with tight.client(receive_buffer=4096, timeout=SOON) as client:
        client.send(request("/", host))
        origin.wait(lambda o: len(o.requests) == 1)
        origin.wait(lambda o: o.open_visits == 0)
        with pytest.raises((Truncated, ConnectionError)):
            client.response()


def test_connections_beyond_the_bound_are_refused_and_the_rest_go_on(tight: Gateway, alone: Alone) -> None:
    host, _ = alone
    clients = []
    try:
        for _ in range(16):
            client = tight.client()
            clients.append(client)
            assert client.ask("/", host).status == 200
        with tight.client() as late:
            try:
                assert late.ask("/", host).status == 503
            except (Truncated, ConnectionError):
                pass  # closed unheard: as clear to a client
        assert clients[0].ask("/", host).status == 200
    finally:
        for client in clients:
            client.close()
    for _ in range(100):
        with tight.client() as again:
            try:
                if again.ask("/", host).status == 200:
                    return
            except (Truncated, ConnectionError):
                continue
    raise AssertionError("connections that have gone still count")


def test_more_requests_than_may_wait_are_answered_in_their_turn(client: Client, alone: Alone) -> None:
    host, origin = alone
    client.send(b"".join(request(f"/{n}", host) for n in range(100)))
    assert [client.response().status for _ in range(100)] == [200] * 100
    assert [r.target for r in origin.requests] == [f"/{n}" for n in range(100)]


def test_refusals_leave_no_connection_behind(tight: Gateway, alone: Alone) -> None:
    """Over a second: the gateway reads on for a while, so that its answer is not destroyed by a reset."""
    host, _ = alone
    before = tight.sockets()
    for _ in range(64):
        with tight.client() as client:
            refused(client, request("/" + "p" * 1500, host), 414)
    for _ in range(60):
        if tight.sockets() <= before + 5:
            break
        _pause.wait(0.1)
    assert tight.sockets() <= before + 5
    with tight.client() as client:
        assert client.ask("/", host).status == 200
