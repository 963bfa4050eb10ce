"""Which route a request takes: the most specific one whose conditions are all met.

Order of the look-up, from the most specific on:

1. host: the exact name, then wildcards from the longest to the shortest, then routes without a host;
2. path: exact, then prefixes from the longest to the shortest, then expressions in the order of the file, and last the
   prefix "/", which says nothing of the path;
3. conditions: more header conditions and methods before fewer, then the order of the file.

Envoy chooses a virtual host first and answers 404 when none of its routes fits. Here routes are a flat list, and a
route without a host applies to every host: when no route of a specific host fits, the look-up goes on with less
specific hosts, as it goes on from a longer path to a shorter one.

Hosts and exact paths are looked up in dicts, prefixes by cutting the path at its slashes (no further back than the
longest prefix known, so a path of nothing but slashes costs no more), expressions by sets that RE2 runs as one
automaton. The cost of a look-up grows with the depth of the path, not with the number of routes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from adaptive.admission import Rank
from adaptive.config.model import Config, HeaderMatch, RouteConfig
from adaptive.config.pattern import compile_pattern, pattern_sets

Headers = Callable[[str], str | None]
Pairs = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A route as the data plane uses it. Times are seconds; header names are in lower case. `timeout` is infinite where
    the route has none, `attempt_timeout` 0 where it is the balancer's to choose.

    `request_set` replaces and `request_add` appends after all that `request_remove` names is gone; response likewise.
    """

    index: int
    name: str
    cluster: int
    timeout: float
    attempt_timeout: float
    retries: int
    retry_statuses: frozenset[int]
    rank: int
    request_set: Pairs
    request_add: Pairs
    request_remove: frozenset[bytes]
    response_set: Pairs
    response_add: Pairs
    response_remove: frozenset[bytes]
    second: int = 0  # the experiment's cluster, and the share of requests that goes there
    share: float = 0.0


def _pairs(headers: dict[str, str]) -> Pairs:
    return tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())


def _names(headers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.encode("ascii") for name in headers)


def _route(index: int, config: RouteConfig, clusters: Mapping[str, int]) -> Route:
    experiment = config.experiment
    return Route(
        index=index,
        name=config.name,
        cluster=clusters[config.cluster],
        timeout=config.timeout or math.inf,
        attempt_timeout=config.attempt_timeout,
        retries=config.retries,
        retry_statuses=frozenset(config.retry_statuses),
        rank=int(Rank[config.priority.upper()]),
        request_set=_pairs(config.request_headers.set),
        request_add=_pairs(config.request_headers.add),
        request_remove=_names(config.request_headers.remove),
        response_set=_pairs(config.response_headers.set),
        response_add=_pairs(config.response_headers.add),
        response_remove=_names(config.response_headers.remove),
        second=clusters[experiment.cluster] if experiment else 0,
        share=experiment.share if experiment else 0.0,
    )


def _condition(match: HeaderMatch) -> Callable[[str | None], bool]:
    """A test of one header's value, None where it is absent."""
    if match.exact is not None:
        exact = match.exact
        return lambda value: value == exact
    if match.regex is not None:
        fullmatch = compile_pattern(match.regex).fullmatch
        return lambda value: value is not None and fullmatch(value) is not None
    present = bool(match.present)
    return lambda value: (value is not None) == present


class _Candidate:
    """A route under the one path that leads to it, with its other conditions."""

    __slots__ = ("headers", "methods", "rank", "route")

    def __init__(self, route: Route, config: RouteConfig) -> None:
        self.route = route
        self.methods = frozenset(config.methods)
        self.headers = tuple((name, _condition(match)) for name, match in config.headers.items())
        self.rank = (-len(self.headers) - bool(self.methods), route.index)

    def fits(self, method: str, headers: Headers) -> bool:
        """Whether all conditions are met."""
        if self.methods and method not in self.methods:
            return False
        return all(test(headers(name)) for name, test in self.headers)


