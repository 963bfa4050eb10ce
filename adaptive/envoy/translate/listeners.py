"""Listeners: addresses, TLS, what clients may ask, how long they may take, and the answers that are Envoy's own.

A listener has two kinds of filter chain, for trusted peers and for all others: of strangers, what only a proxy in front
may say is taken away before anything reads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adaptive.config.model import Certificate, Config, Listener
from adaptive.envoy.translate import logs, routes
from adaptive.envoy.translate.clusters import certificate
from adaptive.envoy.translate.words import Json, Texts, ads, extension, seconds, socket_address

# Only a proxy in front of us may say these. Envoy itself makes X-Forwarded-Proto and X-Request-Id anew for strangers;
# where all are strangers, our routes do so with X-Forwarded-Host.
FORWARDED = ("x-forwarded-for", routes.HOST, "forwarded")
# It ends at this hop (RFC 9110 7.6.1), whoever sends it. The others that do, Envoy takes away by itself.
HOP = ("proxy-authorization",)
# Those of both that Envoy finds at once. To find another it first makes a map of all, for every request, and keeps it:
# to look at one after the other costs half of that.
KNOWN = ("x-forwarded-for", routes.HOST)
# Envoy lets peers of private networks steer it by headers (X-Envoy-Max-Retries and others) unless it is told who may.
NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}
TITLES = {
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
# Envoy answers 503 to what we and RFC 9110 (15.6.3) call a bad gateway: refused, reset, malformed.
BAD_GATEWAY = ("UF", "UC", "UR", "UPE")
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_MUTATION = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


@dataclass(frozen=True, slots=True)
class _Common:
    """What all listeners are made of."""

    config: Config
    texts: Texts
    http_filters: list[Json]


def listeners(config: Config, texts: Texts, pipe: str = "") -> dict[str, Json]:
    """Every Listener by name: one an address, and one more where it speaks HTTP/3 too. `pipe`: as `logs.attempts`."""
    common = _Common(config, texts, _http_filters(config, logs.attempts(config, pipe)))
    made: dict[str, Json] = {}
    for index, own in enumerate(config.listen):
        made[f"listen-{index}"] = _tcp(common, index, own)
        if own.http3:
            made[f"listen-{index}-quic"] = _quic(common, index, own)
    return made


def _tcp(common: _Common, index: int, own: Listener) -> Json:
    config = common.config
    made: Json = {
        "name": f"listen-{index}",
        "address": socket_address(own.host, own.port),
        "per_connection_buffer_limit_bytes": config.server.limits.buffer_bytes,
        "filter_chains": _chains(common, index, own),
    }
    if own.tls is not None:
        kind = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        made["listener_filters"] = [extension("envoy.filters.listener.tls_inspector", kind)]
        made["listener_filters_timeout"] = seconds(config.server.timeouts.header)
    return made


def _quic(common: _Common, index: int, own: Listener) -> Json:
    address = socket_address(own.host, own.port)
    address["socket_address"]["protocol"] = "UDP"
    return {
        "name": f"listen-{index}-quic",
        "address": address,
        "udp_listener_config": {"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}},
        "filter_chains": _chains(common, index, own, quic=True),
    }


def _chains(common: _Common, index: int, own: Listener, quic: bool = False) -> list[Json]:
    """By certificate and by trust; Envoy takes the most specific: names first, then where the peer is."""
    config, made = common.config, []
    certificates: list[Certificate | None] = list(own.tls.certificates) if own.tls is not None else [None]
    nameless = [held for held in certificates if held is not None and not held.names]
    # Who names no host that we know gets the default certificate: that without names, else the first.
    default = nameless[0] if nameless else certificates[0]
    for number, held in enumerate(certificates):
        matches = [list(held.names)] if held is not None and held.names else []
        if held is default:
            matches.append([])
        for names in matches:
            for trusted in (False, True) if config.server.trusted else (False,):
                match: Json = {"server_names": names} if names else {}
                if trusted:
                    match["direct_source_prefix_ranges"] = [
                        {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
                        for network in config.server.trusted
                    ]
                chain: Json = {
                    "name": f"{number}{'-named' if names else ''}{'-trusted' if trusted else ''}",
                    "filter_chain_match": match,
                    "filters": _filters(common, index, trusted, quic),
                }
                if held is not None:
                    chain["transport_socket"] = _transport(own, held, common.texts, quic)
                made.append(chain)
    return made


def _transport(own: Listener, held: Certificate, texts: Texts, quic: bool) -> Json:
    assert own.tls is not None
    common: Json = {
        "tls_certificates": [certificate(held.cert, held.key, texts)],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3" if own.tls.min_version == "1.3" else "TLSv1_2"},
        "alpn_protocols": ["h3"] if quic else ["h2", "http/1.1"],
    }
    context: Json = {"common_tls_context": common}
    if quic:
        kind = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
        return extension("envoy.transport_sockets.quic", kind, downstream_tls_context=context)
    return extension("envoy.transport_sockets.tls", f"{_TLS}.DownstreamTlsContext", **context)


def _filters(common: _Common, index: int, trusted: bool, quic: bool) -> list[Json]:
    config = common.config
    bound = extension(
        "envoy.filters.network.connection_limit",
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        stat_prefix=f"listen-{index}",
        max_connections=config.server.limits.connections * config.workers,
    )
    manager = extension("envoy.filters.network.http_connection_manager", _HCM, **_manager(common, trusted, quic))
    return [manager] if quic else [bound, manager]


def _manager(common: _Common, trusted: bool, quic: bool) -> Json:
    config = common.config
    limits, timeouts = config.server.limits, config.server.timeouts
    removed = [*HOP, *(() if trusted else FORWARDED)]
    if not config.server.trusted:
        removed.remove(routes.HOST)
    early = extension("early", _MUTATION, mutations=[_removal(name) for name in removed])
    made: Json = {
        "stat_prefix": "adaptive",
        "codec_type": "HTTP3" if quic else "AUTO",
        "rds": {"config_source": ads(), "route_config_name": routes.NAME},
        "http_filters": common.http_filters,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        # One hop is trusted where the peer is: what it says of its client is kept, and its address is added.
        "xff_num_trusted_hops": 1 if trusted else 0,
        "internal_address_config": {"unix_sockets": False, "cidr_ranges": [NOBODY]},
        "preserve_external_request_id": trusted,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
                "use_request_id_for_trace_sampling": False,
            }
        },
        "early_header_mutation_extensions": [early],
        "max_request_headers_kb": min(math.ceil(limits.header_bytes / 1024), 8192),
        "common_http_protocol_options": {
            "idle_timeout": seconds(timeouts.idle),
            "max_headers_count": limits.headers,
        },
        "http_protocol_options": {"accept_http_10": True, "enable_trailers": True},
        "http2_protocol_options": {"max_concurrent_streams": 100},
        "request_headers_timeout": seconds(timeouts.header),
        "stream_idle_timeout": seconds(timeouts.body),
        "stream_flush_timeout": seconds(timeouts.write),
        "drain_timeout": seconds(max(timeouts.drain, 0.001)),
        "proxy_100_continue": True,
        "local_reply_config": _answers(),
        "access_log": logs.requests(config),
    }
    if config.server.via:
        made["via"] = f"1.1 {config.server.via}"
    return made


def _removal(name: str) -> Json:
    return {"remove": name} if name in KNOWN else {"remove_on_match": {"key_matcher": {"exact": name}}}


def _http_filters(config: Config, attempts: Json) -> list[Json]:
    """The filters of every request, of which the last is the router; `attempts` is its log."""
    made: list[Json] = []
    if config.server.limits.body_bytes:
        kind = "envoy.extensions.filters.http.buffer.v3.Buffer"
        made.append(extension("envoy.filters.http.buffer", kind, max_request_bytes=config.server.limits.body_bytes))
    router = "envoy.extensions.filters.http.router.v3.Router"
    return [*made, extension("envoy.filters.http.router", router, suppress_envoy_headers=True, **attempts)]


def _answers() -> Json:
    """Answers of Envoy's own as problem documents (RFC 9457), with the statuses that ours have."""
    flags: Json = {"filter": {"response_flag_filter": {"flags": list(BAD_GATEWAY)}}, **_problem(502)}
    late: Json = {"filter": {"response_flag_filter": {"flags": ["UT"]}}, "status_code": 504, **_problem(504)}
    return {"mappers": [late, flags | {"status_code": 502}, *(_mapper(status) for status in TITLES)]}


def _mapper(status: int) -> Json:
    return {"filter": _status_is(status), **_problem(status)}


def _status_is(status: int) -> Json:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"adaptive.{status}"}}
    return {"status_code_filter": {"comparison": comparison}}


def _problem(status: int) -> Json:
    said = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": "%LOCAL_REPLY_BODY%",
        "instance": "urn:request:%REQ(X-REQUEST-ID)%",
    }
    added = {"cache-control": "no-store", **({"retry-after": "1"} if status in (429, 503) else {})}
    headers = [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in added.items()
    ]
    body = {"json_format": said, "content_type": "application/problem+json"}
    return {"body_format_override": body, "headers_to_add": headers}
