"""Routes: which requests, to which cluster, under which time-outs and retries, with which header changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from adaptive.config.address import read_host
from adaptive.config.base import HeaderName, HeaderValue, Methods, Name, Part, one_or_many
from adaptive.config.pattern import check_pattern
from adaptive.config.units import Duration

# Fields that belong to one connection or say where a message ends (RFC 9110, 7.6.1): the gateway alone writes them.
_OURS = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_SECRET = ("authorization", "cookie", "key", "password", "secret", "token")


def is_secret(header: str) -> bool:
    """Whether values of this header are kept out of read-outs."""
    return any(word in header for word in _SECRET)


class HeaderMatch(Part):
    """A condition on one request header; exactly one of the three. Short form: the exact value."""

    exact: HeaderValue | None = None
    regex: Annotated[str, AfterValidator(check_pattern)] | None = None  # of the whole value
    present: Annotated[bool, Field(strict=True)] | None = None  # false: must be absent

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return {"exact": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _exactly_one(self) -> HeaderMatch:
        if sum(way is not None for way in (self.exact, self.regex, self.present)) != 1:
            raise ValueError("exactly one of exact, regex and present is wanted")
        return self


def _not_ours(name: str) -> str:
    if name in _OURS:
        raise ValueError(f"{name} is the gateway's own to write, for it frames the message")
    return name


def _not_host(name: str) -> str:
    if name == "host":
        raise ValueError("a request has exactly one Host: set it")
    return name


Replaceable = Annotated[HeaderName, AfterValidator(_not_ours)]
Removable = Annotated[Replaceable, AfterValidator(_not_host)]


class HeaderChanges(Part):
    """Changes to headers, applied in this order: remove, set (replaces), add (appends). Values are kept out of repr."""

    set: dict[Replaceable, HeaderValue] = Field(default={}, repr=False)
    add: dict[Removable, HeaderValue] = Field(default={}, repr=False)
    remove: Annotated[tuple[Removable, ...], BeforeValidator(one_or_many)] = ()


def _host(text: str) -> str:
    """A host to match: a name, an IP address, or "*." and a name."""
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if name.startswith("[") and name.endswith("]"):
        return f"[{read_host(name[1:-1])}]"
    try:
        host = read_host(name)
    except ValueError as error:
        port = name.rpartition(":")
        hint = f": without the port? {wildcard}{port[0]}" if port[0] and port[2].isdigit() else ""
        raise ValueError(f"{error}{hint or ', nor *. and a name'}") from None
    return f"[{host}]" if ":" in host else wildcard + host


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must begin with a slash")
    if "?" in text or "#" in text:
        raise ValueError(f"{text!r}: routes match the path alone, without a query")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(f"{text!r} must be written as on the wire: other characters as %XX")
    return text


Path = Annotated[str, AfterValidator(_path)]
Status = Annotated[int, Field(strict=True, ge=400, le=599)]


class Experiment(Part):
    """Two policies side by side: a share of the requests, by chance, goes to a cluster that has another policy.

    With the same endpoints as the route's own cluster, `adaptive evaluate --experiment` tells from a recording what the
    other policy would do to all of the traffic.
    """

    cluster: str
    share: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.5


class RouteConfig(Part):
    """A rule. Its conditions are all to be met: host, one of path, prefix and regex, methods, headers.

    A host is exact, or "*.name" for every name below it. `regex` must match the whole path. Without any of the three,
    the prefix is "/": every path.
    """

    name: Name
    host: Annotated[str, AfterValidator(_host)] | None = None
    path: Path | None = None
    prefix: Path | None = None
    regex: Annotated[str, AfterValidator(check_pattern)] | None = None
    methods: Methods = ()
    headers: dict[HeaderName, HeaderMatch] = Field(default={})
    cluster: str
    experiment: Experiment | None = None
    timeout: Duration = 15.0  # the whole request, all attempts, in seconds; 0: none. Envoy's default
    attempt_timeout: Duration = 0.0  # one attempt; 0: what the cluster and the model find right
    retries: Annotated[int, Field(strict=True, ge=0, le=10)] = 2  # further attempts; more than a few only adds load
    retry_statuses: tuple[Status, ...] = (502, 503, 504)
    priority: Literal["critical", "normal", "sheddable"] = "normal"  # who is served first, and refused last
    request_headers: HeaderChanges = HeaderChanges()
    response_headers: HeaderChanges = HeaderChanges()

    @model_validator(mode="before")
    @classmethod
    def _every_path(cls, data: Any) -> Any:
        if isinstance(data, dict) and all(data.get(way) is None for way in ("path", "prefix", "regex")):
            return {**data, "prefix": "/"}
        return data

    @field_validator("prefix", "regex")
    @classmethod
    def _one_way(cls, value: str | None, info: ValidationInfo) -> str | None:
        for other in ("path", "prefix"):
            if value is not None and info.data.get(other) is not None:
                raise ValueError(f"a route has one of path, prefix and regex, and this one has {other} already")
        return value

    @field_validator("retry_statuses", mode="before")
    @classmethod
    def _one_status(cls, value: Any) -> Any:
        return one_or_many(value)

    @field_validator("attempt_timeout")
    @classmethod
    def _within_timeout(cls, attempt: float, info: ValidationInfo) -> float:
        whole = info.data.get("timeout", 0.0)
        if 0 < whole < attempt:
            raise ValueError(f"is longer than the timeout of the whole request, {whole:g}s")
        return attempt

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where its requests go: its own cluster, and an experiment's."""
        return (self.cluster,) if self.experiment is None else (self.cluster, self.experiment.cluster)

    @property
    def kind(self) -> Literal["path", "prefix", "regex"]:
        """Which of the three ways it matches a path."""
        return "path" if self.path is not None else "prefix" if self.prefix is not None else "regex"
