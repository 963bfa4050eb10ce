"""Envoy as the data plane: where the Envoys find us, and which of them we serve."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from adaptive.config.address import Addressed
from adaptive.config.base import Filename, Part, one_or_many
from adaptive.config.units import PositiveDuration

# As long as a name of a cluster: it becomes a label of metrics.
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ServiceTLS(Part):
    """TLS of both sides: our certificate, and the authority that has signed those of the Envoys."""

    cert: Filename
    key: Filename
    ca: Filename


class Service(Addressed):
    """Where Envoys of other machines find us. Short form: "host:port". Beyond this machine, TLS is required."""

    tls: ServiceTLS | None = None


class EnvoyConfig(Part):
    """What only this data plane has. `service` None: Envoy is started here, and talks to us through a socket file."""

    service: Service | None = None
    nodes: tuple[NodeName, ...] = ()  # those that are served; none named: all that come
    # Least time between two pushes of one cluster's endpoints: each makes every worker of Envoy build a schedule anew.
    push_interval: PositiveDuration = 0.25
    flush_interval: PositiveDuration = 0.05  # how long Envoy gathers entries of its access log before it sends them
    # Bytes of its log at which an Envoy elsewhere sends it earlier. What we have not taken after some seconds is lost.
    # One that is started here tells through a pipe; adaptive.envoy.pipe says how much that holds, and for how long.
    buffer_bytes: Annotated[int, Field(strict=True, ge=16384, le=64 << 20)] = 1 << 20

    @field_validator("nodes", mode="before")
    @classmethod
    def _one_node(cls, value: Any) -> Any:
        return one_or_many(value)
