"""What an importer is: something that takes a file apart into units (lines, entries) and each unit into attempts."""

from __future__ import annotations

import calendar
import gzip
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from adaptive.types import Cause

LINE = 1 << 16  # characters of a line: HTTP servers take heads of 8 to 32 KiB
UNKNOWN = "unknown"  # the endpoint of what a log does not say
_STAMP = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(\.\d+)?(?: ([+-])(\d\d)(\d\d))?$")
_MONTHS = {m: i for i, m in enumerate(calendar.month_abbr) if m}


class Unusable(ValueError):
    """A unit cannot be imported; the message says why."""


class ImportFailed(Exception):
    """Nothing can be imported; the message names the file or the option."""


class Attempt(NamedTuple):
    """One attempt as a log tells it. Times are seconds of the wall clock, NaN where the log does not know."""

    sent_at: float
    done: float = math.nan
    endpoint: str = UNKNOWN
    cluster: str = ""
    status: int = 0
    cause: Cause = Cause.RESPONSE
    first_byte: float = math.nan
    connect: float = 0.0
    up: int = 0  # bytes
    down: int = 0
    method: str | None = None
    path: str | None = None
    route: str = ""
    number: int = 1
    again: bool = False  # a further attempt of the request before it
    final: bool = True
    server_seconds: float = math.nan
    propensity: float = math.nan


class Unit(NamedTuple):
    """A part of a file: where it begins, its text as it stands there, and what the importer's `parse` takes, or why
    there is no such thing.
    """

    place: int
    raw: str
    value: Any

    def usable(self) -> Any:
        """What `parse` takes. Raises Unusable."""
        if isinstance(self.value, Unusable):
            raise self.value
        return self.value


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about the input. `mapping` is column → field; `window` seconds of the wall clock."""

    cluster: str = ""
    log_format: str = ""
    mapping: tuple[tuple[str, str], ...] = ()
    rates: bool = False
    seed: int = 0
    window: tuple[float, float] = (-math.inf, math.inf)


class Importer:
    """Takes files of one format apart. Subclasses say what they cannot know in `lacks`, by names of OUTCOME_FIELDS.

    `resolution` are the seconds in whose steps the format gives times; arrivals are spread within them. `logged` means
    that lines are in the order in which they were written, so that times which go back mean that a clock was set.
    """

    name = ""
    unit = "line"
    lacks: frozenset[str] = frozenset({"propensity"})
    resolution = 0.0
    logged = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.cluster = options.cluster or self.name
        self.unreached = 0  # requests that reached no instance: answered by the proxy itself, or refused
        self.notes: list[str] = []

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """The units of one file. Raises ImportFailed where the file as a whole is not of this format."""
        return lines(text(file))

    def parse(self, value: Any) -> Iterable[Attempt]:
        """The attempts of a unit; none for a comment or a heading. Raises Unusable."""
        raise NotImplementedError


def opened(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked where its name ends in .gz."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path))
    return path.open("rb")


def text(file: IO[bytes]) -> io.TextIOWrapper:
    """Bytes as text that can be written back as it was."""
    return io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="\n")


def lines(file: io.TextIOWrapper) -> Iterator[Unit]:
    """Lines, counted from 1, each within its bound; empty ones are none."""
    number = 0
    while raw := file.readline(LINE):
        number += 1
        line = raw.rstrip("\r\n")
        if line.strip():
            yield Unit(number, raw, line)


def number(value: str, name: str) -> float:
    """A finite number of a field. Raises Unusable, which names the field."""
    if math.isnan(found := finite(value)):
        raise Unusable(f"{name} {shown(value)} is not a number")
    return found


def finite(value: Any) -> float:
    """A number of JSON, or a text that is one; NaN for everything else, and for what is not finite."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def whole(value: str, name: str) -> int:
    """A whole number of a field, at least 0. Raises Unusable."""
    if not value.isascii() or not value.isdigit() or len(value) > 19:
        raise Unusable(f"{name} {shown(value)} is not a whole number")
    return int(value)


def status_of(value: str, name: str = "status") -> int:
    """An HTTP status. Raises Unusable."""
    found = whole(value, name)
    if not 100 <= found <= 999:
        raise Unusable(f"{name} {shown(value)} is no status of HTTP")
    return found


def span(value: str, name: str, unit: float = 1.0) -> float:
    """Seconds from 0 up. Raises Unusable."""
    found = number(value, name) * unit
    if found < 0.0:
        raise Unusable(f"{name} {shown(value)} is below 0")
    return found


def moment(value: str, name: str) -> float:
    """Seconds of the wall clock from ISO 8601, or from the stamp of NCSA's logs; UTC where no zone stands. Unusable."""
    try:
        if match := _STAMP.match(value):
            day, month, year, hour, minute, second, part, sign, ahead, minutes = match.groups()
            at = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
            offset = (int(ahead) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
            return at.timestamp() - offset + (float(part) if part else 0.0)
        parsed = datetime.fromisoformat(value)
    except (KeyError, ValueError, OverflowError):
        raise Unusable(f"{name} {shown(value)} is no time") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def request_line(value: str) -> tuple[str | None, str | None]:
    """Method and path of a request's first line; None where it is not one, as for what was no HTTP."""
    parts = value.split(" ")
    return (parts[0], parts[1]) if len(parts) == 3 and parts[0].isalpha() else (None, None)


def shown(value: str) -> str:
    """A value as a message shows it."""
    found = repr(value)
    return found if len(found) <= 60 else found[:60] + "..."
