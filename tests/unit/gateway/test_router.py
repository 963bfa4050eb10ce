"""The route table: what is more specific, what goes on to the next, and what a look-up costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import pytest

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.gateway.router import RouteTable

CLUSTERS = "listen: 127.0.0.1:0\nclusters: {a: {endpoints: [x:1]}, b: {endpoints: [x:1]}}\nroutes:\n"


def config(*routes: str) -> Config:
    """Routes of the cluster a, each as the inside of a YAML flow mapping; `name: n` tells them apart."""
    return parse(CLUSTERS + "".join(f"  - {{cluster: a, {route}}}\n" for route in routes))


def found(
    table: RouteTable,
    path: str = "/",
    host: str = "h",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> str | None:
    """The name of the route that a request takes."""
    route = table.match(method, host, path, (headers or {}).get)
    return route.name if route else None


def test_an_exact_host_comes_before_the_longest_wildcard_and_that_before_no_host() -> None:
    table = RouteTable(
        config("name: any", "name: org, host: '*.org'", "name: b-org, host: '*.b.org'", "name: exact, host: a.b.org")
    )
    assert found(table, host="a.b.org") == "exact"
    assert found(table, host="x.b.org") == "b-org"
    assert found(table, host="x.y.b.org") == "b-org"
    assert found(table, host="b.org") == "org"
    assert found(table, host="org") == "any"
    assert found(table, host="") == "any"
    assert found(table, host="xb.org") == "org"


def test_a_wildcard_needs_a_label_in_the_place_of_its_star() -> None:
    table = RouteTable(config("name: w, host: '*.b.org'"))
    assert found(table, host="b.org") is None
    assert found(table, host=".b.org") is None
    assert found(table, host="a.b.org") == "w"


def test_ip_addresses_are_hosts_too() -> None:
    table = RouteTable(config("name: six, host: '[0:0::1]'", "name: four, host: 10.0.0.1"))
    assert found(table, host="[::1]") == "six"
    assert found(table, host="10.0.0.1") == "four"


def test_an_exact_path_comes_before_the_longest_prefix_and_that_before_an_expression() -> None:
    table = RouteTable(
        config(
            "name: every",
            "name: expression, regex: '/a/b/c|/a/x|/z.*'",
            "name: a, prefix: /a",
            "name: a-b, prefix: /a/b",
            "name: exact, path: /a/b/c",
        )
    )
    assert found(table, "/a/b/c") == "exact"
    assert found(table, "/a/b/d") == "a-b"
    assert found(table, "/a/x") == "a"
    assert found(table, "/zoo") == "expression"
    assert found(table, "/other") == "every"


def test_the_prefix_of_every_path_says_nothing_and_comes_last() -> None:
    table = RouteTable(config("name: every, prefix: /", "name: users, regex: '/users/[0-9]+'"))
    assert found(table, "/users/7") == "users"
    assert found(table, "/users/x") == "every"
    assert found(table, "*", method="OPTIONS") == "every"


@pytest.mark.parametrize(
    ("prefix", "path", "matches"),
    [
        ("/api", "/api", True),
        ("/api", "/api/", True),
        ("/api", "/api/x", True),
        ("/api", "/apix", False),
        ("/api", "/ap", False),
        ("/api/", "/api/", True),
        ("/api/", "/api/x/y", True),
        ("/api/", "/api", False),
        ("/api/", "/apix/", False),
        ("/a/b", "/a", False),
        ("/a//", "/a//x", True),
        ("/a//", "/a/x", False),
        ("/a/b", "/a/b" + "/" * 9000, True),
        ("/", "", True),
    ],
)
def test_a_prefix_ends_where_a_segment_ends(prefix: str, path: str, matches: bool) -> None:
    table = RouteTable(config(f"name: p, prefix: '{prefix}'", "name: far, prefix: /quite/another/and/longer/prefix"))
    assert (found(table, path) == "p") is matches


def test_an_expression_must_match_the_whole_path_and_the_first_in_the_file_wins() -> None:
    table = RouteTable(config("name: b, regex: '/x/[a-z]+'", "name: a, regex: '/x/.*'", "name: c, regex: /y"))
    assert found(table, "/x/abc") == "b"
    assert found(table, "/x/1") == "a"
    assert found(table, "/y") == "c"
    assert found(table, "/y/") is None
    assert found(table, "/w/x/abc") is None


def test_more_conditions_come_before_fewer_and_then_the_order_of_the_file() -> None:
    table = RouteTable(
        config(
            "name: plain, prefix: /p",
            "name: method, prefix: /p, methods: [GET, PUT]",
            "name: header, prefix: /p, headers: {x-a: '1'}",
            "name: both, prefix: /p, methods: GET, headers: {x-a: '1'}",
        )
    )
    assert found(table, "/p", headers={"x-a": "1"}) == "both"
    assert found(table, "/p", method="POST", headers={"x-a": "1"}) == "header"
    assert found(table, "/p", method="PUT", headers={"x-a": "1"}) == "method"
    assert found(table, "/p", method="POST") == "plain"


def test_headers_match_by_value_expression_presence_and_absence() -> None:
    table = RouteTable(
        config(
            "name: exact, path: /e, headers: {X-A: v}",
            "name: regex, path: /r, headers: {x-a: {regex: 'v[0-9]'}}",
            "name: present, path: /p, headers: {x-a: {present: true}}",
            "name: absent, path: /n, headers: {x-a: {present: false}}",
        )
    )
    values: tuple[str | None, ...] = ("v", "v1", "", None)
    expected = {"/e": (1, 0, 0, 0), "/r": (0, 1, 0, 0), "/p": (1, 1, 1, 0), "/n": (0, 0, 0, 1)}
    for path, wanted in expected.items():
        headers = [{} if value is None else {"x-a": value} for value in values]
        assert tuple(int(found(table, path, headers=given) is not None) for given in headers) == wanted, path


def test_where_no_route_of_a_specific_host_or_path_fits_a_more_general_one_does() -> None:
    table = RouteTable(
        config(
            "name: any",
            "name: wild, host: '*.org', prefix: /w",
            "name: host, host: a.org, path: /x, methods: PUT",
            "name: deep, prefix: /d/e, headers: {x: y}",
            "name: shallow, prefix: /d",
        )
    )
    assert found(table, "/x", "a.org", "PUT") == "host"
    assert found(table, "/x", "a.org") == "any"
    assert found(table, "/w/1", "a.org") == "wild"
    assert found(table, "/d/e/f", headers={"x": "y"}) == "deep"
    assert found(table, "/d/e/f") == "shallow"


def test_a_request_that_fits_nothing_has_no_route() -> None:
    table = RouteTable(config("name: p, prefix: /p, methods: GET"))
    assert found(table, "/q") is None
    assert found(table, "/p", method="POST") is None


@pytest.mark.parametrize(
    ("route", "simple"),
    [
        ("prefix: /", True),
        ("timeout: 5s", True),
        ("path: /", False),
        ("host: a", False),
        ("methods: GET", False),
        ("headers: {a: b}", False),
        ("regex: '.*'", False),
        ("prefix: /a", False),
    ],
)
def test_only_a_single_route_for_everything_is_simple(route: str, simple: bool) -> None:
    table = RouteTable(config(f"name: x, {route}"))
    assert (table.simple is table.routes[0]) is simple
    assert RouteTable(config(f"name: x, {route}", "name: y, path: /y, host: y")).simple is None


def test_a_route_carries_what_the_data_plane_needs() -> None:
    table = RouteTable(
        parse(
            CLUSTERS
            + """\
  - {cluster: a, path: /first}
  - cluster: b
    timeout: 0
    attempt_timeout: 500ms
    retries: 1
    retry_statuses: [503]
    request_headers: {set: {Host: h, X-Set: s}, add: {X-Add: "1"}, remove: [Cookie]}
    response_headers: {set: {X-R: r}, add: {Vary: a}, remove: Server}
