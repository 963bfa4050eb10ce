"""What is left of a request's time goes with it: to endpoints by a header, and from a trusted gateway in front."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin, Visit
from tests.conformance.dataplane.wire import reply

HEADER = "x-time-left-ms"
Start = Callable[[bool], Gateway]


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    made = [Origin(), Origin()]
    yield made
    for origin in made:
        origin.stop()


@pytest.fixture
def start(tmp_path: Path, origins: list[Origin]) -> Iterator[Start]:
    """Starts a gateway with a route of 20 s in front of both; its client is trusted, or is not."""
    running: list[Gateway] = []

    def made(trusted: bool) -> Gateway:
        server: dict[str, Any] = {"deadline_header": HEADER, "trusted": ["127.0.0.0/8"] if trusted else []}
        cluster = {"endpoints": [origin.address for origin in origins], "hedging": False}
        route = {"prefix": "/", "cluster": "pair", "timeout": "20s"}
        settings = config(free_port(), free_port(), server=server, clusters={"pair": cluster}, routes=[route])
        running.append(Gateway(tmp_path, settings))
        return running[-1]

    yield made
    for one in running:
        one.stop()


def told(origins: list[Origin]) -> list[int]:
    """What the endpoints were told is left, the longest first."""
    found = [request.get(HEADER) for origin in origins for request in origin.begun]
    return sorted((int(value or "no such line") for value in found), reverse=True)


def test_an_endpoint_is_told_what_is_left_and_the_next_one_less(start: Start, origins: list[Origin]) -> None:
    """Each answers 503 after 60 ms, so that the request goes on to the other with at least so much less."""

    def unwilling(visit: Visit) -> None:
        while visit.next() is not None:
            threading.Event().wait(0.06)
            visit.send(reply(503))

    for origin in origins:
        origin.start(unwilling)
    assert start(False).client().ask("/", "a").status == 503
    first, *later = told(origins)
    assert 10_000 < first <= 20_000
    assert later and all(a - b >= 59 for a, b in pairwise([first, *later])), "59: it is told in whole milliseconds"


def test_a_trusted_peer_s_deadline_ends_the_request_and_the_work_for_it(start: Start, origins: list[Origin]) -> None:
    def silent(visit: Visit) -> None:
        while visit.next_head() is not None:
            pass

    for origin in origins:
        origin.start(silent)
    response = start(True).client().ask("/", "a", f"{HEADER}: 300", method="POST")
    assert response.status == 504
    assert told(origins)[0] <= 300
    for origin in origins:
        origin.wait(lambda origin: not origin.open_visits)


@pytest.mark.parametrize(("trusted", "said"), [(False, "300"), (True, "soon"), (True, "-5"), (True, "99999999")])
def test_nothing_else_moves_the_route_s_time_out(start: Start, origins: list[Origin], trusted: bool, said: str) -> None:
    for origin in origins:
        origin.start()
    assert start(trusted).client().ask("/", "a", f"{HEADER}: {said}", method="POST", body=b"x").status == 200
    assert told(origins)[0] > 10_000
