"""No request that two parsers could read in two ways gets through, and what is no request is told so.

The first table is one of inputs that HTTP parsers in use were found to disagree on. For each of them: the status it
deserves, a closed connection, and an origin that never saw it.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin
from tests.conformance.dataplane.wire import Client, Leaving, request

BAD = (400,)
CODING = (400, 501)

# Refused by their head alone: (name, bytes with %H for the host, statuses that are right).
HEADS: list[tuple[str, bytes, tuple[int, ...]]] = [
    (
        "length_and_chunked",
        b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
        BAD,
    ),
    (
        "chunked_and_length",
        b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
        BAD,
    ),
    ("length_twice", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", BAD),
    ("length_differing", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!", BAD),
    ("length_list", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 4, 4\r\n\r\nbody", BAD),
    ("length_signed", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: +4\r\n\r\nbody", BAD),
    ("length_negative", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: -1\r\n\r\n", BAD),
    ("length_hex", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 0x4\r\n\r\nbody", BAD),
    ("length_empty", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length:\r\n\r\n", BAD),
    ("length_spaced", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 4 4\r\n\r\nbody", BAD),
    ("length_underscored", b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 1_0\r\n\r\n0123456789", BAD),
    (
        "length_beyond_64_bits",
        b"POST / HTTP/1.1\r\nHost: %H\r\nContent-Length: 18446744073709551617\r\n\r\nb",
        (400, 413),
    ),
    ("coding_identity", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", CODING),
    (
        "coding_chunked_identity",
        b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        CODING,
    ),
    ("coding_unknown", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", CODING),
    ("coding_gzip_too", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", CODING),
    ("coding_quoted", b'POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', CODING),
    ("coding_empty", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", CODING),
    ("coding_vertical_tab", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", CODING),
    (
        "coding_twice",
        b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CODING,
    ),
    (
        "coding_in_two_fields",
        b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        CODING,
    ),
    ("coding_in_http_1_0", b"POST / HTTP/1.0\r\nHost: %H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("coding_space_before_colon", b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", BAD),
    ("space_before_colon", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A : b\r\n\r\n", BAD),
    ("tab_before_colon", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A\t: b\r\n\r\n", BAD),
    ("no_colon", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A\r\n\r\n", BAD),
    ("no_name", b"GET / HTTP/1.1\r\nHost: %H\r\n: b\r\n\r\n", BAD),
    ("name_with_brackets", b"GET / HTTP/1.1\r\nHost: %H\r\nX[a]: b\r\n\r\n", BAD),
    ("name_beyond_ascii", b"GET / HTTP/1.1\r\nHost: %H\r\nX-\xe4: b\r\n\r\n", BAD),
    ("folded", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\r\n c\r\n\r\n", BAD),
    ("folded_by_a_tab", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\r\n\tc\r\n\r\n", BAD),
    ("folded_first_line", b"GET / HTTP/1.1\r\n Host: %H\r\nHost: %H\r\n\r\n", BAD),
    ("bare_lf", b"GET / HTTP/1.1\nHost: %H\n\n", BAD),
    ("bare_lf_in_one_line", b"GET / HTTP/1.1\r\nHost: %H\nX-A: b\r\n\r\n", BAD),
    ("bare_lf_at_the_end", b"GET / HTTP/1.1\r\nHost: %H\r\n\n", BAD),
    ("bare_cr", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\rX-B: c\r\n\r\n", BAD),
    ("bare_cr_before_the_end", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\r\r\n\r\n", BAD),
    ("nul_in_a_value", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\0c\r\n\r\n", BAD),
    ("nul_in_a_name", b"GET / HTTP/1.1\r\nHost: %H\r\nX-\0A: b\r\n\r\n", BAD),
    ("nul_in_the_target", b"GET /\0 HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("control_in_a_value", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\x01c\r\n\r\n", BAD),
    ("delete_in_a_value", b"GET / HTTP/1.1\r\nHost: %H\r\nX-A: b\x7fc\r\n\r\n", BAD),
    ("no_host", b"GET / HTTP/1.1\r\nX-A: %H\r\n\r\n", BAD),
    ("two_hosts", b"GET / HTTP/1.1\r\nHost: %H\r\nHost: %H\r\n\r\n", BAD),
    ("two_differing_hosts", b"GET / HTTP/1.1\r\nHost: %H\r\nHost: other.test\r\n\r\n", BAD),
    ("host_empty", b"GET / HTTP/1.1\r\nHost:\r\nX-A: %H\r\n\r\n", (400, 404)),
    ("host_list", b"GET / HTTP/1.1\r\nHost: %H, %H\r\n\r\n", BAD),
    ("host_with_a_space", b"GET / HTTP/1.1\r\nHost: %H x\r\n\r\n", BAD),
    ("host_with_a_slash", b"GET / HTTP/1.1\r\nHost: %H/x\r\n\r\n", BAD),
    ("host_with_userinfo", b"GET / HTTP/1.1\r\nHost: u@%H\r\n\r\n", BAD),
    ("host_with_a_query", b"GET / HTTP/1.1\r\nHost: %H?x\r\n\r\n", BAD),
    ("host_with_a_bad_port", b"GET / HTTP/1.1\r\nHost: %H:8x\r\n\r\n", BAD),
    ("host_with_brackets", b"GET / HTTP/1.1\r\nHost: [%H]\r\n\r\n", BAD),
    ("host_beyond_ascii", b"GET / HTTP/1.1\r\nHost: %H\xe4\r\n\r\n", BAD),
    ("target_with_a_space", b"GET /a b HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_missing", b"GET HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_relative", b"GET index.html HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_with_a_fragment", b"GET /a#b HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_beyond_ascii", b"GET /\xe4 HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_with_userinfo", b"GET http://u:p@%H/ HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("target_of_another_scheme", b"GET ftp://%H/ HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("asterisk_with_get", b"GET * HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("two_spaces", b"GET  / HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("two_spaces_before_the_version", b"GET /  HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("tab_in_the_request_line", b"GET\t/ HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("space_before_the_method", b" GET / HTTP/1.1\r\nHost: %H\r\n\r\n", BAD),
    ("space_after_the_version", b"GET / HTTP/1.1 \r\nHost: %H\r\n\r\n", BAD),
    ("no_version", b"GET /\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_of_lower_case", b"GET / http/1.1\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_1_2", b"GET / HTTP/1.2\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_2_0", b"GET / HTTP/2.0\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_0_9", b"GET / HTTP/0.9\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_without_a_minor", b"GET / HTTP/1\r\nHost: %H\r\n\r\n", (400, 505)),
    ("version_of_two_digits", b"GET / HTTP/1.10\r\nHost: %H\r\n\r\n", (400, 505)),
    ("another_protocol", b"GET / RTSP/1.0\r\nHost: %H\r\n\r\n", (400, 505)),
    ("method_of_lower_case", b"get / HTTP/1.1\r\nHost: %H\r\n\r\n", (400, 405, 501)),
    ("method_with_a_bracket", b"G[T / HTTP/1.1\r\nHost: %H\r\n\r\n", CODING),
    ("connect", b"CONNECT %H:443 HTTP/1.1\r\nHost: %H:443\r\n\r\n", (400, 405, 501)),
    ("expect_unknown", b"POST / HTTP/1.1\r\nHost: %H\r\nExpect: 200-maybe\r\nContent-Length: 2\r\n\r\nab", (417,)),
    ("http_2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", (400, 505)),
    ("rubbish", b"\x80\x81\x82 not HTTP at all %H\r\n\r\n", BAD),
    ("smtp", b"EHLO %H\r\nMAIL FROM:<a@b>\r\n\r\n", BAD),
]

# Chunked bodies of a good head: what is wrong follows. The head may have gone on; a whole request may not.
CHUNKED = b"POST / HTTP/1.1\r\nHost: %H\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES: list[tuple[str, bytes]] = [
    ("size_underscored", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("size_signed", b"+4\r\nbody\r\n0\r\n\r\n"),
    ("size_negative", b"-4\r\nbody\r\n0\r\n\r\n"),
    ("size_prefixed", b"0x4\r\nbody\r\n0\r\n\r\n"),
    ("size_missing", b"\r\nbody\r\n0\r\n\r\n"),
    ("size_not_hex", b"zz\r\nbody\r\n0\r\n\r\n"),
    ("size_after_a_space", b" 4\r\nbody\r\n0\r\n\r\n"),
    ("size_beyond_64_bits", b"10000000000000004\r\nbody\r\n0\r\n\r\n"),
    ("size_too_small", b"3\r\nbody\r\n0\r\n\r\n"),
    ("size_too_large", b"5\r\nbody\r\n0\r\n\r\n"),
    ("size_ended_by_lf", b"4\nbody\r\n0\r\n\r\n"),
    ("size_ended_by_cr", b"4\rbody\r\n0\r\n\r\n"),
    ("data_ended_by_lf", b"4\r\nbody\n0\r\n\r\n"),
    ("data_not_ended", b"4\r\nbody0\r\n\r\n"),
    ("extension_with_lf", b"4;a\nb\r\nbody\r\n0\r\n\r\n"),
    ("extension_with_cr", b"4;a\rb\r\nbody\r\n0\r\n\r\n"),
    ("extension_with_nul", b"4;a\0\r\nbody\r\n0\r\n\r\n"),
    ("trailer_with_a_length", b"4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n"),
    ("trailer_with_a_coding", b"4\r\nbody\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("trailer_without_colon", b"4\r\nbody\r\n0\r\nX-A\r\n\r\n"),
    ("trailer_folded", b"4\r\nbody\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
    ("trailer_ended_by_lf", b"4\r\nbody\r\n0\r\nX-A: b\n\r\n"),
    ("trailer_with_nul", b"4\r\nbody\r\n0\r\nX-A: \0\r\n\r\n"),
    ("last_chunk_ended_by_lf", b"4\r\nbody\r\n0\n\r\n"),
]


@pytest.fixture(scope="module")
def target(plane: Gateway) -> tuple[str, Origin]:
    """One origin for every hostile input of the module."""
    host, origin = plane.alone()
    return host, origin.start()


@pytest.fixture
def watched(target: tuple[str, Origin], plane: Gateway) -> Iterator[tuple[str, Origin]]:
    """The origin, which has forgotten earlier tests; afterwards good requests still get through."""
    host, origin = target
    origin.forget()
    yield host, origin
    with plane.client() as client:
        assert client.ask("/after", host).status == 200
    assert origin.last.target == "/after"


def passed_by(origin: Origin, plane: Gateway, host: str) -> bytes:
    """What has reached the origin, once a good request sent later has: order takes the place of waiting."""
    with plane.client() as client:
        assert client.ask("/marker", host).status == 200
    heard = bytes(origin.heard)
    assert heard.count(b"GET /marker HTTP/1.1\r\n") == 1
    return heard[: heard.index(b"GET /marker HTTP/1.1\r\n")]


@pytest.mark.parametrize(("data", "statuses"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_an_ambiguous_head_is_refused_and_never_reaches_the_origin(
    plane: Gateway, watched: tuple[str, Origin], leaving: Leaving, data: bytes, statuses: tuple[int, ...]
) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(data.replace(b"%H", host.encode()))
        response = client.response()
        assert response.status in statuses, (response.status, response.body)
        leaving.expect(client, response, data)  # what follows such a request cannot be trusted to be another one
    assert passed_by(origin, plane, host) == b""


@pytest.mark.parametrize("data", [row[1] for row in HEADS], ids=[row[0] for row in HEADS])
def test_it_is_refused_behind_a_good_request_too(plane: Gateway, watched: tuple[str, Origin], data: bytes) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(request("/good", host) + data.replace(b"%H", host.encode()))
        assert client.response().status == 200
        assert client.response().status >= 400
        assert client.closed()
    assert [r.target for r in origin.requests] == ["/good"]


@pytest.mark.parametrize("data", [row[1] for row in HEADS], ids=[row[0] for row in HEADS])
def test_it_is_refused_byte_by_byte_too(plane: Gateway, watched: tuple[str, Origin], data: bytes) -> None:
    host, origin = watched
    whole = data.replace(b"%H", host.encode())
    with plane.client() as client:
        try:
            for byte in whole:
                client.send(bytes([byte]))
        except ConnectionError:
            pass  # refused before its end
        try:
            assert client.response().status >= 400
        except ConnectionError:
            pass  # the reset that our late bytes earned may overtake the answer
    assert passed_by(origin, plane, host) == b""


@pytest.mark.parametrize("body", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_malformed_chunked_body_is_refused_and_never_completes(
    plane: Gateway, watched: tuple[str, Origin], leaving: Leaving, body: bytes
) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(CHUNKED.replace(b"%H", host.encode()) + body + request("/smuggled", host))
        response = client.response()
        assert response.status == 400
        leaving.expect(client, response, body)
    passed_by(origin, plane, host)
    assert [r.target for r in origin.requests] == ["/marker"]
    assert b"smuggled" not in origin.heard


@pytest.mark.parametrize("body", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_turns_malformed_later_is_cut_off(
    plane: Gateway, watched: tuple[str, Origin], leaving: Leaving, body: bytes
) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(CHUNKED.replace(b"%H", host.encode()) + b"5\r\nfirst\r\n")
        origin.wait(lambda o: b"first" in o.heard)
        client.send(body)
        response = client.response()
        assert response.status == 400
        leaving.expect(client, response, body)
    origin.wait(lambda o: bool(o.wrong))
    assert origin.requests == [], "an origin must never take half a body for a whole one"


def test_an_absolute_target_wins_over_host(plane: Gateway, watched: tuple[str, Origin]) -> None:
    """RFC 9112 3.2.2: a proxy must ignore Host and replace it."""
    host, origin = watched
    with plane.client() as client:
        client.send(f"GET http://{host}/there?q=1 HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n".encode())
        assert client.response().status == 200
    assert origin.last.target == "/there?q=1"
    assert origin.last.get("host") == host
    assert b"elsewhere" not in origin.heard


def test_an_absolute_target_without_a_path_means_the_root(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(f"GET HTTP://{host.upper()} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.response().status == 200
    assert (origin.last.target, origin.last.get("host")) == ("/", host)


def test_options_of_the_whole_server_goes_on_as_an_asterisk(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, origin = watched
    with plane.client() as client:
        assert client.ask("*", host, method="OPTIONS").status == 200
    assert (origin.last.method, origin.last.target) == ("OPTIONS", "*")


def test_chunk_extensions_and_odd_sizes_are_not_passed_on(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, origin = watched
    with plane.client() as client:
        body = b'0004;a=b;c="d"\r\nbody\r\n1;x\r\n!\r\n000;last\r\n\r\n'
        client.send(CHUNKED.replace(b"%H", host.encode()) + body)
        assert client.response().status == 200
    assert origin.last.body == b"body!"
    assert b";" not in origin.heard.partition(b"\r\n\r\n")[2]
    assert not origin.wrong


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_empty_lines_before_a_request_are_forgiven(plane: Gateway, watched: tuple[str, Origin], size: int) -> None:
    """RFC 9112 2.2: a server should ignore at least one. Old clients send one after a body, at any moment."""
    host, _ = watched
    with plane.client() as client:
        for lead in (b"\r\n", b"\r\n\r\n"):
            data = lead + request("/", host)
            for start in range(0, len(data), size):
                client.send(data[start : start + size])
            assert client.response().status == 200


def test_a_bare_lf_before_a_request_is_not(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, _ = watched
    for lead in (b"\n", b"\r\n\n"):
        with plane.client() as client:
            client.send(lead + request("/", host))
            assert client.response().status == 400


def test_a_dot_segment_cannot_leave_its_prefix(plane: Gateway, watched: tuple[str, Origin]) -> None:
    """Either refused or passed on as it is: never resolved by us in one way and by the origin in another."""
    host, origin = watched
    for path in ("/a/../b", "/a/%2e%2e/b", "/a/..", "/./a"):
        with plane.client() as client:
            status = client.ask(path, host).status
            assert status == 400 or (status == 200 and origin.last.target == path)


def test_http_0_9_is_refused(plane: Gateway, watched: tuple[str, Origin]) -> None:
    """By closing, or by a status in either version that the sender may know: it named none itself."""
    host, origin = watched
    with plane.client() as client:
        client.send(b"GET /\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        data = client.rest()
        assert data == b"" or data.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ", b"HTTP/1.1 505 ")), data
    assert passed_by(origin, plane, host) == b""


def test_a_tls_hello_on_the_plain_port_is_turned_away(plane: Gateway, watched: tuple[str, Origin]) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(plane.port, tls=context, name="x.test")


def test_a_refusal_is_a_problem_document_with_an_id(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, _ = watched
    with plane.client() as client:
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n".encode())
        response = client.response()
    assert response.get("content-type") == "application/problem+json"
    problem = json.loads(response.body)
    assert problem["status"] == 400
    assert problem["title"] == "Bad Request"
    assert problem["detail"]
    assert response.get("x-request-id")
    assert (response.get("connection") or "").lower() == "close"


def test_a_refusal_of_head_has_no_body(plane: Gateway, watched: tuple[str, Origin]) -> None:
    with plane.client() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: nowhere.test\r\nConnection: close\r\n\r\n")
        assert client.response("HEAD").status == 404
        assert client.closed()


def test_rubbish_after_the_end_of_a_kept_connection_is_refused(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, origin = watched
    with plane.client() as client:
        client.send(request("/", host, method="POST", body=b"body") + b"XX\r\n\r\n")
        assert client.response().status == 200
        assert client.response().status == 400
        assert client.closed()
    assert len(origin.requests) == 1


def test_a_get_with_a_body_is_not_read_as_two_requests(plane: Gateway, watched: tuple[str, Origin]) -> None:
    host, origin = watched
    inner = request("/smuggled", host)
    with plane.client() as client:
        client.send(request("/", host, body=inner) + request("/second", host))
        assert client.response().status == 200
        assert client.response().status == 200
    assert [r.target for r in origin.requests] == ["/", "/second"]
    assert origin.requests[0].body == inner
