"""The gateway's own side: where it listens, its limits and time-outs towards clients, and its admin address."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, field_serializer, field_validator, model_validator

from adaptive.config.address import Addressed, Host, Network, long_form
from adaptive.config.base import Filename, Flag, HeaderName, Part, Port, Positive, Whole, one_or_many
from adaptive.config.units import Duration, PositiveDuration, Size, at_least


class Certificate(Part):
    """A certificate chain and its key (PEM files), and the names (SNI) that choose it; without names: the default."""

    cert: Filename
    key: Filename
    names: tuple[str, ...] = ()

    @field_validator("names", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return one_or_many(value)

    @field_validator("names")
    @classmethod
    def _lower(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in names)


class ListenerTLS(Part):
    """TLS towards clients. Short form: {cert, key} for a single certificate."""

    short_keys: ClassVar[tuple[str, ...]] = ("cert", "key", "names")

    certificates: Annotated[tuple[Certificate, ...], Field(min_length=1)]
    min_version: Literal["1.2", "1.3"] = "1.2"

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "certificates" in data or not ({"cert", "key"} & data.keys()):
            return data
        single = {key: data[key] for key in cls.short_keys if key in data}
        return {key: value for key, value in data.items() if key not in single} | {"certificates": [single]}

    @field_validator("min_version", mode="before")
    @classmethod
    def _unquoted(cls, value: Any) -> Any:
        return str(value) if value in (1.2, 1.3) else value


class Listener(Addressed):
    """An address on which clients are served. Short form: "host:port". Port 0: any free one."""

    tls: ListenerTLS | None = None
    http3: Flag = False  # over UDP, on the same port; through Envoy only


class Admin(Addressed):
    """The admin API's address and its token, which repr and `redacted` hide. Short form: "host:port"."""

    host: Host = "127.0.0.1"
    port: Port = 9901  # as Envoy's customary admin port
    token: SecretStr | None = None
    token_file: Filename | None = None

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return long_form(data, required=False)

    @field_validator("token")
    @classmethod
    def _not_empty(cls, token: SecretStr | None) -> SecretStr | None:
        text = token.get_secret_value() if token else "-"
        if not (text and text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("a token is one or more printable ASCII characters without spaces")
        return token

    @field_serializer("token")
    def _plain(self, token: SecretStr | None) -> str | None:
        return token.get_secret_value() if token else None


class Limits(Part):
    """What a client may ask of one worker. A bound that is reached is answered with its own status and counted."""

    header_bytes: Annotated[Size, at_least(1024)] = 64 * 1024  # a request's head as a whole (431)
    headers: Positive = 100  # fields in it (431)
    uri_bytes: Annotated[Size, at_least(16)] = 8 * 1024  # the request target (414); RFC 9110 asks for 8,000 and more
    body_bytes: Size = 0  # a request's body (413); 0: any length
    connections: Positive = 16384  # open client connections of one worker (503)
    # Of these from one address (429); 0: no bound of its own. Peers in `trusted` stand for many clients and are exempt.
    connections_per_client: Whole = 0
    pipelined: Positive = 32  # requests of one connection that wait for their turn; then its reading pauses
    buffer_bytes: Annotated[Size, at_least(4096)] = 64 * 1024  # unsent bytes of one direction; then its source pauses


class Timeouts(Part):
    """How long the gateway waits for its clients, in seconds."""

    # A little longer than the 60 s of common load balancers in front, so that they and not we close idle connections.
    idle: PositiveDuration = 75.0
    header: PositiveDuration = 10.0  # from a request's first byte to the end of its head (408)
    body: PositiveDuration = 30.0  # between two reads of its body (408)
    write: PositiveDuration = 30.0  # with nothing taken by the client
    drain: Duration = 30.0  # after SIGTERM, for what is in flight


def _for_deadlines(name: str) -> str:
    if not name.startswith("x-") or name == "x-request-id" or name.startswith("x-forwarded-"):
        raise ValueError(f"{name} may mean something else: name a header of its own, as x-envoy-expected-rq-timeout-ms")
    return name


Deadline = Annotated[HeaderName, AfterValidator(_for_deadlines)]


class Server(Part):
    """Behaviour towards all clients of all listeners."""

    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    trusted: tuple[Network, ...] = ()  # X-Forwarded-* of peers in these networks is believed
    # The gateway's own zone: within a priority its endpoints come before those of others, which take what it cannot
    # bear. An endpoint that names no zone is near to everyone.
    zone: str = ""
    # The request header that tells endpoints how many milliseconds are left for their answer; none unless named. What
    # a trusted peer says by it shortens the route's time-out. Between Envoys it is x-envoy-expected-rq-timeout-ms.
    deadline_header: Deadline | None = None
    via: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = "adaptive"  # our name in Via; "": no such header
