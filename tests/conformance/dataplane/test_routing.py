"""The most specific route wins, and no route is a 404 that says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin
from tests.conformance.dataplane.wire import Client, request

ROUTES = [
    {"name": "any", "host": "any.test", "prefix": "/"},
    {"name": "exact", "host": "any.test", "path": "/exact"},
    {"name": "short", "host": "any.test", "prefix": "/api"},
    {"name": "long", "host": "any.test", "prefix": "/api/v2/"},
    {"name": "regex", "host": "any.test", "regex": "/user/[0-9]+"},
    {"name": "regex-later", "host": "any.test", "regex": "/user/.*"},
    {"name": "posted", "host": "any.test", "path": "/exact", "methods": ["POST"]},
    {"name": "tenant", "host": "any.test", "prefix": "/api", "headers": {"x-tenant": "blue"}},
    {"name": "canary", "host": "any.test", "prefix": "/api", "headers": {"x-canary": {"regex": "yes|1"}}},
    {"name": "debug", "host": "any.test", "prefix": "/debug", "headers": {"x-debug": {"present": True}}},
    {"name": "wild", "host": "*.wild.test", "prefix": "/"},
    {"name": "wilder", "host": "*.deep.wild.test", "prefix": "/"},
    {"name": "named", "host": "named.wild.test", "prefix": "/"},
    {"name": "only-get", "host": "get.test", "prefix": "/", "methods": ["GET", "HEAD"]},
    {"name": "hostless", "prefix": "/hostless/"},
]

CASES = [
    ("any.test", "/", "GET", (), "any"),
    ("any.test", "/exact", "GET", (), "exact"),
    ("any.test", "/exact?q=1", "GET", (), "exact"),
    ("any.test", "/exact/", "GET", (), "any"),
    ("any.test", "/exacter", "GET", (), "any"),
    ("any.test", "/exact", "POST", (), "posted"),
    ("ANY.test", "/exact", "GET", (), "exact"),
    ("any.test:8080", "/exact", "GET", (), "exact"),
    ("any.test", "/EXACT", "GET", (), "any"),
    ("any.test", "/api", "GET", (), "short"),
    ("any.test", "/api/", "GET", (), "short"),
    ("any.test", "/api/v1", "GET", (), "short"),
    ("any.test", "/api?x=/api/v2/", "GET", (), "short"),
    ("any.test", "/apiary", "GET", (), "any"),
    ("any.test", "/api/v2/x", "GET", (), "long"),
    ("any.test", "/api/v2", "GET", (), "short"),
    ("any.test", "/user/12", "GET", (), "regex"),
    ("any.test", "/user/12x", "GET", (), "regex-later"),
    ("any.test", "/x/user/12", "GET", (), "any"),
    ("any.test", "/api/v1", "GET", ("X-Tenant: blue",), "tenant"),
    ("any.test", "/api/v1", "GET", ("X-Tenant: bluer",), "short"),
    ("any.test", "/api/v1", "GET", ("X-Canary: 1",), "canary"),
    ("any.test", "/api/v1", "GET", ("X-Canary: 11",), "short"),
    ("any.test", "/debug", "GET", ("X-Debug: ",), "debug"),
    ("any.test", "/debug", "GET", (), "any"),
    ("a.wild.test", "/", "GET", (), "wild"),
    ("a.b.wild.test", "/", "GET", (), "wild"),
    ("a.deep.wild.test", "/", "GET", (), "wilder"),
    ("named.wild.test", "/", "GET", (), "named"),
    ("wild.test", "/", "GET", (), None),
    ("get.test", "/", "GET", (), "only-get"),
    ("get.test", "/", "HEAD", (), "only-get"),
    ("get.test", "/", "POST", (), None),
    ("else.test", "/hostless/x", "GET", (), "hostless"),
    ("else.test", "/", "GET", (), None),
    # The exact host's own routes are more specific than any route for every host.
    ("any.test", "/hostless/x", "GET", (), "any"),
]


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    made = Origin().start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory, origin: Origin, data_plane: str) -> Iterator[Gateway]:
    """A gateway whose routes tell the origin their names."""
    routes = [{**route, "cluster": "all", "request_headers": {"set": {"x-route": route["name"]}}} for route in ROUTES]
    settings = config(free_port(), free_port(), clusters={"all": {"endpoints": [origin.address]}}, routes=routes)
    gateway = Gateway(tmp_path_factory.mktemp("routed"), settings, data_plane=data_plane)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def client(routed: Gateway) -> Iterator[Client]:
    with routed.client() as connection:
        yield connection


@pytest.mark.parametrize(("host", "target", "method", "lines", "name"), CASES)
def test_the_most_specific_route_wins(
    client: Client, origin: Origin, host: str, target: str, method: str, lines: tuple[str, ...], name: str | None
) -> None:
    response = client.ask(target, host, *lines, method=method)
    if name is None:
        assert response.status == 404
    else:
        assert response.status == 200
        assert origin.last.get("x-route") == name


def test_no_route_is_a_problem_document_and_keeps_the_connection(client: Client, origin: Origin) -> None:
    response = client.ask("/", "else.test")
    assert (response.status, response.get("content-type")) == (404, "application/problem+json")
    problem = json.loads(response.body)
    assert (problem["status"], problem["title"]) == (404, "Not Found")
    assert client.ask("/", "any.test").status == 200


def test_the_body_of_a_request_without_a_route_is_not_the_next_request(client: Client, origin: Origin) -> None:
    origin.forget()
    client.send(request("/", "else.test", method="POST", body=request("/s", "any.test")))
    assert client.response().status == 404
    try:
        client.send(request("/after", "any.test"))
        client.response()
    except (ConnectionError, AssertionError):
        pass  # closing the connection is as right as reading the body and going on
    assert "/s" not in [r.target for r in origin.requests]
