"""What the gateway adds, takes away and leaves alone in header fields."""

from __future__ import annotations

import re

import pytest

from tests.conformance.dataplane.conftest import TRUSTED
from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, answering
from tests.conformance.dataplane.wire import Client, reply

Alone = tuple[str, Origin]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_fields_of_one_hop_are_not_passed_up(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask(
        "/",
        host,
        "Connection: keep-alive, X-Private , x-other",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: trailers",
        "X-Private: 1",
        "X-Other: 1",
        "X-Kept: 1",
    )
    for name in ("keep-alive", "proxy-connection", "proxy-authorization", "x-private", "x-other"):
        assert origin.last.all(name) == [], name
    assert origin.last.get("te") in (None, "trailers")
    assert (origin.last.get("connection") or "keep-alive").lower() in ("keep-alive", "te")
    assert origin.last.get("x-kept") == "1"


def test_fields_of_one_hop_are_not_passed_down(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(
        answering(
            reply(200, b"ok", "Connection: X-Private", "X-Private: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x")
        )
    )
    response = client.ask("/", host)
    for name in ("x-private", "keep-alive", "proxy-connection"):
        assert response.all(name) == [], name
    assert (response.get("connection") or "keep-alive").lower() == "keep-alive"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "X-Forwarded-For"])
def test_connection_cannot_take_away_what_the_message_needs(client: Client, alone: Alone, name: str) -> None:
    """Or a client could strip what a proxy in front of us has added."""
    host, origin = alone
    origin.start()
    response = client.ask("/", host, f"Connection: {name}", "Authorization: x", method="POST", body=b"body")
    assert response.status == 200
    assert (origin.last.get("host"), origin.last.body, origin.last.get("authorization")) == (host, b"body", "x")
    assert origin.last.get("x-forwarded-for") == "127.0.0.1"


def test_via_names_us_in_both_directions(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"ok", "Via: 1.0 inner")))
    response = client.ask("/", host, "Via: 1.1 outer")
    assert ", ".join(origin.last.all("via")) == "1.1 outer, 1.1 adaptive"
    assert ", ".join(response.all("via")) == "1.0 inner, 1.1 adaptive"


