"""What an endpoint does wrong, and what its client sees of it: another endpoint's answer, or the right status."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.conformance.dataplane.conftest import TRUSTED
from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, Visit, answering
from tests.conformance.dataplane.wire import Client, Truncated, read_response_head, reply, request, response_body

Alone = tuple[str, Origin]
Trio = tuple[str, list[Origin]]
Script = Callable[[Visit], None]

REPEATABLE = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]
ONE_TIME = ["POST", "PATCH"]
ROUNDS = 8  # requests that go round three endpoints often enough for each to be asked


def slamming(visit: Visit) -> None:
    """Reads a request and closes without a word."""
    visit.next()


def resetting(visit: Visit) -> None:
    """Reads a request and resets the connection."""
    visit.next()
    visit.reset()


def hanging(visit: Visit) -> None:
    """Reads a request and says nothing until the gateway gives up."""
    visit.next()
    visit.rest()


def saying(data: bytes) -> Script:
    """Answers every request with these bytes, and closes."""

    def script(visit: Visit) -> None:
        if visit.next() is not None:
            visit.send(data)

    return script


def asked(origins: list[Origin]) -> list[int]:
    """How many requests each has seen the head of."""
    return [len(o.begun) for o in origins]


@pytest.mark.parametrize("method", [*REPEATABLE, *ONE_TIME])
def test_a_refused_connection_is_tried_elsewhere_for_any_method(plane: Gateway, trio: Trio, method: str) -> None:
    host, origins = trio
    origins[2].start()
    with plane.client() as client:
        for n in range(ROUNDS):
            body = b"body" if method in ("POST", "PUT", "PATCH") else b""
            assert client.ask(f"/{n}", host, method=method, body=body).status == 200
    assert asked(origins) == [0, 0, ROUNDS]


def test_when_every_endpoint_refuses_it_is_502(client: Client, trio: Trio) -> None:
    host, _ = trio
    response = client.ask("/", host)
    assert response.status in (502, 503)
    assert response.get("content-type") == "application/problem+json"
    assert json.loads(response.body)["status"] == response.status
    assert client.ask("/", host).status in (502, 503), "the connection goes on"


def test_a_lone_endpoint_that_refuses_is_502_until_it_is_back(client: Client, alone: Alone) -> None:
    host, origin = alone
    assert client.ask("/", host).status in (502, 503)
    origin.start()
    for _ in range(50):
        if client.ask("/", host).status == 200:
            return
    raise AssertionError("the only endpoint there is was not asked again")


@pytest.mark.parametrize("fault", [slamming, resetting], ids=["closes", "resets"])
@pytest.mark.parametrize("method", REPEATABLE)
def test_a_repeatable_request_survives_a_lost_connection(
    plane: Gateway, trio: Trio, method: str, fault: Script
) -> None:
    host, origins = trio
    for origin, script in zip(origins, (fault, fault, answering(reply())), strict=True):
        origin.start(script)
    with plane.client() as client:
        for n in range(ROUNDS):
            assert client.ask(f"/{n}", host, method=method).status == 200
    assert len(origins[2].requests) == ROUNDS


@pytest.mark.parametrize("method", ONE_TIME)
def test_what_may_not_be_sent_twice_is_not(plane: Gateway, trio: Trio, method: str) -> None:
    host, origins = trio
    for origin in origins:
        origin.start(slamming)
    with plane.client() as client:
        for n in range(3):
            assert client.ask(f"/{n}", host, method=method, body=b"body").status == 502
    assert sum(asked(origins)) == 3, "each request once"


def test_a_request_goes_to_no_endpoint_twice(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    for origin in origins:
        origin.start(slamming)
    with plane.client() as client:
        assert client.ask("/only", host).status == 502
    assert asked(origins) == [1, 1, 1], "two retries, and never the same instance while there is another"


def test_a_route_without_retries_tries_once(plane: Gateway) -> None:
    host, origins = plane.trio("once")
    for origin in origins:
        origin.start(slamming)
    with plane.client() as client:
        assert client.ask("/", host).status == 502
    assert sum(asked(origins)) == 1


def test_an_unavailable_endpoint_is_passed_over_for_repeatable_requests(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    for origin, status in zip(origins, (503, 503, 200), strict=True):
        origin.start(answering(reply(status, b"%d" % status)))
    with plane.client() as client:
        for n in range(ROUNDS):
            assert client.ask(f"/{n}", host).body == b"200"


def test_an_unavailable_endpoint_is_passed_over_even_if_it_says_more(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    wordy = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n"

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            visit.send(wordy)
            visit.rest()

    for origin in origins[:2]:
        origin.start(script)
    origins[2].start()
    with plane.client() as client:
        for n in range(ROUNDS):
            assert client.ask(f"/{n}", host).body == b"ok"


def test_a_post_hears_the_503_that_it_got(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    for origin in origins:
        origin.start(answering(reply(503, b"mine", "Retry-After: 7")))
    with plane.client() as client:
        response = client.ask("/", host, method="POST", body=b"body")
    assert (response.status, response.body, response.get("retry-after")) == (503, b"mine", "7")
    assert sum(asked(origins)) == 1


def test_when_all_are_unavailable_the_last_answer_is_passed_on(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    for origin in origins:
        origin.start(answering(reply(503, b"closed for lunch")))
    with plane.client() as client:
        response = client.ask("/", host)
    assert (response.status, response.body) == (503, b"closed for lunch")


def test_an_error_that_was_computed_is_passed_on_as_it_is(plane: Gateway, trio: Trio) -> None:
    host, origins = trio
    for origin in origins:
        origin.start(answering(reply(500, b"bug")))
    with plane.client() as client:
        response = client.ask("/", host)
    assert (response.status, response.body) == (500, b"bug")
    assert sum(asked(origins)) == 1


def test_an_upload_that_has_begun_to_flow_is_not_repeated_in_part(plane: Gateway, trio: Trio) -> None:
    """A PUT may be sent again, but only whole: an origin must never take the rest of a body for all of it."""
    host, origins = trio
    body = b"0123456789" * 30_000

    def half(visit: Visit) -> None:
        if visit.next_head() is not None:
            visit.exactly(100_000)
            visit.reset()

    origins[0].start(half)
    origins[1].start(half)
    origins[2].start()
    for n in range(ROUNDS):
        with plane.client() as client:
            try:
                status = client.ask(f"/{n}", host, method="PUT", body=body).status
            except (ConnectionError, Truncated):
                continue
            assert status in (200, 502)
    assert all(r.body == body for o in origins for r in o.requests)


def test_an_endpoint_that_hangs_is_504(plane: Gateway) -> None:
    host, origins = plane.trio("hasty")
    for origin in origins:
        origin.start(hanging)
    with plane.client() as client:
        response = client.ask("/", host)
        assert (response.status, response.get("content-type")) == (504, "application/problem+json")
    assert sum(asked(origins)) == 1


def test_an_attempt_that_takes_too_long_is_made_elsewhere(plane: Gateway) -> None:
    """Over a second: two attempts of 300 ms run out before each of the first answers."""
    host, origins = plane.trio("stepwise")
    for origin, script in zip(origins, (hanging, hanging, answering(reply())), strict=True):
        origin.start(script)
    with plane.client() as client:
        assert [client.ask(f"/{n}", host).status for n in range(3)] == [200] * 3


def test_an_attempt_at_a_post_that_takes_too_long_is_504(plane: Gateway) -> None:
    host, origins = plane.trio("stepwise")
    for origin in origins:
        origin.start(hanging)
    with plane.client() as client:
        assert client.ask("/", host, method="POST", body=b"x").status == 504
    assert sum(asked(origins)) == 1


@pytest.mark.parametrize("source", ["127.0.0.1", TRUSTED])
def test_a_client_has_no_say_in_time_outs_and_retries(plane: Gateway, trio: Trio, source: str) -> None:
    """A third of a second: an answer that takes longer than the client says."""
    host, origins = trio

    def slow(visit: Visit) -> None:
        visit.next()
        threading.Event().wait(0.3)
        visit.send(reply(503))

    for origin in origins:
        origin.start(slow)
    said = [f"X-Envoy-{name}" for name in ("Retry-On: 5xx", "Max-Retries: 5", "Upstream-Rq-Timeout-Ms: 50")]
    with plane.client(source=source) as client:
        assert client.ask("/", host, *said, method="POST", body=b"x").status == 503
    assert sum(asked(origins)) == 1


def test_a_connection_given_up_is_never_used_again(plane: Gateway) -> None:
    """An answer that comes after its time-out must not become the next client's."""
    host, origins = plane.trio("hasty")
    late = threading.Event()

    def script(visit: Visit) -> None:
        while (got := visit.next()) is not None:
            if got.target == "/slow":
                late.wait(5)
                visit.send(reply(200, b"late"))
            else:
                visit.send(reply(200, b"prompt"))

    for origin in origins:
        origin.start(script)
    with plane.client() as client:
        assert client.ask("/slow", host, method="POST", body=b"x").status == 504
        late.set()
        for _ in range(ROUNDS):
            assert client.ask("/", host).body == b"prompt"


