"""The bootstrap of an Envoy: who it is, where it finds us, and nothing that could change while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from adaptive.config.model import Config
from adaptive.envoy.translate.words import SERVICE, Json, extension, seconds, socket_address

# Bounds of RE2's automata, which Envoy refuses beyond 100 instructions unless told: ours were checked when the
# configuration was read, and one of them counts the characters of a target.
EXPRESSIONS = {"re2.max_program_size.error_level": 1_000_000, "re2.max_program_size.warn_level": 1_000_000}

LOCAL = "local"  # the name of the Envoy that is started here
# How many requests are under way, and how many connections clients hold: what a drain waits for.
ACTIVE, OPEN = "http.adaptive.downstream_rq_active", "http.adaptive.downstream_cx_active"
DRAIN = 1  # seconds in which a draining Envoy still accepts, and tells who asks that this was the last answer
# How many entries of the log of attempts were dropped: what is told of fewer than there were is known with less right.
DROPPED = "access_logs.open_telemetry_access_log.logs_dropped"
COUNT_EVERY = 1.0  # seconds between two words of an Envoy elsewhere on what it has dropped


@dataclass(frozen=True, slots=True)
class Node:
    """An Envoy by name. `socket` is our socket file; without one it reaches us at `envoy.service`.

    `admin` is the socket file (or host:port) of its own admin API; `authority`, `cert`, `key` are its files for TLS.
    """

    name: str
    socket: str = ""
    admin: str = ""
    authority: str = ""
    cert: str = ""
    key: str = ""


def bootstrap(config: Config, node: Node) -> Json:
    """The bootstrap, as JSON. Raises ValueError where it cannot be told where to find us."""
    service = {"envoy_grpc": {"cluster_name": SERVICE}}
    made: Json = {
        "node": {"id": node.name, "cluster": "adaptive"},
        "static_resources": {"clusters": [_ourselves(config, node)]},
        "dynamic_resources": {
            # Delta: of many clusters only the one that changed is sent.
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [service]},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "layered_runtime": {"layers": [{"name": "adaptive", "static_layer": EXPRESSIONS}]},
        # It counts nothing more: our own metrics count the same, and its own cost each request.
        "stats_config": {"stats_tags": [], "stats_matcher": {"inclusion_list": {"patterns": _counted(node)}}},
    }
    if not node.socket:
        kind = "envoy.config.metrics.v3.MetricsServiceConfig"
        sink = extension("envoy.stat_sinks.metrics_service", kind, grpc_service=service, transport_api_version="V3")
        made |= {"stats_sinks": [sink], "stats_flush_interval": seconds(COUNT_EVERY)}
    if node.admin:
        made["admin"] = {"address": _address(node.admin)}
    return made


def _counted(node: Node) -> list[Json]:
    """The names of statistics: of one that is started here its lines tell what they lack."""
    return [{"exact": name} for name in ((ACTIVE, OPEN) if node.socket else (ACTIVE, DROPPED))]


def _address(text: str) -> Json:
    if text.startswith(("/", "@")):
        return {"pipe": {"path": text, "mode": 0o600}}
    host, _, port = text.rpartition(":")
    return socket_address(host.strip("[]"), int(port))


def _ourselves(config: Config, node: Node) -> Json:
    """Our service as a cluster of its own, HTTP/2 with pings, so that a connection that died is noticed."""
    own = config.envoy.service
    if node.socket:
        address: Json = {"pipe": {"path": node.socket}}
    elif own is not None:
        address = socket_address(own.host, own.port)
    else:
        raise ValueError("envoy.service: an Envoy elsewhere needs an address at which it finds us")
    http2 = {"connection_keepalive": {"interval": "10s", "timeout": "10s"}}
    made: Json = {
        "name": SERVICE,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": SERVICE,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
    }
    if own is not None and own.tls is not None and not node.socket:
        if not (node.cert and node.key and node.authority):
            raise ValueError("envoy.service has tls: the Envoy needs a certificate, its key and our authority")
        made["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context={
                "alpn_protocols": ["h2"],
                "tls_certificates": [
                    {"certificate_chain": {"filename": node.cert}, "private_key": {"filename": node.key}}
                ],
                "validation_context": {"trusted_ca": {"filename": node.authority}},
            },
        )
    return made


def static(config: Config, node: Node, found: dict[str, dict[str, Json]], endpoints: list[Json]) -> Json:
    """A bootstrap that holds everything itself, for `envoy --mode validate`: what comes over xDS it would not see."""
    from adaptive.envoy.translate.resources import CLUSTER, LISTENER, ROUTES

    made = bootstrap(config, node)
    (table,) = found[ROUTES].values()
    listeners = []
    for listener in found[LISTENER].values():
        chains = [
            {**chain, "filters": [_inlined(one, table) for one in chain["filters"]]}
            for chain in listener["filter_chains"]
        ]
        listeners.append({**listener, "filter_chains": chains})
    assigned = {each["cluster_name"]: each for each in endpoints}
    clusters = [
        {
            **{k: v for k, v in own.items() if k != "eds_cluster_config"},
            "type": "STATIC",
            "load_assignment": assigned[name],
        }
        for name, own in found[CLUSTER].items()
    ]
    made["static_resources"] = {"clusters": [*made["static_resources"]["clusters"], *clusters], "listeners": listeners}
    return made


def _inlined(one: Json, table: Json) -> Json:
    config = one["typed_config"]
    if "rds" not in config:
        return one
    return {**one, "typed_config": {**{k: v for k, v in config.items() if k != "rds"}, "route_config": table}}


def command(binary: str, path: str, workers: int, level: str, flush: float) -> list[str]:
    """The command line that runs an Envoy with a bootstrap file; `flush` is how long it gathers lines, in seconds."""
    return [
        binary,
        "--config-path",
        path,
        "--concurrency",
        str(workers),
        "--disable-hot-restart",
        "--log-level",
        level,
        "--log-format",
        "%l\t%n\t%v",
        "--drain-time-s",
        str(DRAIN),
        "--drain-strategy",
        "immediate",
        "--file-flush-interval-msec",
        str(max(1, round(1e3 * flush))),
    ]
