"""Small forms that every translation uses: durations, addresses, typed extensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
PREFIX = "type.googleapis.com/"
# Our own xDS service, as the cluster of that name in every Envoy's bootstrap, and as the key of our metadata.
SERVICE = "adaptive"
# Contents of the files that a configuration names, by path.
Texts = Mapping[str, str]


def typed(kind: str, /, **fields: Any) -> Json:
    """An Any of a message by its full name."""
    return {"@type": PREFIX + kind, **fields}


def extension(name: str, kind: str, /, **fields: Any) -> Json:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def seconds(value: float) -> str:
    """A Duration; to the nanosecond, and never 0 for what is more than 0."""
    nanos = max(round(value * 1e9), math.ceil(value))
    whole, rest = divmod(nanos, 1_000_000_000)
    return f"{whole}.{rest:09d}s" if rest else f"{whole}s"


def socket_address(host: str, port: int) -> Json:
    """A TCP address. "localhost" is the one name that needs no resolving."""
    return {"socket_address": {"address": "127.0.0.1" if host == "localhost" else host, "port_value": port}}


def literal(value: str) -> str:
    """A header value without command operators: Envoy reads %...% as one."""
    return value.replace("%", "%%")


def ads() -> Json:
    """A ConfigSource: over the stream that everything comes from."""
    return {"ads": {}, "resource_api_version": "V3"}
