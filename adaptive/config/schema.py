"""JSON Schema of the configuration, for editors: of what may be written, the short forms too."""

from __future__ import annotations

from typing import Any

from adaptive.config.model import Config
from adaptive.config.units import DURATION_PATTERN, write_duration

# Parts that a value of another kind may stand for.
_SHORT: dict[str, dict[str, Any]] = {
    "Listener": {"type": "string", "examples": ["127.0.0.1:8080", "[::1]:8080"]},
    "EndpointConfig": {"type": "string", "examples": ["127.0.0.1:9100", "api.internal:80", "${HOST}:80"]},
    "Admin": {"type": "string", "examples": ["127.0.0.1:9901"]},
    "HeaderMatch": {"type": "string"},
    "RecorderConfig": {"type": "boolean"},
    "AccessLogConfig": {"anyOf": [{"type": "string", "examples": ["-"]}, {"const": False}]},
    "UpstreamTLS": {"type": "boolean"},
}
# Lists that a single item may stand for.
_SINGLE = (
    ("Config", "listen"),
    ("Certificate", "names"),
    ("RouteConfig", "methods"),
    ("RouteConfig", "retry_statuses"),
    ("HeaderChanges", "remove"),
)


def schema() -> dict[str, Any]:
    """The schema, in draft 2020-12."""
    whole = Config.model_json_schema(mode="validation")
    parts: dict[str, dict[str, Any]] = {**whole.pop("$defs"), "Config": whole}
    for name in ("Listener", "EndpointConfig", "Admin"):
        _with_address(parts[name])
    tls = parts["ListenerTLS"]
    certificate = parts["Certificate"]["properties"]
    tls["properties"] |= {key: certificate[key] for key in ("cert", "key", "names")}
    tls["anyOf"] = [{"required": ["certificates"]}, {"required": ["cert", "key"]}]
    del tls["required"]
    tls["properties"]["min_version"]["enum"] += [1.2, 1.3]
    del tls["properties"]["min_version"]["type"]
    parts["RouteConfig"]["required"].remove("name")
    parts["HealthCheck"]["properties"]["expect"] = _STATUSES
    whole["properties"]["workers"] = {"anyOf": [whole["properties"]["workers"], {"const": "auto"}], "default": 1}
    for name, field in _SINGLE:
        _single(parts[name]["properties"], field)
    for name, short in _SHORT.items():
        parts[name] = {"anyOf": [short, parts[name]], "title": parts[name].get("title", name)}
    del parts["Config"]
    _write_defaults(whole)
    _write_defaults(parts)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": parts}


_STATUS = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[0-9]{3}(-[0-9]{3})?$"},
    ]
}
_STATUSES = {"anyOf": [_STATUS, {"type": "array", "items": _STATUS, "minItems": 1}], "default": "200-299"}


def _write_defaults(rule: Any) -> None:
    """Durations as they are written, where pydantic gives the float that they are inside."""
    if isinstance(rule, list):
        for item in rule:
            _write_defaults(item)
    elif isinstance(rule, dict):
        ways = [rule, *rule.get("anyOf", ())] if isinstance(rule.get("anyOf", ()), (list, tuple)) else [rule]
        if isinstance(rule.get("default"), float) and any(way.get("pattern") == DURATION_PATTERN for way in ways):
            rule["default"] = write_duration(rule["default"])
        for item in rule.values():
            _write_defaults(item)


def _with_address(part: dict[str, Any]) -> None:
    part["properties"]["address"] = {"type": "string", "examples": ["127.0.0.1:8080"]}
    if part.pop("required", None):
        part["anyOf"] = [{"required": ["address"]}, {"required": ["host", "port"]}]


def _single(properties: dict[str, Any], field: str) -> None:
    many = properties[field]
    kept = {key: many.pop(key) for key in ("title", "default", "description") if key in many}
    properties[field] = {"anyOf": [many["items"], many], **kept}
