"""Envoy's messages: classes made at run time from the descriptions in xds.binpb, in a pool of their own.

The file is written when the wheel is built (hatch_build.py). A pool of our own means that no other package's messages
of the same names can clash with these. Fields that Envoy knows and the descriptions do not yet are added to them here.
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
    return made


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
