"""The whole configuration: `Config`, and by name all of its parts."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from adaptive.config import checks, explain
from adaptive.config.base import Filename, Flag, Name, Part, Whole
from adaptive.config.cluster import (
    ClusterConfig,
    ClusterLimits,
    ClusterTimeouts,
    EndpointConfig,
    HealthCheck,
    Hedging,
    Objective,
    Overload,
    RetryBudget,
    UpstreamTLS,
)
from adaptive.config.envoy import EnvoyConfig
from adaptive.config.route import HeaderChanges, HeaderMatch, RouteConfig, is_secret
from adaptive.config.server import Admin, Certificate, Limits, Listener, ListenerTLS, Server, Timeouts
from adaptive.config.units import PositiveDuration, Size, at_least

__all__ = [
    "AccessLogConfig",
    "Admin",
    "Certificate",
    "ClusterConfig",
    "ClusterLimits",
    "ClusterTimeouts",
    "Config",
    "EndpointConfig",
    "EnvoyConfig",
    "HeaderChanges",
    "HeaderMatch",
    "HealthCheck",
    "Hedging",
    "Limits",
    "Listener",
    "ListenerTLS",
    "ModelConfig",
    "Objective",
    "Overload",
    "RecorderConfig",
    "RetryBudget",
    "RouteConfig",
    "Server",
    "Timeouts",
    "UpstreamTLS",
]


HIDDEN = "********"


class RecorderConfig(Part):
    """Recordings of every outcome. Short form: false (or true)."""

    enabled: Flag = True
    directory: Filename | None = None  # None: "recordings" in the gateway's state directory
    segment_bytes: Annotated[Size, at_least(64 * 1024)] = 64 * 2**20
    segment_seconds: Annotated[int, Field(strict=True, ge=1, le=7 * 86400)] = 600
    max_bytes: Annotated[Size, at_least(64 * 1024)] = 2**30  # of all segments; the oldest go first

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"enabled": data} if isinstance(data, bool) else data

    @field_validator("max_bytes")
    @classmethod
    def _holds_a_segment(cls, size: int, info: ValidationInfo) -> int:
        if size < info.data.get("segment_bytes", 0):
            raise ValueError(f"is less than one segment ({info.data['segment_bytes']} bytes)")
        return size


class EventLogConfig(Part):
    """Logs of all that the brain is told and commands, for `adaptive events replay`. Short form: the directory."""

    directory: Filename | None = None  # None: "events" in the gateway's state directory
    size: Annotated[Size, at_least(64 * 1024)] = 256 * 2**20  # of all logs; the oldest go first

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"directory": data} if isinstance(data, str) else {} if data is True else data


class AccessLogConfig(Part):
    """Where the access log goes: "-" is standard output, else a file. Short form: the path."""

    path: Filename = "-"

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data


class ModelConfig(Part):
    """The slow loop: how often it decides, and how far ahead the model looks."""

    enabled: Flag = True
    # Long enough to act before most users notice, short enough that what is seen now still bears on it.
    horizon: PositiveDuration = 2.0
    tick: PositiveDuration = 0.1
    seed: Whole = 0
    # Share of repeatable picks that go where the policy would not send them: what keeps the model learning.
    explore: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.004
    # Whose champion serves and whose challenger predicts in shadow; None: the default model serves.
    store: Filename | None = None

    @field_validator("tick")
    @classmethod
    def _within_horizon(cls, tick: float, info: ValidationInfo) -> float:
        if tick > info.data.get("horizon", tick):
            raise ValueError(f"is longer than the horizon of {info.data['horizon']:g}s")
        return tick


def _listeners(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _workers(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('must be a whole number, or "auto" for one a core')
    return value


def _named(value: Any) -> Any:
    """Routes with a name each."""
    if not isinstance(value, (list, tuple)):
        return value
    return [
        {**route, "name": checks.default_name(index)}
        if isinstance(route, dict) and route.get("name") is None
        else route
        for index, route in enumerate(value)
    ]


class Config(Part):
    """A configuration, complete and consistent. The position of a cluster or route in the file is its index."""

    listen: Annotated[tuple[Listener, ...], Field(min_length=1), BeforeValidator(_listeners)]
    admin: Admin | None = None
    # Processes; the bound is what a byte of an outcome can tell apart.
    workers: Annotated[int, Field(strict=True, ge=1, le=255), BeforeValidator(_workers)] = 1
    server: Server = Server()
    # Outcomes carry the indexes of cluster and route in 16 bits.
    clusters: Annotated[dict[Name, ClusterConfig], Field(min_length=1, max_length=65535)]
    routes: Annotated[tuple[RouteConfig, ...], Field(min_length=1, max_length=65535), BeforeValidator(_named)]
    recorder: RecorderConfig = RecorderConfig()
    event_log: EventLogConfig | None = None
    access_log: AccessLogConfig | None = None
    model: ModelConfig = ModelConfig()
    envoy: EnvoyConfig = EnvoyConfig()

    @field_validator("access_log", "event_log", mode="before")
    @classmethod
    def _switched_off(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="wrap")
    @classmethod
    def _consistent(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Adds what `checks` finds to what validation finds, and puts all of it in words."""
        faults = list(checks.faults(data))
        try:
            config = handler(data)
        except ValidationError as error:
            raise explain.merged(error, faults, cls) or error from None
        if wrong := explain.merged(None, faults, cls):
            raise wrong
        return config

    def redacted(self) -> dict[str, Any]:
        """The configuration as JSON-able values, with every secret replaced by asterisks."""
        dump = self.model_dump(mode="json")
        if dump["admin"] is not None and dump["admin"]["token"] is not None:
            dump["admin"]["token"] = HIDDEN
        for route in dump["routes"]:
            for changes in (route["request_headers"], route["response_headers"]):
                for headers in (changes["set"], changes["add"]):
                    headers.update({name: HIDDEN for name in headers if is_secret(name)})
            for name, match in route["headers"].items():
                if is_secret(name):
                    match.update({way: HIDDEN for way in ("exact", "regex") if match[way] is not None})
        return dump
