"""Routes: virtual hosts, and in each the routes from the most specific on, as `adaptive.gateway.router` orders them.

Envoy chooses a virtual host and looks no further, so less specific hosts' routes stand again behind a host's own, until
one takes everything. What a retry may do depends on the method, and Envoy's retry policy is a route's: each of our
routes becomes several, for methods that may be sent again and for the others, and one more for connections that become
tunnels, which have other time-outs. GET has one of its own: to compare a method costs a fortieth of what an expression
does, and most requests are GET.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from adaptive.config.model import Config, HeaderChanges, RouteConfig
from adaptive.envoy.translate.logs import REPORTED
from adaptive.envoy.translate.words import Json, extension, literal, seconds

NAME = "routes"
REPEATABLE = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")
# Connections refused or never made; streams that the endpoint says it has not looked at; nothing of the request sent.
UNTOUCHED = "connect-failure,refused-stream,reset-before-request"
# How many picks a retry may make before it takes an endpoint that was tried already. Envoy picks blindly: where two of
# three were tried, 40 picks miss the third once in 10 million times, 12 once in 130, and Envoy's default of 1 mostly.
HOST_ATTEMPTS = 40
# Envoy waits 25 to 250 ms between attempts; we send the next one at once, for it goes to another endpoint.
BACK_OFF = {"base_interval": "0.001s", "max_interval": "0.010s"}
# Headers by which Envoy tells its own; what a client could steer it by, Envoy takes away by itself.
INTERNAL = ("x-envoy-external-address",)
HOST = "x-forwarded-host"  # what the client asked for
REPEATED = 1000  # the most that RE2 repeats a group
WHOLE = 1_000_000  # parts of the requests, of which an experiment's share is a whole number
SLACK = 1.0  # seconds after a route's time-out, by which time Envoy has surely acted on it


def configuration(config: Config, attempt_timeouts: dict[str, float] | None = None) -> Json:
    """The RouteConfiguration. `attempt_timeouts` gives, by route, seconds after which an attempt that may be repeated
    has a second one beside it, where the configuration names no time-out of attempts.
    """
    hosts: list[Json] = []
    for domain in _domains(config):
        routes: list[Json] = [_too_long(config.server.limits.uri_bytes)]
        for rule in _in_order(config, domain):
            routes += _variants(config, rule, (attempt_timeouts or {}).get(rule.name, 0.0))
        hosts.append({"name": domain, "domains": [domain], "routes": routes})
    # What a stranger says of it was taken away before, where anybody may say it.
    host = "ADD_IF_ABSENT" if config.server.trusted else "OVERWRITE_IF_EXISTS_OR_ADD"
    return {
        "name": NAME,
        "virtual_hosts": hosts,
        "ignore_port_in_host_matching": True,
        "request_headers_to_add": [_added(HOST, "%REQ(:AUTHORITY)%", host)],
        "request_headers_to_remove": list(INTERNAL),
        "response_headers_to_remove": list(REPORTED),
        # Clients learn of HTTP/3 from the other protocols' responses (RFC 9114, 3.1).
        "response_headers_to_add": [
            _added("alt-svc", f'h3=":{own.port}"; ma=86400', "OVERWRITE_IF_EXISTS_OR_ADD")
            for own in config.listen
            if own.http3
        ][:1],
    }


def _too_long(size: int) -> Json:
    """Answers targets longer than this before any route sees them; a filter that did would cost every request more."""
    thousands, rest = divmod(size, REPEATED)
    regex = rf"\C{{{REPEATED}}}" * thousands + (rf"\C{{{rest}}}" if rest else "") + r"\C+"  # bytes, not characters
    longer = {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}}
    return {"match": {"prefix": "/", "headers": [longer]}, "direct_response": {"status": 414}}


def _domains(config: Config) -> list[str]:
    """Every host that routes name, and all others."""
    return [*dict.fromkeys(route.host for route in config.routes if route.host is not None), "*"]


def _in_order(config: Config, domain: str) -> Iterator[RouteConfig]:
    """The routes that requests for a host are tried against, from the most specific on."""
    for host in _less_specific(config, domain):
        rules = [route for route in config.routes if route.host == host]
        for rule in sorted(rules, key=lambda rule: _rank(config, rules, rule)):
            yield rule
            if rule.prefix == "/" and not rule.methods and not rule.headers:
                return


def _less_specific(config: Config, domain: str) -> list[str | None]:
    """A host, the wildcards that it is within from the longest on, and no host."""
    if domain == "*":
        return [None]
    named = {route.host for route in config.routes if route.host is not None and route.host.startswith("*.")}
    wider = [host for host in named if domain != host and domain.removeprefix("*").endswith(host[1:])]
    return [domain, *sorted(wider, key=len, reverse=True), None]


def _rank(config: Config, rules: list[RouteConfig], rule: RouteConfig) -> tuple[int, int, int, int]:
    conditions = -len(rule.headers) - bool(rule.methods)
    index = config.routes.index(rule)
    if rule.path is not None:
        return 0, 0, conditions, index
    if rule.regex is not None:
        first = next(config.routes.index(other) for other in rules if other.regex == rule.regex)
        return 2, first, conditions, index
    prefix = rule.prefix or "/"
    return (3, 0, conditions, index) if prefix == "/" else (1, -len(prefix), conditions, index)


def _variants(config: Config, rule: RouteConfig, attempt_timeout: float) -> Iterator[Json]:
    """One of our routes as Envoy's."""
    upgrade: Json = {"name": "upgrade", "present_match": True}
    if not rule.methods or "GET" in rule.methods:
        yield _route(config, rule, [upgrade, *_methods(["GET"])], _tunnel(config, rule))
    wanted = rule.methods or REPEATABLE
    again = [method for method in wanted if method in REPEATABLE]
    for some in ([method for method in again if (method == "GET") == get] for get in (True, False)):
        if some:
            yield _route(config, rule, _methods(some), _action(config, rule, True, attempt_timeout))
    if not rule.methods or len(again) < len(rule.methods):
        once = [method for method in rule.methods if method not in REPEATABLE]
        yield _route(config, rule, _methods(once), _action(config, rule, False, 0.0))