def test_a_request_without_via_gets_ours(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask("/", host)
    assert origin.last.get("via") == "1.1 adaptive"


def test_a_request_id_is_made_and_told_to_both_sides(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    made = set()
    for _ in range(5):
        response = client.ask("/", host)
        assert response.get("x-request-id") == origin.last.get("x-request-id")
        made.add(origin.last.get("x-request-id"))
    assert None not in made
    assert len(made) == 5


def test_a_request_id_from_a_trusted_peer_is_kept(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    with plane.client(source=TRUSTED) as client:
        response = client.ask("/", host, "X-Request-Id: from-the-edge-1")
    assert origin.last.get("x-request-id") == "from-the-edge-1"
    assert response.get("x-request-id") == "from-the-edge-1"


def test_a_request_id_from_elsewhere_is_replaced(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    response = client.ask("/", host, "X-Request-Id: forged")
    assert origin.last.get("x-request-id") not in (None, "forged")
    assert response.get("x-request-id") == origin.last.get("x-request-id")


def test_a_gateway_made_answer_has_the_request_id_too(plane: Gateway) -> None:
    with plane.client(source=TRUSTED) as client:
        response = client.ask("/", "nowhere.test", "X-Request-Id: edge-2")
    assert (response.status, response.get("x-request-id")) == (404, "edge-2")


def test_forwarded_fields_are_written_anew_for_strangers(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask(
        "/",
        host,
        "X-Forwarded-For: 10.9.9.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: forged.test",
        "Forwarded: for=10.9.9.9",
        "X-Forwarded-For: 10.8.8.8",
    )
    assert origin.last.get("x-forwarded-for") == "127.0.0.1"
    assert origin.last.get("x-forwarded-proto") == "http"
    assert origin.last.get("x-forwarded-host") == host
    assert not origin.last.all("forwarded") or "10.9.9.9" not in (origin.last.get("forwarded") or "")


def test_forwarded_fields_of_a_trusted_peer_are_added_to(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    with plane.client(source=TRUSTED) as client:
        client.ask(
            "/",
            host,
            "X-Forwarded-For: 203.0.113.7",
            "X-Forwarded-For: 203.0.113.8",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: public.test",
        )
    seen = re.split(r", *", ", ".join(origin.last.all("x-forwarded-for")))
    assert seen == ["203.0.113.7", "203.0.113.8", TRUSTED]
    assert origin.last.get("x-forwarded-proto") == "https"
    assert origin.last.get("x-forwarded-host") == "public.test"


def test_a_trusted_peer_that_says_nothing_is_told_of_itself(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    with plane.client(source=TRUSTED) as client:
        client.ask("/", host)
    assert origin.last.get("x-forwarded-for") == TRUSTED
    assert origin.last.get("x-forwarded-proto") == "http"
    assert origin.last.get("x-forwarded-host") == host


def test_trust_is_of_the_peer_and_not_of_its_bytes(plane: Gateway, alone: Alone) -> None:
    """Equal header blocks from two peers must not share a verdict."""
    host, origin = alone
    origin.start()
    for source, expected in ((TRUSTED, f"203.0.113.7, {TRUSTED}"), ("127.0.0.1", "127.0.0.1"), (TRUSTED, None)):
        with plane.client(source=source) as client:
            client.ask("/", host, "X-Forwarded-For: 203.0.113.7")
        assert origin.last.get("x-forwarded-for") == (expected or f"203.0.113.7, {TRUSTED}")


def test_a_trace_is_continued(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask("/", host, f"traceparent: {TRACE}", "tracestate: a=1", "tracestate: b=2")
    assert (origin.last.get("traceparent") or "").split("-")[1] == TRACE.split("-")[1]
    assert ", ".join(origin.last.all("tracestate")) == "a=1, b=2"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "rubbish",
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "-more",
        "ff" + TRACE[2:],
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
    ],
    ids=["empty", "rubbish", "upper", "short", "long_for_version_0", "version_ff", "no_trace", "no_parent"],
)
def test_a_malformed_trace_is_not_continued(client: Client, alone: Alone, value: str) -> None:
    """W3C Trace Context 3.2.2.3 and 4.3: drop it, and tracestate with it."""
    host, origin = alone
    origin.start()
    client.ask("/", host, f"traceparent: {value}", "tracestate: a=1")
    assert origin.last.get("traceparent") != value
    assert origin.last.all("tracestate") == []


def test_two_traces_are_none(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask("/", host, f"traceparent: {TRACE}", f"traceparent: {TRACE}", "tracestate: a=1")
    assert len(origin.last.all("traceparent")) <= 1
    assert origin.last.all("tracestate") == []


def test_a_trace_of_a_later_version_is_continued(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    client.ask("/", host, f"traceparent: 01{TRACE[2:]}-more")
    assert TRACE.split("-")[1] in (origin.last.get("traceparent") or "")


def test_a_route_changes_fields_both_ways(plane: Gateway, client: Client) -> None:
    host, (origin, *others) = plane.trio("changed")
    for one in (origin, *others):
        one.start(answering(reply(200, b"ok", "Server: inner", "X-Set: inner", "X-Added: 0")))
    response = client.ask("/", host, "X-Gone: 1", "X-Set: client", "X-Set: again", "X-Added: 0")
    asked = next(o.last for o in (origin, *others) if o.requests)
    assert asked.all("x-gone") == []
    assert asked.all("x-set") == ["gateway"]
    assert asked.get("host") == "inner.example"
    assert ", ".join(asked.all("x-added")) in ("0, 1", "0,1")
    assert response.all("server") == []
    assert response.all("x-set") == ["gateway"]
    assert ", ".join(response.all("x-added")) in ("0, 1", "0,1")


def test_the_load_report_of_an_endpoint_is_not_told_on(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"ok", "endpoint-load-metrics: TEXT cpu_utilization=0.3")))
    assert client.ask("/", host).all("endpoint-load-metrics") == []


def test_what_the_gateway_does_not_know_it_leaves_alone(client: Client, alone: Alone) -> None:
    host, origin = alone
    origin.start(answering(reply(200, b"ok", "Server: inner/1.0", "Date: Sun, 06 Nov 1994 08:49:37 GMT")))
    response = client.ask("/", host, "User-Agent: test/1.0", "Accept: */*", "Accept-Encoding: br", "Cookie: a=1; b=2")
    for name, value in (
        ("user-agent", "test/1.0"),
        ("accept", "*/*"),
        ("accept-encoding", "br"),
        ("cookie", "a=1; b=2"),
    ):
        assert origin.last.get(name) == value
    assert response.get("server") == "inner/1.0"
    assert response.get("date") == "Sun, 06 Nov 1994 08:49:37 GMT"
