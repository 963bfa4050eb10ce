"""Envoy's messages: classes made at run time from the descriptions in xds.binpb, in a pool of their own.

The file is written when the wheel is built (hatch_build.py). A pool of our own means that no other package's messages
of the same names can clash with these. What Envoy knows and the published descriptions do not is added to them here:
fields, and of the messages by which it tells its statistics and its log what is read of them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "adaptive-gateway"
FILE = "adaptive/envoy/xds.binpb"
PREFIX = "type.googleapis.com/"

# (file, message and its nested one, field, number, type): in Envoy since 1.39, and in no published description.
NEWER = (
    (
        "envoy/config/cluster/v3/circuit_breaker.proto",
        ("CircuitBreakers", "Thresholds", "RetryBudget"),
        "budget_interval",
        3,
        ".google.protobuf.Duration",
    ),
)

# (file, package, what it imports, {message: ((field, number, type, repeated), ...)}). A type is a message's, or "" for
# a string and "double" for a number. Fields that are not read are left out: what is not known is passed over.
ADDED = (
    (
        "io/prometheus/client/metrics.proto",
        "io.prometheus.client",
        (),
        {
            "Counter": (("value", 1, "double", False),),
            "Metric": (("counter", 3, "Counter", False),),
            "MetricFamily": (("name", 1, "", False), ("metric", 4, "Metric", True)),
        },
    ),
    (
        "envoy/service/metrics/v3/metrics_service.proto",
        "envoy.service.metrics.v3",
        ("envoy/config/core/v3/base.proto", "io/prometheus/client/metrics.proto"),
        {
            "Identifier": (("node", 1, ".envoy.config.core.v3.Node", False),),
            "StreamMetricsMessage": (
                ("identifier", 1, "Identifier", False),
                ("envoy_metrics", 2, ".io.prometheus.client.MetricFamily", True),
            ),
        },
    ),
    (
        "opentelemetry/proto/logs/v1/logs.proto",  # and its service's, the published ones of which are too old
        "opentelemetry.proto.logs.v1",
        ("opentelemetry/proto/common/v1/common.proto",),
        {
            "Resource": (("attributes", 1, ".opentelemetry.proto.common.v1.KeyValue", True),),
            "LogRecord": (("body", 5, ".opentelemetry.proto.common.v1.AnyValue", False),),
            "ScopeLogs": (("log_records", 2, "LogRecord", True),),
            "ResourceLogs": (("resource", 1, "Resource", False), ("scope_logs", 2, "ScopeLogs", True)),
            "ExportLogsServiceRequest": (("resource_logs", 1, "ResourceLogs", True),),
        },
    ),
)


class Missing(Exception):
    """Envoy's messages cannot be had here, with what would help."""


def find() -> Path:
    """Where xds.binpb is: beside this module, else in the installed distribution, which a source tree may shadow.

    Raises Missing.
    """
    beside = Path(__file__).with_name("xds.binpb")
    if beside.exists():
        return beside
    try:
        installed = Path(str(metadata.distribution(DISTRIBUTION).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        installed = beside
    if installed.exists():
        return installed
    raise Missing(
        f"{beside} is not there: `pip install '.[envoy]'` builds it, and so does `python hatch_build.py` in a source "
        "tree where xds-protos and hatchling are installed"
    )


@lru_cache(maxsize=1)
def pool() -> Any:
    """The pool of all descriptions. Raises Missing."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool
    except ImportError as error:
        raise Missing(f"{error}: `pip install 'adaptive-gateway[envoy]'` brings it") from None
    files = descriptor_pb2.FileDescriptorSet.FromString(find().read_bytes())
    made = descriptor_pool.DescriptorPool()
    for file in files.file:
        _add_newer(file)
        made.Add(file)
    for added in ADDED:
        made.Add(_file(*added))
    return made


def _file(name: str, package: str, needed: tuple[str, ...], described: dict[str, Any]) -> Any:
    """The description of a file of messages, as in ADDED."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=needed)
    for title, fields in described.items():
        message = file.message_type.add(name=title)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number)
            made.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            if kind in ("", "double"):
                made.type = Field.TYPE_DOUBLE if kind else Field.TYPE_STRING
            else:
                made.type = Field.TYPE_MESSAGE
                made.type_name = kind if kind.startswith(".") else f".{package}.{kind}"
    return file


def _add_newer(file: Any) -> None:
    for name, path, field, number, kind in NEWER:
        if file.name != name:
            continue
        message = next(m for m in file.message_type if m.name == path[0])
        for part in path[1:]:
            message = next(m for m in message.nested_type if m.name == part)
        if not any(known.number == number for known in message.field):
            label, message_type = 1, 11  # FieldDescriptorProto.LABEL_OPTIONAL, TYPE_MESSAGE
            message.field.add(name=field, number=number, label=label, type=message_type, type_name=kind)


@lru_cache(maxsize=256)
def message(name: str) -> Any:
    """The class of a message by its full name, such as "envoy.config.cluster.v3.Cluster". Raises Missing."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def parse(name: str, data: dict[str, Any]) -> Any:
    """A message from its JSON form. Raises ValueError with the path of what the message does not have."""
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(data, message(name)(), descriptor_pool=pool())
    except json_format.ParseError as error:
        raise ValueError(f"{name}: {error}") from None