def _methods(methods: Sequence[str]) -> list[Json]:
    if not methods:
        return []
    several = {"safe_regex": {"regex": "|".join(map(re.escape, methods))}}
    return [{"name": ":method", "string_match": {"exact": methods[0]} if len(methods) == 1 else several}]


def _route(config: Config, rule: RouteConfig, conditions: list[Json], action: Json) -> Json:
    match = {**_path(rule), "headers": [*conditions, *_headers(rule)]}
    made: Json = {"name": rule.name, "match": match, "route": action}
    changes = (("request", rule.request_headers), ("response", rule.response_headers))
    for way, change in changes:
        made[f"{way}_headers_to_add"] = _changes(change)
        made[f"{way}_headers_to_remove"] = list(change.remove)
    return made


def _path(rule: RouteConfig) -> Json:
    if rule.path is not None:
        return {"path": rule.path}
    if rule.regex is not None:
        return {"safe_regex": {"regex": rule.regex}}
    prefix = rule.prefix or "/"
    return {"prefix": prefix} if prefix.endswith("/") else {"path_separated_prefix": prefix}


def _headers(rule: RouteConfig) -> Iterator[Json]:
    for name, match in rule.headers.items():
        if match.exact is not None:
            yield {"name": name, "string_match": {"exact": match.exact}}
        elif match.regex is not None:
            yield {"name": name, "string_match": {"safe_regex": {"regex": match.regex}}}
        else:
            yield {"name": name, "present_match": bool(match.present)}


def _changes(change: HeaderChanges) -> list[Json]:
    replaced = [_added(n, literal(v), "OVERWRITE_IF_EXISTS_OR_ADD") for n, v in change.set.items() if n != "host"]
    return replaced + [_added(n, literal(v), "APPEND_IF_EXISTS_OR_ADD") for n, v in change.add.items()]


def _added(name: str, value: str, how: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": how, "keep_empty_value": True}


def _common(rule: RouteConfig) -> Json:
    made: Json = {"cluster": rule.cluster}
    if rule.experiment is not None:
        second = round(WHOLE * rule.experiment.share)
        shares = ((rule.cluster, WHOLE - second), (rule.experiment.cluster, second))
        made = {"weighted_clusters": {"clusters": [{"name": name, "weight": part} for name, part in shares]}}
    if "host" in rule.request_headers.set:
        made["host_rewrite_literal"] = rule.request_headers.set["host"]
    return made


def _tunnel(config: Config, rule: RouteConfig) -> Json:
    """A connection that may become a tunnel lives as long as somebody uses it."""
    return {**_common(rule), "timeout": "0s", "idle_timeout": seconds(config.server.timeouts.idle)}


def _action(config: Config, rule: RouteConfig, repeatable: bool, attempt_timeout: float) -> Json:
    idle = max(config.server.timeouts.body, rule.timeout + SLACK) if rule.timeout else 0.0
    retry: Json = {
        "retry_on": UNTOUCHED + (",reset,retriable-status-codes" if repeatable else ""),
        "num_retries": rule.retries,
        "host_selection_retry_max_attempts": HOST_ATTEMPTS,
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "retry_back_off": BACK_OFF,
    }
    if repeatable:
        retry["retriable_status_codes"] = list(rule.retry_statuses)
    made: Json = {
        **_common(rule),
        "timeout": seconds(rule.timeout),
        "idle_timeout": seconds(idle),
        "retry_policy": retry,
    }
    own = rule.attempt_timeout
    if own:
        retry["per_try_timeout"] = seconds(own)
    elif repeatable and attempt_timeout and rule.retries and (not rule.timeout or attempt_timeout < rule.timeout):
        # What was sent goes on, and whichever answers first is passed on: an attempt that is only slow is not lost.
        retry["per_try_timeout"] = seconds(attempt_timeout)
        made["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return made
