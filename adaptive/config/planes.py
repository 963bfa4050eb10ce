"""What a configuration asks for that the embedded data plane does not have."""

from __future__ import annotations

from collections.abc import Iterator

from adaptive.config.document import Fault
from adaptive.config.model import Config

_ELSEWHERE = "needs Envoy: --data-plane envoy, or xds"


def embedded(config: Config) -> Iterator[Fault]:
    """What only Envoy does."""
    for index, listener in enumerate(config.listen):
        if listener.http3:
            yield Fault(("listen", index, "http3"), f"HTTP/3 {_ELSEWHERE}")
    for name, cluster in config.clusters.items():
        if cluster.protocol != "http1":
            yield Fault(("clusters", name, "protocol"), f"{cluster.protocol} {_ELSEWHERE}")