"""
        )
    )
    route = table.routes[1]
    assert (route.index, route.name, route.cluster) == (1, "route-2", 1)
    assert (route.timeout, route.attempt_timeout, route.retries, route.retry_statuses) == (
        math.inf,
        0.5,
        1,
        frozenset({503}),
    )
    assert route.request_set == ((b"host", b"h"), (b"x-set", b"s"))
    assert (route.request_add, route.request_remove) == (((b"x-add", b"1"),), frozenset({b"cookie"}))
    assert (route.response_set, route.response_add) == (((b"x-r", b"r"),), ((b"vary", b"a"),))
    assert route.response_remove == {b"server"}


def _table(count: int) -> tuple[RouteTable, list[tuple[str, str]]]:
    """A table of hosts, wildcards, exact paths, prefixes and expressions alike, and requests that touch them all."""
    kinds = (
        "host: h{0}.example.org, prefix: /v1/things/",
        "host: '*.w{0}.example.org', path: /w",
        "path: /exact/{0}",
        "prefix: /prefix/{0}/of/some/depth",
        "regex: '/re{0}/[0-9]+'",
    )
    table = RouteTable(config(*(f"name: r{n}, {kinds[n % 5].format(n // 5)}" for n in range(count))))
    last = count // 5 - 1
    requests = [
        (f"h{last}.example.org", "/v1/things/7"),
        (f"a.w{last}.example.org", "/w"),
        ("x", f"/exact/{last}"),
        ("x", f"/prefix/{last}/of/some/depth/and/more"),
        ("x", f"/re{last}/77"),
        ("none.example.org", "/nothing/of/the/kind"),
    ]
    assert [found(table, path, host) for host, path in requests] == [*(f"r{last * 5 + n}" for n in range(5)), None]
    return table, requests


def _cost(table: RouteTable, requests: list[tuple[str, str]]) -> float:
    """Seconds for 200 rounds of the requests: the best of many, for other work on the machine only ever adds to it."""
    match: Callable[..., object] = table.match
    headers: Mapping[str, str] = {}
    best = float("inf")
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(200):
            for host, path in requests:
                match("GET", host, path, headers.get)
        best = min(best, time.perf_counter() - start)
    return best


def test_a_look_up_among_five_thousand_routes_costs_less_than_five_times_one_among_fifty() -> None:
    # About a second: 5,000 routes are compiled, and each table is measured 15 times.
    few, many = _cost(*_table(50)), _cost(*_table(5000))
    assert many < 5 * few


def test_a_path_of_nothing_but_slashes_costs_no_more_than_the_prefixes_are_long() -> None:
    table = RouteTable(config("name: p, prefix: /some/prefix", "name: q, prefix: /a, host: '*.b'"))
    short = _cost(table, [("a.b", "/" * 50)])
    long = _cost(table, [("a." * 4000 + "b", "/" * 8000)])
    assert long < 10 * short
