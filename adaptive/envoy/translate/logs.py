"""Access logs: of every attempt, to the brain over gRPC; and of every request, to a file, as lines of JSON.

The first is the router's upstream log, for only there every attempt has an entry: the log of requests knows the last.
An attempt that lasts has further entries while it does, so that an endpoint that hangs is seen to.
"""

from __future__ import annotations

from adaptive.config.model import Config
from adaptive.envoy.translate.words import SERVICE, Json, extension, seconds

ATTEMPTS = "attempts"  # the log's name, which its stream begins with
ENDPOINT, WAIT, FRESH = "e", "w", "c"  # tags: the endpoint's stable name, ms until a connection, its requests
# How often an attempt under way is told of. Shorter than most time-outs, and longer than most attempts, which therefore
# cost one entry each.
UNDER_WAY = 0.25
# Response headers that the brain reads: an endpoint's own report of its load, and what it says of itself.
LOAD, SAID = "endpoint-load-metrics", "endpoint-announcement"
REPORTED = (LOAD, SAID)
_GRPC = "envoy.extensions.access_loggers.grpc.v3"


def attempts(config: Config) -> Json:
    """The router's fields that log every attempt."""
    common = {
        "log_name": ATTEMPTS,
        "grpc_service": {"envoy_grpc": {"cluster_name": SERVICE}, "timeout": "0s"},
        "transport_api_version": "V3",
        "buffer_flush_interval": seconds(config.envoy.flush_interval),
        "buffer_size_bytes": config.envoy.buffer_bytes,
        "custom_tags": [
            {
                "tag": ENDPOINT,
                "metadata": {"kind": {"host": {}}, "metadata_key": {"key": SERVICE, "path": [{"key": ENDPOINT}]}},
            },
            {"tag": WAIT, "value": "%UPSTREAM_CONNECTION_POOL_READY_DURATION%"},
        ],
    }
    log = extension(
        "envoy.access_loggers.http_grpc",
        f"{_GRPC}.HttpGrpcAccessLogConfig",
        common_config=common,
        additional_response_headers_to_log=list(REPORTED),
    )
    return {
        "upstream_log": [log],
        "upstream_log_options": {"upstream_log_flush_interval": seconds(UNDER_WAY)},
    }


# The keys of our own access log (adaptive.telemetry.access_log.Line); what only the brain knows is null here.
LINE = {
    "start_time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "route_name": "%ROUTE_NAME%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
}


def requests(config: Config) -> list[Json]:
    """The access log of requests, where the configuration wants one."""
    if config.access_log is None:
        return []
    lines = {"log_format": {"json_format": LINE}}
    if config.access_log.path == "-":
        kind = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
        return [extension("envoy.access_loggers.stdout", kind, **lines)]
    kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return [extension("envoy.access_loggers.file", kind, path=config.access_log.path, **lines)]
