"""Where recorded traffic may be sent: to this machine, and to what the operator names. Everything else is refused.

Replayed requests are real ones: an order that is sent again is a second order. So a target must be on the loopback, or
allowed by name on the command line, where it is seen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit


class TargetError(ValueError):
    """The target cannot be used or may not be; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """An origin. `local`: it must resolve to loopback addresses only."""

    host: str
    port: int
    tls: bool
    local: bool

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def target(url: str, allowed: Iterable[str] = ()) -> Target:
    """The target of a URL. `allowed` are HOST or HOST:PORT. Raises TargetError."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise TargetError(f"{url!r} is no target: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetError(f"{url!r} is no target: write http://127.0.0.1:8080")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise TargetError(
            f"{url!r}: a target is an origin, without user, path or query (--path says what is asked for)"
        )
    tls = parts.scheme == "https"
    port = (443 if tls else 80) if port is None else port
    host = parts.hostname
    named = {one.strip().lower().strip("[]") for one in allowed}
    if host in named or f"{host}:{port}" in named or f"[{host}]:{port}" in {one.lower() for one in allowed}:
        return Target(host, port, tls, local=False)
    if host == "localhost" or host.endswith(".localhost") or is_loopback(host):
        return Target(host, port, tls, local=True)
    raise TargetError(
        f"{url!r} is not on this machine: recorded requests would be sent again to somebody; "
        f"if that is meant, say so with --allow {host}:{port}"
    )


def is_loopback(address: str) -> bool:
    """Whether a text is an IP address that never leaves the machine."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
