"""Durations and sizes as people write them: "500ms", "1m30s", "64KiB".

Inside, durations are float seconds and sizes whole bytes. Decimal arithmetic makes "300ms" the same float as 0.3.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

SECONDS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
}
BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
# A year: longer than any time-out can mean, and far within what timers of an event loop take.
LONGEST = 366 * 86400.0
# 8 EiB less one: what a signed 64-bit offset can name.
LARGEST = 2**63 - 1

# Nine digits before the point and twelve behind it write every duration up to a year to the last digit of a float.
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,30})?(?:us|ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_DURATION_PART = re.compile(r"([0-9.]+)([a-z]+)")
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")


def read_duration(value: Any) -> float:
    """Seconds from "2s", "500ms" or "1m30s". Raises ValueError for plain numbers: only 0 needs no unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f"a duration needs its unit: {value}s or {value}ms?")
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "2s" or "500ms"')
    if not _DURATION.fullmatch(value):
        hint = f": {value}s or {value}ms?" if value.isdigit() else ""
        raise ValueError(f'{value!r} is not a duration such as "2s", "500ms" or "1m30s"{hint}')
    parts = _DURATION_PART.findall(value)
    order = [list(SECONDS).index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise ValueError(f"the units of {value!r} must go from large to small, each once")
    seconds = float(sum(Decimal(number) * SECONDS[unit] for number, unit in parts))
    if seconds > LONGEST:
        raise ValueError(f"{value!r} is longer than a year")
    return seconds


def write_duration(seconds: float) -> str:
    """The shortest "…s" that `read_duration` takes back to the very same float."""
    text = format(Decimal(repr(seconds)), "f")
    return (text[:-2] if text.endswith(".0") else text) + "s"


def read_size(value: Any) -> int:
    """Bytes from "64KiB", "1.5GiB", or a whole number of bytes (the keys end in `_bytes`). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        number, unit = found.groups()
        if unit not in BYTES:
            raise ValueError(f"{unit!r} is not a unit of size: {', '.join(BYTES)}")
        exact = Decimal(number) * BYTES[unit]
        size = int(exact)
        if size != exact:
            raise ValueError(f"{value!r} is not a whole number of bytes")
    else:
        raise ValueError('must be a size such as "64KiB" or "1GiB"')
    if not 0 <= size <= LARGEST:
        raise ValueError(f"{value!r} is out of range: sizes go from 0 to 8 EiB")
    return size


def at_least(smallest: int) -> AfterValidator:
    """A validator for sizes below which nothing would work."""

    def check(size: int) -> int:
        if size < smallest:
            raise ValueError(f"must be at least {smallest} bytes")
        return size

    return AfterValidator(check)


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


DURATION_PATTERN = rf"^({_PART.replace('?:', '')})+$"
_SHAPE = {
    "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}],
    "examples": ["500ms", "2s", "1m30s"],
}
Duration = Annotated[
    float,
    BeforeValidator(read_duration),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema(_SHAPE),
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(read_duration),
    AfterValidator(_positive),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema(_SHAPE["anyOf"][0] | {"examples": _SHAPE["examples"]}),
]
Size = Annotated[
    int,
    BeforeValidator(read_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^[0-9]{{1,19}}(\.[0-9]{{1,6}})? ?({'|'.join(BYTES)})$"},
                {"type": "integer", "minimum": 0},
            ],
            "examples": ["64KiB", "1GiB"],
        }
    ),
]