RUBBISH = {
    "not_http": b"220 mail.example ESMTP\r\n",
    "http_2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\xa0\0\0\0\2\0\0\0\0",
    "bad_status": b"HTTP/1.1 abc Fine\r\nContent-Length: 0\r\n\r\n",
    "status_of_four_digits": b"HTTP/1.1 2000 Fine\r\nContent-Length: 0\r\n\r\n",
    "another_version": b"HTTP/3.0 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "bad_length": b"HTTP/1.1 200 Fine\r\nContent-Length: two\r\n\r\nab",
    "length_and_chunked": b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown_coding": b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: gzip\r\n\r\nab",
    "nul_in_a_field": b"HTTP/1.1 200 Fine\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n",
    "bare_lf": b"HTTP/1.1 200 Fine\nContent-Length: 0\n\n",
    "folded": b"HTTP/1.1 200 Fine\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space_before_colon": b"HTTP/1.1 200 Fine\r\nContent-Length : 0\r\n\r\n",
    "head_cut_off": b"HTTP/1.1 200 Fine\r\nContent-Len",
    "nothing_but_interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "unasked_upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "huge_head": b"HTTP/1.1 200 Fine\r\nX-A: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH.keys())
def test_an_endpoint_that_speaks_no_http_is_502(plane: Gateway, alone: Alone, data: bytes) -> None:
    host, origin = alone
    origin.start(saying(data))
    with plane.client() as client:
        response = client.ask("/", host, method="POST", body=b"x")
        assert (response.status, response.get("content-type")) == (502, "application/problem+json")
        origin.start(answering(reply()))
        for _ in range(50):
            if client.ask("/", host).status == 200:
                return
    raise AssertionError("the endpoint was not asked again")


def test_interim_responses_without_end_are_cut_off(client: Client, alone: Alone) -> None:
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next()
        for _ in range(100_000):
            visit.send(b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n")

    origin.start(script)
    client.send(request("/", host, method="POST", body=b"x"))
    try:
        assert client.response().status in (502, 504)
    except Truncated:
        pass  # cut: as clear


CUT = {
    "length": b"HTTP/1.1 200 Fine\r\nContent-Length: 100\r\n\r\nonly this",
    "chunked": b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    "chunked_within": b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nonly this",
    "bad_chunk": b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
def test_a_truncated_body_looks_truncated_to_the_client(plane: Gateway, alone: Alone, data: bytes) -> None:
    host, origin = alone
    origin.start(saying(data))
    with plane.client() as client:
        client.send(request("/", host))
        response = read_response_head(client)
        if response.status == 502:
            return  # seen before anything went out: better still
        with pytest.raises((Truncated, ConnectionError)):
            for _ in response_body(client, response, "GET"):
                pass


def test_a_truncated_body_closes_an_http_1_0_connection_by_reset_or_short(plane: Gateway, alone: Alone) -> None:
    """Nothing frames such a body but the connection, so only its length can tell; it must not be made up."""
    host, origin = alone
    origin.start(saying(CUT["length"]))
    with plane.client() as client:
        client.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        with pytest.raises((Truncated, ConnectionError)):
            assert client.response().status == 502
            raise Truncated("told outright")


def test_a_body_that_ends_with_a_reset_is_not_taken_for_whole(plane: Gateway, alone: Alone) -> None:
    """Its end is told by the connection's, so a connection that broke must look broken to the client too."""
    host, origin = alone
    seen = threading.Event()

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(b"HTTP/1.1 200 Fine\r\n\r\nonly this")
        assert seen.wait(5)
        visit.reset()

    origin.start(script)
    with plane.client() as client:
        client.send(request("/", host))
        response = read_response_head(client)
        body = response_body(client, response, "GET")
        assert next(body) == b"only this"
        seen.set()
        with pytest.raises((Truncated, ConnectionError)):
            next(body)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_pooled_connection_gone_stale_is_never_a_clients_error(client: Client, alone: Alone, how: str) -> None:
    """The endpoint closes an idle connection just as the next request is on its way."""
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(reply())
        if visit.fill():  # the next request has come: drop it unread, as a server does that closed a moment earlier
            (visit.reset if how == "reset" else visit.close)()

    origin.start(script)
    for n in range(6):
        assert client.ask(f"/{n}", host).status == 200


def test_a_post_on_a_stale_connection_is_not_sent_twice(client: Client, alone: Alone) -> None:
    """Whether the endpoint acted on it cannot be known, so it is an error or was never sent there: but never two."""
    host, origin = alone

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(reply())
        visit.next_head()

    origin.start(script)
    assert client.ask("/first", host).status == 200
    status = client.ask("/post", host, method="POST", body=b"x").status
    assert status in (200, 502)
    assert [r.target for r in origin.begun].count("/post") == 1


def test_connections_that_the_endpoint_closes_while_idle_are_noticed(client: Client, alone: Alone) -> None:
    host, origin = alone
    closed = threading.Event()

    def script(visit: Visit) -> None:
        visit.next()
        visit.send(reply())
        visit.close()
        closed.set()

    origin.start(script)
    for n in range(5):
        closed.clear()
        assert client.ask(f"/{n}", host, method="POST", body=b"x").status in (200, 502)
        assert closed.wait(5)
    with_error = [r.target for r in origin.begun]
    assert len(with_error) == len(set(with_error))


def test_retries_stop_when_their_budget_is_spent(plane: Gateway) -> None:
    """With one retry a second allowed, sixty failing requests may make a few more attempts than sixty, not 180."""
    host, origins = plane.trio("frugal")
    for origin in origins:
        origin.start(slamming)
    with plane.client() as client:
        assert {client.ask(f"/{n}", host).status for n in range(60)} <= {502, 503}
    assert 60 <= sum(asked(origins)) <= 75


def held_back(origins: list[Origin]) -> tuple[threading.Semaphore, threading.Event]:
    """Origins that answer nothing until they may: released once for each request that has come; set to let them."""
    busy, free = threading.Semaphore(0), threading.Event()

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            busy.release()
            free.wait(10)
            visit.send(reply())

    for origin in origins:
        origin.start(script)
    return busy, free


def test_beyond_the_requests_of_a_cluster_one_is_refused_at_once(plane: Gateway) -> None:
    """Connections are not short here, or where the second request goes would decide what it hears."""
    host, origins = plane.trio("narrow")
    busy, free = held_back(origins)
    with plane.client() as first, plane.client() as second:
        first.send(request("/1", host))
        assert busy.acquire(timeout=5)
        response = second.ask("/2", host)
        assert response.status == 503
        assert (response.get("retry-after") or "").isdecimal()
        assert response.get("content-type") == "application/problem+json"
        free.set()
        assert first.response().status == 200
        assert second.ask("/3", host).status == 200


def test_beyond_the_connections_of_every_endpoint_a_request_is_refused_at_once(plane: Gateway) -> None:
    host, origins = plane.trio("tied")
    busy, free = held_back(origins)
    with ExitStack() as held:
        held.callback(free.set)
        for n in range(3):
            held.enter_context(plane.client()).send(request(f"/{n}", host))
        for _ in range(3):
            assert busy.acquire(timeout=2)
        late = held.enter_context(plane.client())
        assert late.ask("/late", host).status == 503


def test_a_client_that_hangs_up_ends_its_attempt(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start(hanging)
    client = plane.client()
    client.send(request("/", host))
    origin.wait(lambda o: len(o.requests) == 1)
    client.close()
    origin.wait(lambda o: o.open_visits == 0, timeout=3)


def test_a_client_that_resets_ends_its_attempt(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start(hanging)
    client = plane.client()
    client.send(request("/", host, "Content-Length: 100", method="POST") + b"part")
    origin.wait(lambda o: o.heard.endswith(b"part"))
    client.reset()
    origin.wait(lambda o: o.open_visits == 0, timeout=3)
    assert origin.requests == []


def test_half_an_upload_is_no_upload(plane: Gateway, alone: Alone) -> None:
    host, origin = alone
    origin.start()
    for framing, data in (("Content-Length: 100", b"part"), ("Transfer-Encoding: chunked", b"4\r\npart\r\n")):
        origin.forget()
        client = plane.client()
        client.send(request("/", host, framing, method="POST") + data)
        origin.wait(lambda o: b"part" in o.heard)
        client.close()
        origin.wait(lambda o: bool(o.wrong))
        assert origin.requests == []
