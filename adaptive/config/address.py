"""Addresses: "host:port" with IPv4, "[IPv6]" or a name; and networks such as 10.0.0.0/8."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from adaptive.config.base import Part, Port

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")  # RFC 1123, and the underscore of container networks
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME = 253  # RFC 1035: 255 octets on the wire


class Unread(NamedTuple):
    """A value that could not be read, on its way to the key that will say so."""

    message: str


def read_host(text: Any) -> str:
    """A host in its canonical form: IP addresses compressed, names in lower case. Raises ValueError."""
    if isinstance(text, Unread):
        raise ValueError(text.message)
    if not isinstance(text, str):
        raise ValueError("must be a host: an IP address or a name")
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    if ":" in text:
        raise ValueError(f"{text!r} is not an IPv6 address")
    name = text.lower()
    labels = name.removesuffix(".").split(".")
    # A name whose last label is a number would be read as an IPv4 address (WHATWG URL, "ends in a number").
    if _NUMERIC.fullmatch(labels[-1]):
        raise ValueError(f"{text!r} is neither an IPv4 address nor a host name")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is not a host name")
    return name


def read_address(text: Any) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port". Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool):
        raise ValueError(f"an address needs its host: 127.0.0.1:{text}?")
    if not isinstance(text, str):
        raise ValueError('must be an address such as "127.0.0.1:8080"')
    host, colon, port = text.rpartition(":")
    if "://" in text:
        raise ValueError(f"{text!r} is a URL; an address is host:port alone")
    if not colon or text.endswith("]"):
        raise ValueError(f"{text!r} has no port: host:port is wanted")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{port!r} is not a port: a number from 0 to 65535 is wanted")
    if not host:
        raise ValueError(f"an address needs its host: 0.0.0.0:{port} for all of IPv4, [::]:{port} for all of IPv6")
    if host.startswith("[") and host.endswith("]"):
        if ":" not in host:
            raise ValueError(f"{host!r}: brackets are for IPv6 addresses")
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets: [{host}]:{port}?")
    return read_host(host), int(port)


def write_address(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_ip(host: str) -> bool:
    """Whether a host is an IP address, and no name that must be resolved."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two sockets would listen on one address: 0.0.0.0 and [::] stand for all of their family. Port 0 is a
    request for any free port, so it meets nothing.
    """
    if one[1] != other[1] or not one[1]:
        return False
    hosts = {one[0], other[0]}
    if len(hosts) == 1:
        return True
    if "0.0.0.0" in hosts:
        return not any(":" in host for host in hosts)
    return "::" in hosts and any(":" in host for host in hosts - {"::"})


def long_form(data: Any, required: bool = True) -> Any:
    """The mapping that an address, or a mapping with the key `address`, is short for: with `host` and `port`. What
    cannot be read becomes an Unread in the place of the host, so that the other keys are still looked at.
    """
    if isinstance(data, dict):
        if "address" not in data:
            if required and not data.keys() & {"host", "port"}:
                return {**data, "host": Unread("an address is required"), "port": 1}
            return data
        rest = {key: value for key, value in data.items() if key != "address"}
        if "host" in rest or "port" in rest:
            return {"port": 1, **rest, "host": Unread("give either address, or host and port")}
        text = data["address"]
    elif isinstance(data, (str, int)):
        text, rest = data, {}
    else:
        return data
    try:
        host, port = read_address(text)
    except ValueError as error:
        return {**rest, "host": Unread(str(error)), "port": 1}
    return {**rest, "host": host, "port": port}


def read_network(value: Any) -> IPv4Network | IPv6Network:
    """A network from "10.0.0.0/8" or a single address. Raises ValueError."""
    if not isinstance(value, (str, IPv4Network, IPv6Network)):
        raise ValueError('must be a network such as "10.0.0.0/8"')
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}: a network such as 10.0.0.0/8 or fd00::/8 is wanted") from None


Host = Annotated[str, BeforeValidator(read_host)]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(read_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8"]}),
]


class Addressed(Part):
    """What has an address. Short form: "host:port"."""

    short_keys: ClassVar[tuple[str, ...]] = ("address",)

    host: Host
    port: Port

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: Any) -> Any:
        return long_form(data)

    @property
    def address(self) -> str:
        """host:port, an IPv6 host in brackets."""
        return write_address(self.host, self.port)
