"""Which metrics of a Prometheus server mean what: a YAML file, or one of those that ship, in `mappings/`.

    labels: {cluster: LABEL, endpoint: LABEL}
    attempts: SELECTOR              counter of attempts at an endpoint, all of them that say something of it
    errors, refused, timeouts       counters of those that failed: badly answered, without a connection, out of time
    latency: {buckets: SELECTOR, unit: 1s}      a histogram's buckets, and the unit of its `le`
    in_flight, load                 gauges: attempts in flight; the endpoint's own report of its load, from 0 to 1

A selector is a metric's name, with matchers where wanted; a list of them is added up. No kind of failure counts what
another one counts too. All but `labels` and `attempts` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping as Names
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptive.config.document import Document, read_document
from adaptive.config.files import Unreadable, read_text
from adaptive.config.suggest import suggestion
from adaptive.config.units import read_duration

READY = Path(__file__).parent / "mappings"
COUNTERS = ("attempts", "errors", "refused", "timeouts")
GAUGES = ("in_flight", "load")
KEYS = ("labels", *COUNTERS, "latency", *GAUGES)


class MappingError(Exception):
    """A mapping cannot be used; the message names the file, the line and the key."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is asked for, by what it means. Selectors of one meaning are added up."""

    cluster: str
    endpoint: str
    selectors: Names[str, tuple[str, ...]]  # of COUNTERS and GAUGES
    buckets: tuple[str, ...] = ()  # none: latencies are not known
    unit: float = 1.0  # seconds


def ready() -> list[str]:
    """The names of those that ship."""
    return sorted(path.stem for path in READY.glob("*.yaml"))


def mapping(name: str) -> Mapping:
    """The mapping of this name, or in the file of this name. Raises MappingError."""
    names = ready()
    path = READY / f"{name}.yaml" if name in names else Path(name)
    if name not in names and not path.suffix:
        hint = suggestion(name, names) or f"; known are {', '.join(names)}, and files"
        raise MappingError(f"there is no mapping {name!r}{hint}")
    try:
        text = read_text(str(path))
    except Unreadable as error:
        raise MappingError(f"{path}: {error}") from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Mapping:
    """The mapping in a YAML text. Raises MappingError."""
    found = _Reader(read_document(text), file)
    top = found.mapping(found.document.data, (), KEYS)
    labels = found.mapping(top.get("labels", {}), ("labels",), ("cluster", "endpoint"))
    latency = found.mapping(top.get("latency", {}), ("latency",), ("buckets", "unit"))
    unit = 1.0
    if "unit" in latency:
        try:
            unit = read_duration(latency["unit"])
        except ValueError as error:
            raise found.wrong(("latency", "unit"), str(error)) from None
    cluster, endpoint = (found.texts(labels, ("labels", key), True)[0] for key in ("cluster", "endpoint"))
    selectors = {key: found.texts(top, (key,), key == "attempts") for key in (*COUNTERS, *GAUGES)}
    return Mapping(cluster, endpoint, selectors, found.texts(latency, ("latency", "buckets"), bool(latency)), unit)


class _Reader:
    """Values of one document; what is wrong with them names the line."""

    def __init__(self, document: Document, file: str) -> None:
        self.document, self.file = document, file
        for fault in document.faults:
            raise self.wrong(fault.path, fault.message, fault.line)

    def wrong(self, path: tuple[Any, ...], message: str, line: int = 0) -> MappingError:
        line = line or next((self.document.lines[path[:n]] for n in range(len(path), 0, -1) if self._has(path[:n])), 1)
        key = ".".join(str(part) for part in path)
        return MappingError(f"{self.file}:{line}: {key}{': ' if key else ''}{message}")

    def _has(self, path: tuple[Any, ...]) -> bool:
        return path in self.document.lines

    def mapping(self, value: Any, path: tuple[str, ...], known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(path, f"keys and values are wanted: {', '.join(known)}")
        for key in value:
            if key not in known:
                hint = suggestion(str(key), known) or f"; known are {', '.join(known)}"
                raise self.wrong((*path, key), f"there is no such key{hint}")
        return value

    def texts(self, values: dict[str, Any], path: tuple[str, ...], needed: bool) -> tuple[str, ...]:
        key = path[-1]
        if key not in values:
            if needed:
                raise self.wrong(path, "is missing")
            return ()
        value = values[key]
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str) and item.strip() for item in items):
            raise self.wrong(path, "a text is wanted, or a list of them")
        return tuple(item.strip() for item in items)
