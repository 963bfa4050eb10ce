"""Clusters: the endpoints, how one is chosen, and the limits and time-outs towards them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from adaptive.config.address import Addressed
from adaptive.config.base import Filename, Flag, Number, Part, Positive, Share, Whole
from adaptive.config.units import PositiveDuration, Size, at_least


class EndpointConfig(Addressed):
    """One address of a cluster. Short form: "host:port"."""

    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    zone: str = ""
    priority: Annotated[int, Field(strict=True, ge=0, le=127)] = 0  # as many as Envoy can carry; 0 is used first
    # Times FULL_WEIGHT this is a whole number from 1 up; the upper bound keeps sums within what Envoy takes.
    weight: Annotated[float, Field(strict=True, ge=0.01, le=1000)] = 1.0
    metadata: dict[str, str] = Field(default={})


def _ranges(statuses: Iterable[int]) -> list[str]:
    """Statuses as "first-last", in order."""
    found: list[list[int]] = []
    for status in sorted(statuses):
        if found and found[-1][1] == status - 1:
            found[-1][1] = status
        else:
            found.append([status, status])
    return [f"{first}-{last}" if first != last else str(first) for first, last in found]


def _statuses(item: Any) -> range:
    text = str(item) if isinstance(item, (str, int)) else ""
    first, dash, last = text.partition("-")
    if not (len(first) == 3 and first.isdecimal() and (len(last) == 3 and last.isdecimal() if dash else True)):
        raise ValueError('expected statuses are numbers and ranges, such as 200 or "200-299"')
    found = range(int(first), int(last or first) + 1)
    if not found or found[0] < 100 or found[-1] > 599:
        raise ValueError(f"{text} is not within the statuses from 100 to 599")
    return found


class HealthCheck(Part):
    """An active check: GET `path`, at every endpoint, each `interval`."""

    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$")] = "/"
    interval: PositiveDuration = 5.0
    timeout: PositiveDuration = 1.0
    host: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")] | None = None  # as Host; None: the endpoint's address
    healthy: Positive = 2  # passes in a row that make it healthy again
    unhealthy: Positive = 2  # failures in a row that count as evidence of a fault
    expect: frozenset[int] = frozenset(range(200, 300))
    announcements: Flag = False  # the first line of the body may say "drain", "50%" or "maxconn:30"

    @field_validator("timeout")
    @classmethod
    def _within_interval(cls, timeout: float, info: ValidationInfo) -> float:
        if timeout > info.data.get("interval", timeout):
            raise ValueError(f"is longer than the interval of {info.data['interval']:g}s, so checks would overlap")
        return timeout

    @field_validator("expect", mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        items = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not items:
            raise ValueError("at least one status must be expected")
        return frozenset(status for item in items for status in _statuses(item))

    @field_serializer("expect")
    def _compact(self, expect: frozenset[int]) -> list[str]:
        return _ranges(expect)


class ClusterLimits(Part):
    """Bounds of one worker towards a cluster; what exceeds them is refused at once (503) and counted."""

    connections: Positive = 1024  # open connections to one endpoint
    requests: Positive = 4096  # attempts in flight to the whole cluster
    idle: Whole = 256  # connections to one endpoint kept open without use
    header_bytes: Annotated[Size, at_least(1024)] = 64 * 1024  # head of a response (502)

    @field_validator("idle")
    @classmethod
    def _within_connections(cls, idle: int, info: ValidationInfo) -> int:
        if idle > info.data.get("connections", idle):
            raise ValueError(f"more idle connections than connections ({info.data['connections']})")
        return idle


class ClusterTimeouts(Part):
    """Waits towards endpoints, in seconds."""

    connect: PositiveDuration = 0.3  # one lost SYN is resent after 1 s: another endpoint answers sooner than that
    idle: PositiveDuration = 55.0  # of a pooled connection: less than the 60 s after which many servers hang up


class UpstreamTLS(Part):
    """TLS towards endpoints. Short form: true. `server_name` is sent as SNI and verified; None: the endpoint's host."""

    ca: Filename | None = None  # PEM file; None: the system's
    server_name: str | None = None
    verify: Flag = True
    cert: Filename | None = None
    key: Filename | None = None

    @field_validator("key")
    @classmethod
    def _needs_cert(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is not None and info.data.get("cert", key) is None:
            raise ValueError("a key without its cert")
        return key

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {} if data is True else data

    @property
    def client_certificate(self) -> tuple[str, str | None] | None:
        """Files for `ssl.SSLContext.load_cert_chain`; the key may be in the certificate's file."""
        return (self.cert, self.key) if self.cert is not None else None


class Overload(Part):
    """What happens when more comes than the cluster can serve. Short form: false (or true).

    Requests are then held to what the endpoints can serve, and the excess waits for its turn: so long that on average
    it is answered within three quarters of its route's timeout, and within half of the time after which clients leave,
    where many do. What could not be served by then is refused (503). An excess that lasts is refused beyond `goal` once
    what exceeds that has waited for 15 s on average: half a minute after a load of evenly too much began. Routes say by
    their `priority` who goes first.
    """

    enabled: Flag = True
    # Mean latency of what is admitted in an overload that lasts; None: ten times what it is in calm. Named, it holds
    # from the first moment on: what exceeds it is refused, though it might have been served in time.
    goal: PositiveDuration | None = None
    waiting: Whole = 4096  # requests of one worker that may wait; how many can be served in time bounds them, too

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"enabled": data} if isinstance(data, bool) else data


class RetryBudget(Part):
    """How many retries a cluster bears: a share of its requests over the window, and a few each second besides, so that
    quiet clusters may retry too (as Finagle's and Linkerd's budgets, whose figures these are).
    """

    ratio: Share = 0.2
    minimum: Number = 10.0  # retries a second
    window: PositiveDuration = 10.0


class Hedging(Part):
    """Second copies of slow requests that may be sent again: a share of the requests, which retries use up as well.
    Short form: false (or true).
    """

    enabled: Flag = True
    ratio: Share = 0.03
    minimum: Number = 1.0  # a second

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"enabled": data} if isinstance(data, bool) else data


class Objective(Part):
    """The promise that a breach is measured against: share of failed attempts, latency (None: learned)."""

    errors: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.05
    latency: PositiveDuration | None = None


class ClusterConfig(Part):
    """A named set of endpoints and how it is served."""

    endpoints: Annotated[tuple[EndpointConfig, ...], Field(min_length=1)]
    protocol: Literal["http1", "http2"] = "http1"  # towards the endpoints; http2, as gRPC needs it, through Envoy only
    policy: Literal["adaptive", "round_robin", "random", "least_request", "peak_ewma"] = "adaptive"
    health_check: HealthCheck | None = None
    limits: ClusterLimits = ClusterLimits()
    timeouts: ClusterTimeouts = ClusterTimeouts()
    tls: UpstreamTLS | None = None
    retry_budget: RetryBudget = RetryBudget()
    hedging: Hedging = Hedging()
    overload: Overload = Overload()
    objective: Objective = Objective()
    predict: Flag = True  # off: the model-free policy alone
    learn_capacity: Flag = True  # off: attempts in flight and mean latency alone say who is how loaded
    stall_gate: Flag = True  # off: silence says nothing to the fast loop
    random_picks: Share = 0.0  # of repeatable requests, to any endpoint: a recording can then answer for more policies

    @field_validator("tls", mode="before")
    @classmethod
    def _switched_off(cls, value: Any) -> Any:
        return None if value is False else value
