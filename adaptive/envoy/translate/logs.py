"""Access logs: of every attempt, to the brain; and of every request, to a file, as lines of JSON.

The first is the router's upstream log, for only there every attempt has an entry: the log of requests knows the last.
An attempt that lasts has further entries while it does, so that an endpoint that hangs is seen to. An entry is a line:
an Envoy that was started here writes it into a pipe, one elsewhere sends it over gRPC.
"""

from __future__ import annotations

from adaptive.config.model import Config
from adaptive.envoy.translate.words import SERVICE, Json, extension, seconds

ATTEMPTS = "attempts"  # the log's name
ENDPOINT = "e"  # the key of an endpoint's stable name in its metadata
# How often an attempt under way is told of. Shorter than most time-outs, and longer than most attempts, which therefore
# cost one entry each.
UNDER_WAY = 0.25
GIVEN_UP = 5.0  # seconds after which an Envoy elsewhere gives up what it has sent and we have not answered
# Response headers that the brain reads: an endpoint's own report of its load, and what it says of itself.
LOAD, SAID = "endpoint-load-metrics", "endpoint-announcement"
REPORTED = (LOAD, SAID)
_OTEL = "envoy.extensions.access_loggers.open_telemetry.v3"
_FILE = "envoy.extensions.access_loggers.file.v3"
SEPARATOR, WITHIN = "\t", "\x1f"  # between fields, and within the last, where no header can hold one
# The numbers of a line, all whole: microseconds since the epoch, until the response's first byte and until its last; ms
# until its end; bytes of the request and of the response; ms until a connection.
NUMBERS = (
    "%START_TIME(%s%6f)%",
    "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%",
    "%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%",
    "%DURATION%",
    "%BYTES_SENT%",
    "%BYTES_RECEIVED%",
    "%UPSTREAM_CONNECTION_POOL_READY_DURATION%",
)
# The fields of a line, in the order in which `adaptive.envoy.lines` reads them: what is read together is one. What
# clients and endpoints can write comes last, so that a separator in it moves no other.
FIELDS = (
    f"%METADATA(UPSTREAM_HOST:{SERVICE}:{ENDPOINT})%",
    "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %ACCESS_LOG_TYPE% %ROUTE_NAME%",
    " ".join(NUMBERS),
    "%REQ(X-REQUEST-ID)%",
    WITHIN.join(("%UPSTREAM_TRANSPORT_FAILURE_REASON%", *(f"%RESP({name.upper()})%" for name in REPORTED))),
)
NONE = "-"  # what Envoy writes for what there is not


def attempts(config: Config, pipe: str) -> Json:
    """The router's fields that log every attempt, as lines into a pipe, else ("") to our service."""
    log = _lines(pipe) if pipe else _messages(config)
    return {
        "upstream_log": [log],
        "upstream_log_options": {"upstream_log_flush_interval": seconds(UNDER_WAY)},
    }


def _lines(pipe: str) -> Json:
    line = {"text_format_source": {"inline_string": SEPARATOR.join(FIELDS) + "\n"}}
    return extension("envoy.access_loggers.file", f"{_FILE}.FileAccessLog", path=pipe, log_format=line)


def _messages(config: Config) -> Json:
    """The same lines, as bodies of OpenTelemetry's log records: Envoy's own message of an attempt costs it far more."""
    common = {
        "log_name": ATTEMPTS,
        "grpc_service": {"envoy_grpc": {"cluster_name": SERVICE}, "timeout": seconds(GIVEN_UP)},
        "transport_api_version": "V3",
        "buffer_flush_interval": seconds(config.envoy.flush_interval),
        "buffer_size_bytes": config.envoy.buffer_bytes,
    }
    body = {"string_value": SEPARATOR.join(FIELDS)}
    return extension(
        "envoy.access_loggers.open_telemetry", f"{_OTEL}.OpenTelemetryAccessLogConfig", common_config=common, body=body
    )


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
    return [extension("envoy.access_loggers.file", f"{_FILE}.FileAccessLog", path=config.access_log.path, **lines)]
