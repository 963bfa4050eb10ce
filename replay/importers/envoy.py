"""Envoy access logs: the default text format, and JSON with Envoy's usual names, which Adaptive's own log has too.

A line tells of the last attempt only: which instances were tried before it, and for how long, Envoy does not log. Where
it logs how many there were, this attempt has that number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptive.types import Cause
from replay.importers.base import Attempt, Importer, Options, Unusable, finite, moment, number, shown, span, whole

_TEXT = re.compile(
    r'\[(?P<start_time>[^\]]+)\] "(?P<method>\S+) (?P<path>.*?) (?P<protocol>\S+)" (?P<response_code>\d+) '
    r"(?P<response_flags>\S+) (?:(?P<response_code_details>\S+) (?P<connection_termination_details>\S+) "
    r'"(?P<upstream_transport_failure_reason>[^"]*)" )?(?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\d+) '
    r'(?P<upstream_service_time>\S+) "(?P<x_forwarded_for>[^"]*)" "(?P<user_agent>.*?)" "(?P<request_id>[^"]*)" '
    r'"(?P<authority>[^"]*)" "(?P<upstream_host>[^"]*)"(?: (?P<upstream_cluster>\S+))?.*'
)
# Other names under which a JSON log has a value.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "start_time": ("start_time", "startTime", "timestamp", "@timestamp"),
    "response_code": ("response_code", "status", "responseCode"),
    "response_flags": ("response_flags", "responseFlags"),
    "attempt_count": ("upstream_request_attempt_count", "attempt_count"),
    "method": ("method", "x-envoy-original-method", "request_method"),
    "path": ("path", "x-envoy-original-path", "x_envoy_original_path"),
    "upstream_service_time": ("upstream_service_time", "x_envoy_upstream_service_time"),
}
# Envoy's response flags, the one that says most first; None: no instance was reached.
_FLAGS: tuple[tuple[str, Cause | None], ...] = (
    ("UH", None), ("NR", None), ("NC", None), ("NFCF", None), ("RL", None), ("RLSE", None), ("UAEX", None),
    ("FI", None), ("OM", None), ("DF", None), ("IH", None), ("LH", None), ("DO", None), ("UO", Cause.OVERFLOW),
    ("UF", Cause.CONNECT_FAILED), ("UT", Cause.TIMEOUT_ROUTE), ("SI", Cause.TIMEOUT_ROUTE), ("DT", Cause.TIMEOUT_ROUTE),
    ("UPE", Cause.PROTOCOL_ERROR), ("DPE", Cause.CLIENT_ERROR), ("DC", Cause.CLIENT_GONE), ("DR", Cause.CLIENT_GONE),
    ("UC", Cause.RESET), ("UR", Cause.RESET), ("LR", Cause.RESET), ("UDO", None),
)  # fmt: skip


class Envoy(Importer):
    """Lines of text or JSON, told apart by their first character."""

    name = "envoy"
    logged = True
    lacks = frozenset({"propensity", "connect"})

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.notes.append(
            "Envoy logs the last attempt of a request only: those before it, and their time, are not known"
        )

    def parse(self, value: str) -> Iterator[Attempt]:
        """The last attempt of one request."""
        fields = _json(value) if value.startswith("{") else _text(value)
        at = _time(fields["start_time"])
        seconds = span(str(fields["duration"]), "duration", 1e-3)
        code = whole(str(fields["response_code"]), "response_code")
        cause = _cause(str(fields.get("response_flags") or "-"))
        host = str(fields.get("upstream_host") or "-")
        if cause is None or host == "-":
            self.unreached += 1
            return
        waited = str(fields.get("upstream_service_time") or "-")
        first = at + span(waited, "upstream_service_time", 1e-3) if waited != "-" else math.nan
        tries = whole(str(fields.get("attempt_count") or 1), "attempt_count")
        chance = fields.get("propensity")
        yield Attempt(
            at,
            at + seconds,
            host,
            self.cluster if self.options.cluster else str(fields.get("upstream_cluster") or self.cluster),
            code if cause == Cause.RESPONSE and 100 <= code <= 999 else 0,
            cause,
            first if first <= at + seconds else math.nan,
            up=whole(str(fields.get("bytes_received") or 0), "bytes_received"),
            down=whole(str(fields.get("bytes_sent") or 0), "bytes_sent"),
            method=_word(fields.get("method")),
            path=_word(fields.get("path")),
            route=_word(fields.get("route_name")) or "",
            number=max(1, min(tries, 255)),
            propensity=finite(chance),
        )


def _text(line: str) -> Mapping[str, Any]:
    match = _TEXT.fullmatch(line)
    if match is None:
        raise Unusable("does not have the form of Envoy's default log")
    return match.groupdict()


def _json(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Unusable("is not JSON") from None
    named = dict(found)
    for name, others in _NAMES.items():
        named[name] = next((found[other] for other in others if found.get(other) is not None), None)
    missing = [name for name in ("start_time", "duration", "response_code") if named.get(name) is None]
    if missing:
        raise Unusable(f"has no {' and no '.join(missing)}")
    return named


def _time(value: Any) -> float:
    return number(str(value), "start_time") if isinstance(value, (int, float)) else moment(str(value), "start_time")


def _cause(flags: str) -> Cause | None:
    present = set(flags.split(","))
    if unknown := [flag for flag in present - {"-"} if not flag.isalnum()]:
        raise Unusable(f"response_flags {shown(unknown[0])} is none")
    return next((cause for flag, cause in _FLAGS if flag in present), Cause.RESPONSE)


def _word(value: Any) -> str | None:
    return str(value) if value not in (None, "-", "") else None
