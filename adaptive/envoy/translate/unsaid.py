"""What a configuration asks for that cannot be said in Envoy's terms: an error at `check`, never a silent difference.

The bound of pipelined requests is no such thing: Envoy reads a connection's next request when it has answered the last.
"""

from __future__ import annotations

from collections.abc import Iterator

from adaptive.config.address import is_ip
from adaptive.config.document import Fault
from adaptive.config.model import Config
from adaptive.config.route import RouteConfig

LARGEST_HEAD = 8192 * 1024


def unsaid(config: Config) -> Iterator[Fault]:
    """Every such thing, with its place in the configuration."""
    yield from _listeners(config)
    yield from _limits(config)
    if config.server.deadline_header:
        text = "Envoy tells deadlines in its own header only, and believes any client's or none's"
        yield Fault(("server", "deadline_header"), text)
    for name, cluster in config.clusters.items():
        path = ("clusters", name)
        for index, endpoint in enumerate(cluster.endpoints):
            if not _is_address(endpoint.host):
                yield Fault(
                    (*path, "endpoints", index, "host"),
                    f"{endpoint.host}: Envoy resolves no names that come over xDS, so endpoints are IP addresses",
                )
        if cluster.policy == "peak_ewma":
            yield Fault((*path, "policy"), "peak_ewma is not in Envoy: adaptive, least_request, round_robin or random")
        if cluster.random_picks:
            yield Fault((*path, "random_picks"), "Envoy makes the picks, and cannot be told to make some at random")
        if "idle" in cluster.limits.model_fields_set and cluster.limits.idle != cluster.limits.connections:
            yield Fault((*path, "limits", "idle"), "Envoy bounds all connections of a pool, not the idle ones")
        for key in sorted({"ratio", "minimum"} & cluster.hedging.model_fields_set):
            yield Fault((*path, "hedging", key), "Envoy counts second copies as retries, so retry_budget bounds both")
        if cluster.overload.enabled and "overload" in cluster.model_fields_set:
            text = "requests do not wait for their turn in Envoy: limits.requests bounds them"
            yield Fault((*path, "overload"), text)
        if cluster.limits.header_bytes > LARGEST_HEAD:
            yield Fault((*path, "limits", "header_bytes"), "Envoy takes heads of responses of 8 MiB at most")
    for index, route in enumerate(config.routes):
        yield from _route(("routes", index), route)


def _listeners(config: Config) -> Iterator[Fault]:
    for index, listener in enumerate(config.listen):
        path = ("listen", index)
        if not listener.port:
            yield Fault((*path, "port"), "Envoy listens on the port that is named, so it must be named")
        if not _is_address(listener.host):
            yield Fault((*path, "host"), f"{listener.host}: Envoy listens on IP addresses")
        if listener.http3 and listener.tls is None:
            yield Fault((*path, "http3"), "HTTP/3 is always encrypted: tls is required")


def _limits(config: Config) -> Iterator[Fault]:
    limits = config.server.limits
    path = ("server", "limits")
    if limits.connections_per_client:
        yield Fault((*path, "connections_per_client"), "Envoy counts connections of a listener, not of a client")
    if limits.header_bytes > LARGEST_HEAD:
        yield Fault((*path, "header_bytes"), "Envoy takes heads of requests of 8 MiB at most")


def _route(path: tuple[str | int, ...], route: RouteConfig) -> Iterator[Fault]:
    if route.prefix is not None and not route.prefix.endswith("/") and "//" in route.prefix:
        yield Fault((*path, "prefix"), f"{route.prefix}: Envoy takes no prefix with an empty segment")


def _is_address(host: str) -> bool:
    """Whether a host needs no resolving."""
    return is_ip(host) or host == "localhost"
