"""Messages go through whole: methods, framings, interim responses, versions, order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, Visit, answering
from tests.conformance.dataplane.wire import Client, reply, request

Alone = tuple[str, Origin]

CHUNKED_REPLY = (
    b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b"5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 12\r\n\r\n"
)


def once(data: bytes, then: Callable[[Visit], None] = Visit.close) -> Callable[[Visit], None]:
    """A script that answers one request with these bytes, and then closes, or does what it is told."""

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(data)
        then(visit)

    return script


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_methods_pass(client: Client, alone: Alone, method: str) -> None:
    host, origin = alone
    origin.start()
    response = client.ask("/path?query=%20x&y", host, method=method)
    assert (response.status, response.reason) == (200, "Fine")
    assert response.body == (b"" if method == "HEAD" else b"ok")
    assert (origin.last.method, origin.last.target) == (method, "/path?query=%20x&y")
    assert client.ask("/again", host).status == 200


def test_head_keeps_the_length_and_the_connection(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            content = b"" if asked.method == "HEAD" else b"content"
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + content)

    origin.start(script)
    for _ in range(3):
        response = client.ask("/", host, method="HEAD")
        assert (response.status, response.length) == (200, 7)
        assert client.ask("/", host).body == b"content"
    assert origin.visits == 1, "a HEAD response with a length is whole without its body"


def test_head_of_a_chunked_resource_has_no_body(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", reply()))
    assert client.ask("/", host, method="HEAD").status == 200
    assert client.ask("/", host).body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(client: Client, alone: Alone, status: int) -> None:
    host, origin = alone
    origin.start(answering(f"HTTP/1.1 {status} Nothing\r\nETag: x\r\n\r\n".encode(), reply()))
    response = client.ask("/", host)
    assert (response.status, response.reason, response.get("etag")) == (status, "Nothing", "x")
    assert client.ask("/", host).body == b"ok"
    assert origin.visits == 1


def test_304_may_tell_the_length_that_200_would_have(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(b"HTTP/1.1 304 Same\r\nContent-Length: 700\r\n\r\n", reply()))
    assert client.ask("/", host).status == 304
    assert client.ask("/", host).body == b"ok"


def test_204_never_says_a_length(client: Client, alone: Alone) -> None:
    """RFC 9110 8.6: a server must not send Content-Length with 204."""
    host, origin = alone
    origin.start(answering(b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", reply()))
    response = client.ask("/", host)
    assert (response.status, response.length) == (204, None)
    assert client.ask("/", host).body == b"ok"


def test_an_empty_body_is_told_as_such(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"")))
    assert client.ask("/", host).length == 0
    assert client.ask("/", host).length == 0


def test_a_body_with_a_length_passes_up(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    assert client.ask("/", host, method="POST", body=b"x" * 100_000).status == 200
    assert (origin.last.length, len(origin.last.body)) == (100_000, 100_000)
    assert not origin.last.chunked


def test_a_chunked_body_passes_up_with_its_trailers(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(
        request("/", host, "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST")
        + b"5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 12\r\nHost: evil\r\nAuthorization: evil\r\nConnection: x\r\n\r\n"
    )
    assert client.response().status == 200
    assert (origin.last.body, origin.last.chunked) == (b"hello, world", True)
    assert [(name.lower(), value) for name, value in origin.last.trailers] == [("x-sum", "12")]
    assert client.ask("/", host).status == 200


def test_an_empty_chunked_body_passes_up(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(request("/", host, "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n" + request("/2", host))
    assert client.response().status == 200
    assert client.response().status == 200
    assert origin.requests[0].body == b""
    assert [r.target for r in origin.requests] == ["/", "/2"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_chunked_body_passes_up_however_it_is_cut(client: Client, alone: Alone, size: int) -> None:
    host, origin = alone
    origin.start()
    data = request("/", host, "Transfer-Encoding: chunked", method="POST")
    data += b"5\r\nhe\r\n\r\r\n4\r\n\n\r\n\r\r\n0\r\nX-Sum: 9\r\n\r\n" + request("/2", host)
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
    assert [client.response().status for _ in range(2)] == [200, 200]
    assert origin.requests[0].body == b"he\r\n\r\n\r\n\r"
    assert len(origin.requests) == 2


def test_a_chunked_body_passes_down_with_its_trailers(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(CHUNKED_REPLY))
    for _ in range(2):
        response = client.ask("/", host)
        assert (response.body, response.chunked) == (b"hello, world", True)
        assert [(name.lower(), value) for name, value in response.trailers] == [("x-sum", "12")]
    assert origin.visits == 1


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_response_passes_down_however_it_is_cut(client: Client, alone: Alone, size: int) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            for start in range(0, len(CHUNKED_REPLY), size):
                visit.send(CHUNKED_REPLY[start : start + size])

    origin.start(script)
    for _ in range(2):
        assert client.ask("/", host).body == b"hello, world"


def test_pieces_pass_down_as_they_come(client: Client, alone: Alone) -> None:
    """A streamed event must not wait for the next one."""
    host, origin = alone
    read = threading.Semaphore(0)

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(3):
            visit.send(b"9\r\ndata: %d\n\n\r\n" % n)
            assert read.acquire(timeout=10)
        visit.send(b"0\r\n\r\n")

    origin.start(script)
    client.send(request("/", host))
    seen = bytearray()
    for n in range(3):
        while b"data: %d" % n not in seen:
            assert client.fill()
            seen += client.buffer
            client.buffer.clear()
        read.release()


def test_pieces_pass_up_as_they_come(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(request("/", host, "Content-Length: 10", method="POST") + b"12345")
    origin.wait(lambda o: o.heard.endswith(b"12345"))
    client.send(b"67890")
    assert client.response().status == 200
    assert origin.last.body == b"1234567890"


def test_a_response_may_overtake_its_request(client: Client, alone: Alone) -> None:
    """An origin that refuses an upload early is heard at once; the rest of the body is not asked for for ever."""
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next_head()
        visit.send(reply(413, b"too much", "Connection: close"))
        visit.rest()

    origin.start(script)
    client.send(request("/", host, "Content-Length: 1000000", method="POST") + b"x" * 1000)
    response = client.response()
    assert (response.status, response.body) == (413, b"too much")


def test_early_hints_are_passed_on(client: Client, alone: Alone) -> None:
    host, origin = alone
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    origin.start(answering(hints + hints + reply(), reply()))
    response = client.ask("/", host)
    assert (response.status, response.body) == (200, b"ok")
    assert [i.status for i in response.interim] == [103, 103]
    assert response.interim[0].get("link") == "</a.css>; rel=preload"
    assert client.ask("/", host).interim == []


def test_interim_responses_are_kept_from_http_1_0_clients(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply()))
    client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    response = client.response()
    assert (response.status, response.interim) == (200, [])


def test_expect_is_answered_before_the_body_is_sent(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        asked = visit.next_head()
        if asked is not None and asked.get("expect"):
            visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        visit.exactly(4)
        visit.send(reply())
        answering(reply())(visit)

    origin.start(script)
    client.send(request("/", host, "Expect: 100-continue", "Content-Length: 4", method="POST"))
    assert client.line().startswith(b"HTTP/1.1 100 ")
    while client.line():
        pass
    client.send(b"body")
    response = client.response()
    assert response.status == 200
    assert [i.status for i in response.interim] in ([], [100])
    assert client.ask("/", host).status == 200


def test_expect_of_a_client_that_does_not_wait_does_no_harm(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(request("/", host, "Expect: 100-continue", method="POST", body=b"body") + request("/2", host))
    assert client.response().status == 200
    assert client.response().status == 200
    assert origin.requests[0].body == b"body"


def test_an_upload_that_is_refused_is_never_sent(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next_head()
        visit.send(reply(403, b"no", "Connection: close"))
        visit.rest()

    origin.start(script)
    client.send(request("/", host, "Expect: 100-continue", "Content-Length: 4", method="POST"))
    response = client.response()
    assert response.status == 403


def test_http_1_0_gets_a_closed_connection(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(CHUNKED_REPLY))
    client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    response = client.response()
    assert (response.status, response.chunked, response.body) == (200, False, b"hello, world")
    assert client.closed()


def test_http_1_0_may_keep_its_connection(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    for _ in range(2):
        client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n".encode())
        response = client.response()
        assert (response.status, response.body) == (200, b"ok")
        assert (response.get("connection") or "").lower() == "keep-alive"
    assert origin.last.minor == 1, "the origin is spoken to in our own version"


def test_http_1_0_that_keeps_its_connection_sees_the_end_of_an_unknown_length(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(CHUNKED_REPLY))
    client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n".encode())
    response = client.response()
    assert (response.chunked, response.length, response.body) == (False, None, b"hello, world")
    assert (response.get("connection") or "close").lower() == "close"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_that_ends_with_its_connection_is_framed_for_1_1(client: Client, alone: Alone, version: bytes) -> None:
    host, origin = alone
    origin.start(once(b"HTTP/" + version + b" 200 OK\r\nConnection: close\r\n\r\nuntil the end"))
    for _ in range(2):
        response = client.ask("/", host)
        assert (response.chunked, response.body) == (True, b"until the end")
        assert client.buffer == b""


def test_a_body_that_ends_with_its_connection_closes_for_1_0(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(once(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
    client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert client.response().body == b"until the end"
    assert client.closed()


def test_pipelined_requests_are_answered_in_order(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            visit.send(reply(200, asked.target.encode()))

    origin.start(script)
    client.send(b"".join(request(f"/{n}", host) for n in range(20)))
    assert [client.response().body for _ in range(20)] == [b"/%d" % n for n in range(20)]


def test_pipelined_requests_with_bodies_are_answered_in_order(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            visit.send(reply(200, asked.body))

    origin.start(script)
    data = b""
    for n in range(20):
        if n % 2:
            data += request(f"/{n}", host, method="POST", body=b"%d" % n)
        else:
            data += request(f"/{n}", host, "Transfer-Encoding: chunked", method="PUT") + b"2\r\n%02d\r\n0\r\n\r\n" % n
    client.send(data)
    assert [int(client.response().body) for _ in range(20)] == list(range(20))


def test_more_pipelined_requests_than_are_read_ahead_are_all_answered(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(b"".join(request(f"/{n}", host) for n in range(500)))
    assert [client.response().status for _ in range(500)] == [200] * 500


def test_connection_close_is_honoured(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    response = client.ask("/", host, "Connection: close")
    assert (response.get("connection") or "").lower() == "close"
    assert client.closed()


def test_what_follows_connection_close_is_not_a_request(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.send(request("/", host, "Connection: close") + request("/more", host))
    assert client.response().status == 200
    assert client.closed()
    assert [r.target for r in origin.requests] == ["/"]


def test_an_origin_that_closes_costs_the_client_nothing(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(once(reply(200, b"ok", "Connection: close")))
    for n in range(5):
        response = client.ask(f"/{n}", host)
        assert (response.status, response.body) == (200, b"ok")
        assert (response.get("connection") or "").lower() != "close", "closing is between the origin and us"
    assert origin.visits == 5


def test_connections_to_an_origin_are_used_again(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    for n in range(10):
        with plane.client() as client:
            assert client.ask(f"/{n}", host).status == 200
    assert origin.visits == 1


def test_a_response_that_nobody_asked_for_is_never_an_answer(client: Client, alone: Alone) -> None:
    """Bytes on an idle pooled connection belong to no request; taking them for the next answer would mix up users."""
    host, origin = alone
    poison = reply(200, b"poison")
    origin.start(answering(reply() + poison))
    for _ in range(4):
        assert client.ask("/", host).body == b"ok"


def test_obs_text_in_a_value_passes_as_it_is(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"ok", "X-Name: Gr\xfc\xdfe")))
    response = client.ask("/", host, "X-Name: Gr\xfc\xdfe")
    assert (origin.last.get("x-name"), response.get("x-name")) == ("Gr\xfc\xdfe", "Gr\xfc\xdfe")


def test_fields_keep_their_order_and_their_repetition(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"ok", "Set-Cookie: a=1", "X-A: 1", "Set-Cookie: b=2; Path=/")))
    response = client.ask("/", host, "X-A: 1", "Cookie: a", "X-A: 2", "X-A: ")
    assert origin.last.all("x-a") == ["1", "2", ""]
    assert response.all("set-cookie") == ["a=1", "b=2; Path=/"]
