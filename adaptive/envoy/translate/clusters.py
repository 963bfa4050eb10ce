"""Clusters: how endpoints are reached. Which there are, and what is sent to each, is said apart (`endpoints`)."""

from __future__ import annotations

import math

from adaptive.config.address import is_ip
from adaptive.config.model import ClusterConfig, Config, HealthCheck, UpstreamTLS
from adaptive.envoy.translate.words import Json, Texts, ads, extension, seconds

POLICIES = {
    "adaptive": "LEAST_REQUEST",
    "least_request": "LEAST_REQUEST",
    "round_robin": "ROUND_ROBIN",
    "random": "RANDOM",
}
# The outlier detection of Envoy itself is a backstop, for when the brain is away or slower than a worker of Envoy: it
# takes out who fails many times in a row, for a short while and few at once, and judges nobody by statistics.
BACKSTOP = {
    "consecutive_5xx": 10,
    "consecutive_gateway_failure": 10,
    "enforcing_consecutive_gateway_failure": 100,
    "consecutive_local_origin_failure": 5,
    "split_external_local_origin_errors": True,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_failure_percentage": 0,
    "interval": "0.5s",
    "base_ejection_time": "2s",
    "max_ejection_time": "10s",
    "max_ejection_percent": 30,
}
# Retries at once that a quiet cluster may have. The configuration says retries a second, and a retry takes some tenths.
RETRY_SECONDS = 0.3
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_TLS = "envoy.extensions.transport_sockets.tls.v3"


def cluster(config: Config, name: str, texts: Texts) -> Json:
    """The Cluster of one of our clusters."""
    own = config.clusters[name]
    made: Json = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ads()},
        "connect_timeout": seconds(own.timeouts.connect),
        "per_connection_buffer_limit_bytes": config.server.limits.buffer_bytes,
        "lb_policy": POLICIES.get(own.policy, "LEAST_REQUEST"),
        # What the brain says is in force at once. Panic, at half of the endpoints, is the last rail and stays.
        "common_lb_config": {"update_merge_window": "0s"},
        "circuit_breakers": _limits(config, own),
        "outlier_detection": BACKSTOP,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocol(own),
        },
    }
    if own.health_check is not None:
        made["health_checks"] = [_health_check(own.health_check, own)]
    if own.tls is not None:
        made |= _tls(own, own.tls, texts)
    return made


def _limits(config: Config, own: ClusterConfig) -> Json:
    """Our limits are of one worker; Envoy's of all of them."""
    workers, budget = config.workers, own.retry_budget
    everywhere: Json = {
        "max_connections": min(own.limits.connections * len(own.endpoints) * workers, 2**32 - 1),
        "max_pending_requests": min(own.limits.requests * workers, 2**32 - 1),
        "max_requests": min(own.limits.requests * workers, 2**32 - 1),
        "retry_budget": {
            "budget_percent": {"value": 100 * budget.ratio},
            "min_retry_concurrency": math.ceil(budget.minimum * RETRY_SECONDS),
            "budget_interval": seconds(budget.window),
        },
    }
    each = {"max_connections": min(own.limits.connections * workers, 2**32 - 1)}
    return {"thresholds": [everywhere], "per_host_thresholds": [each]}


def _protocol(own: ClusterConfig) -> Json:
    kibibytes = math.ceil(own.limits.header_bytes / 1024)
    plain = {"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}}
    spoken = plain if own.protocol == "http1" else {"explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {
            "idle_timeout": seconds(own.timeouts.idle),
            "max_response_headers_kb": min(kibibytes, 8192),
        },
        **spoken,
    }


def _health_check(check: HealthCheck, own: ClusterConfig) -> Json:
    """Envoy's own checks, for when the brain is away: an endpoint serves when both find it well."""
    statuses = sorted(check.expect)
    ranges: list[Json] = []
    for status in statuses:
        if ranges and ranges[-1]["end"] == status:
            ranges[-1]["end"] = status + 1
        else:
            ranges.append({"start": status, "end": status + 1})
    http: Json = {"path": check.path, "expected_statuses": ranges}
    if check.host is not None:
        http["host"] = check.host
    if own.protocol == "http2":
        http["codec_client_type"] = "HTTP2"
    return {
        "timeout": seconds(check.timeout),
        "interval": seconds(check.interval),
        "interval_jitter_percent": 10,
        "no_traffic_interval": seconds(check.interval),
        "healthy_threshold": check.healthy,
        "unhealthy_threshold": check.unhealthy,
        "http_health_check": http,
    }


def _tls(own: ClusterConfig, tls: UpstreamTLS, texts: Texts) -> Json:
    """The transport socket; one by endpoint where each has to prove its own address."""
    if tls.server_name is not None or not tls.verify:
        return {"transport_socket": _socket(tls, tls.server_name, own.protocol, texts)}
    hosts = dict.fromkeys(endpoint.host for endpoint in own.endpoints)
    matches = [
        {"name": host, "match": {"host": host}, "transport_socket": _socket(tls, host, own.protocol, texts)}
        for host in hosts
    ]
    return {"transport_socket_matches": matches}


def _socket(tls: UpstreamTLS, name: str | None, protocol: str, texts: Texts) -> Json:
    common: Json = {}
    if protocol == "http2":
        common["alpn_protocols"] = ["h2"]
    if tls.cert is not None:
        common["tls_certificates"] = [certificate(tls.cert, tls.key or tls.cert, texts)]
    if tls.verify:
        common["validation_context"] = _validation(tls, name, texts)
    made: Json = {"common_tls_context": common}
    if name is not None and not is_ip(name):
        made["sni"] = name
    return extension("envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", **made)


def _validation(tls: UpstreamTLS, name: str | None, texts: Texts) -> Json:
    made: Json = {
        "trusted_ca": {"inline_string": texts[tls.ca]} if tls.ca is not None else {"filename": SYSTEM_AUTHORITIES}
    }
    if name is not None:
        kind = "IP_ADDRESS" if is_ip(name) else "DNS"
        made["match_typed_subject_alt_names"] = [{"san_type": kind, "matcher": {"exact": name}}]
    return made


def certificate(cert: str, key: str, texts: Texts) -> Json:
    """A certificate by its contents: a changed file is then a changed configuration, wherever the Envoy is."""
    return {"certificate_chain": {"inline_string": texts[cert]}, "private_key": {"inline_string": texts[key]}}
