"""The route table against the rule itself: try all routes, take the most specific that fits."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive.config.model import Config, RouteConfig
from adaptive.gateway.router import RouteTable

segments = st.sampled_from(["", "a", "b", "ab"])
paths = st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
hosts = st.sampled_from(["a", "b.a", "c.b.a", "d.c.b.a", "b"])
methods = st.sampled_from(["GET", "PUT"])
headers = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
ways: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.fixed_dictionaries({"path": paths}),
    st.fixed_dictionaries({"prefix": paths}),
    st.fixed_dictionaries({"regex": st.sampled_from(["/a.*", "/[ab]+", ".*b", "/a/b|/b", "/.*"])}),
    st.just({}),
)
routes = st.builds(
    lambda way, host, allowed, wanted: {"cluster": "c", **way, "host": host, "methods": allowed, "headers": wanted},
    ways,
    st.none() | hosts | hosts.map(lambda host: "*." + host),
    st.lists(methods, max_size=1),
    headers,
)


def specificity(route: RouteConfig, index: int) -> tuple[Any, ...]:
    """The order of the rule: the smallest is the most specific."""
    wild = route.host is not None and route.host.startswith("*.")
    host = (2, 0) if route.host is None else (1, -len(route.host)) if wild else (0, 0)
    if route.path is not None:
        path = (0, 0)
    elif route.prefix is not None:
        path = (3, 0) if route.prefix == "/" else (1, -len(route.prefix))
    else:
        path = (2, 0)
    conditions = -len(route.headers) - bool(route.methods)
    return (host, path, conditions, index) if path[0] != 2 else (host, path, index)


def fits(route: RouteConfig, method: str, host: str, path: str, given_headers: dict[str, str]) -> bool:
    """The conditions, one by one."""
    if route.host is not None:
        if route.host.startswith("*."):
            if not host.endswith(route.host[1:]):
                return False
        elif host != route.host:
            return False
    if route.path is not None and path != route.path:
        return False
    prefix = route.prefix
    if prefix not in (None, "/") and path != prefix and not path.startswith(prefix.removesuffix("/") + "/"):
        return False
    if prefix not in (None, "/") and prefix.endswith("/") and not path.startswith(prefix):
        return False
    if route.regex is not None and not re.fullmatch(route.regex, path):
        return False
    if route.methods and method not in route.methods:
        return False
    return all(given_headers.get(name) == match.exact for name, match in route.headers.items())


def unlike(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without routes of the same conditions, which a configuration refuses, and one route an expression and host."""
    kept: dict[str, dict[str, Any]] = {}
    for item in items:
        way = item.get("path") or item.get("regex") or item.get("prefix") or "/"
        kind = "path" if "path" in item else "regex" if "regex" in item else "prefix"
        rest = "" if kind == "regex" else f"{item['methods']}{sorted(item['headers'].items())}"
        kept.setdefault(f"{item['host']} {kind} {way} {rest}", item)
    return list(kept.values())


@given(
    st.lists(routes, min_size=1, max_size=12).map(unlike),
    st.lists(st.tuples(methods, hosts, paths, headers), min_size=1, max_size=8),
)
@settings(max_examples=300)
def test_the_table_finds_what_trying_all_routes_finds(
    items: list[dict[str, Any]], requests: list[tuple[str, str, str, dict[str, str]]]
) -> None:
    config = Config.model_validate(
        {"listen": "127.0.0.1:0", "clusters": {"c": {"endpoints": ["x:1"]}}, "routes": items}
    )
    table = RouteTable(config)
    for request in requests:
        fitting = [(specificity(r, i), r.name) for i, r in enumerate(config.routes) if fits(r, *request)]
        expected = min(fitting)[1] if fitting else None
        found = table.match(*request[:3], request[3].get)
        assert (found.name if found else None) == expected
        if table.simple is not None:
            assert found is table.simple