class _Paths:
    """The routes of one host, by path."""

    __slots__ = ("_every", "_exact", "_expressions", "_longest", "_prefixes", "_sets")

    def __init__(self) -> None:
        self._exact: dict[str, list[_Candidate]] = {}
        self._prefixes: dict[str, list[_Candidate]] = {}
        self._expressions: dict[str, list[_Candidate]] = {}
        self._every: list[_Candidate] = []
        self._sets: list[tuple[Callable[[str], list[int]], list[list[_Candidate]]]] = []
        self._longest = 0

    def add(self, candidate: _Candidate, config: RouteConfig) -> None:
        """Take a route in; `seal` comes after the last one."""
        if config.path is not None:
            self._exact.setdefault(config.path, []).append(candidate)
        elif config.regex is not None:
            self._expressions.setdefault(config.regex, []).append(candidate)
        elif config.prefix == "/":
            self._every.append(candidate)
        elif config.prefix is not None:
            self._prefixes.setdefault(config.prefix, []).append(candidate)
            self._longest = max(self._longest, len(config.prefix))

    def seal(self) -> None:
        """Order the candidates and compile the expressions."""
        for table in (self._exact, self._prefixes, self._expressions):
            for candidates in table.values():
                candidates.sort(key=lambda candidate: candidate.rank)
        self._every.sort(key=lambda candidate: candidate.rank)
        self._sets = [
            (found, [self._expressions[pattern] for pattern in patterns])
            for found, patterns in pattern_sets(list(self._expressions))
        ]

    def match(self, method: str, path: str, headers: Headers) -> Route | None:
        """The most specific route that fits, or None."""
        if self._exact and (found := self._exact.get(path)):
            for candidate in found:
                if candidate.fits(method, headers):
                    return candidate.route
        if self._prefixes and (route := self._by_prefix(method, path, headers)):
            return route
        for matches, tables in self._sets:
            for number in matches(path):
                for candidate in tables[number]:
                    if candidate.fits(method, headers):
                        return candidate.route
        for candidate in self._every:
            if candidate.fits(method, headers):
                return candidate.route
        return None

    def _by_prefix(self, method: str, path: str, headers: Headers) -> Route | None:
        """The longest prefix that fits: "/a/b" and "/a/b/" for /a/b/c; of "/a/b" alone also /a/b itself."""
        get = self._prefixes.get
        if len(path) <= self._longest:
            end = len(path)
        else:
            # The prefixes end with a slash of the path or just before one: the rest of the path decides nothing.
            end = path.rfind("/", 0, self._longest + 1) + 1
        while end > 0:
            for candidate in get(path[:end]) or ():
                if candidate.fits(method, headers):
                    return candidate.route
            # After "/a/b/" comes "/a/b", and after that "/a/".
            end = end - 1 if path[end - 1] == "/" else path.rfind("/", 0, end) + 1
        return None


class RouteTable:
    """All routes of a configuration, ready to be matched.

    `simple` is the one route there is, when it takes every request: no look-up is needed then.
    """

    def __init__(self, config: Config) -> None:
        clusters = {name: index for index, name in enumerate(config.clusters)}
        self.routes = tuple(_route(i, route, clusters) for i, route in enumerate(config.routes))
        self._exact: dict[str, _Paths] = {}
        self._wildcards: dict[str, _Paths] = {}
        self._any = _Paths()
        for route, rule in zip(self.routes, config.routes, strict=True):
            self._paths(rule.host).add(_Candidate(route, rule), rule)
        for paths in (*self._exact.values(), *self._wildcards.values(), self._any):
            paths.seal()
        self._longest = max(map(len, self._wildcards), default=0)
        self.simple = self.routes[0] if _takes_everything(config.routes) else None

    def _paths(self, host: str | None) -> _Paths:
        if host is None:
            return self._any
        if host.startswith("*."):
            return self._wildcards.setdefault(host[1:], _Paths())
        return self._exact.setdefault(host, _Paths())

    def match(self, method: str, host: str, path: str, headers: Headers) -> Route | None:
        """The route of a request, or None. `host` is in lower case and has no port (an IPv6 address has its brackets);
        `path` is as on the wire, without the query; `headers` gives a header's value by its lower-case name.
        """
        if (paths := self._exact.get(host)) and (route := paths.match(method, path, headers)):
            return route
        if self._wildcards:
            # Suffixes from their dot on, the longest first; one label at least stays for the star.
            start = host.find(".", max(1, len(host) - self._longest))
            while start > 0:
                if (paths := self._wildcards.get(host[start:])) and (route := paths.match(method, path, headers)):
                    return route
                start = host.find(".", start + 1)
        return self._any.match(method, path, headers)


def _takes_everything(routes: tuple[RouteConfig, ...]) -> bool:
    first = routes[0]
    return len(routes) == 1 and first.prefix == "/" and first.host is None and not first.methods and not first.headers
