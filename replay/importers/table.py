"""CSV by a mapping of its columns: any table in which a row is an attempt, or an arrival."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from adaptive.config.suggest import suggestion
from adaptive.types import Cause
from replay.importers.base import (
    LINE,
    UNKNOWN,
    Attempt,
    Importer,
    ImportFailed,
    Options,
    Unit,
    Unusable,
    moment,
    number,
    shown,
    span,
    status_of,
    text,
    whole,
)

_UNITS = {"": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}
_TIMES = ("sent_at", "done", "first_byte")
_SPANS = ("latency", "connect", "server")
_WORDS = ("endpoint", "cluster", "route", "method", "path")
_OTHER = ("status", "cause", "bytes_up", "bytes_down", "attempt", "propensity", "ok")
FIELDS = (*(f + u for f in (*_TIMES, *_SPANS) for u in _UNITS), *_WORDS, *_OTHER)
_FALSE = frozenset({"0", "false", "no", ""})


class Table(Importer):
    """Rows of a CSV file with a heading. Raises ImportFailed for a mapping that cannot be used."""

    name = "csv"
    unit = "row"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._fields: dict[str, str] = {}
        for column, field in options.mapping:
            if field not in FIELDS:
                hint = suggestion(field, FIELDS) or f"; known are {', '.join(FIELDS)}"
                raise ImportFailed(f"--map {column}={field}: there is no such field{hint}")
            if field in self._fields:
                raise ImportFailed(f"--map {column}={field}: {self._fields[field]!r} is this field already")
            self._fields[field] = column
        self._time = {field: self._which(field) for field in (*_TIMES, *_SPANS)}
        if self._time["sent_at"] is None and (self._time["done"] is None or self._time["latency"] is None):
            raise ImportFailed("--map: a column must be sent_at (or sent_at_ms, _us, _ns), or two done and latency")
        unknown = {name for name in ("connect", "first_byte") if self._time[name] is None}
        if "propensity" not in self._fields:
            unknown.add("propensity")
        if self._time["done"] is None and self._time["latency"] is None:
            unknown.add("done")
            self.notes.append("no column is latency or done: these are arrivals only")
        self.lacks = frozenset(unknown)

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Rows; the heading is the first."""
        csv.field_size_limit(LINE)
        reader = csv.reader(text(file))
        head = next(reader, [])
        if missing := [column for column in self._fields.values() if column not in head]:
            known = ", ".join(head[:30])
            hint = suggestion(missing[0], head) or f"; it has {known if known.isprintable() else shown(known)}"
            raise ImportFailed(f"{path}: there is no column {missing[0]!r}{hint}")
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Unit(reader.line_num, "", Unusable(str(error)))
                continue
            if row:
                raw = ",".join(row) + "\n"
                if len(row) != len(head):
                    yield Unit(reader.line_num, raw, Unusable(f"has {len(row)} cells, the heading {len(head)}"))
                else:
                    yield Unit(reader.line_num, raw, dict(zip(head, row, strict=True)))

    def parse(self, value: Mapping[str, str]) -> Iterator[Attempt]:
        """One row."""
        got = {field: value[column] for field, column in self._fields.items()}
        latency = self._span(got, "latency")
        done, sent = self._moment(got, "done"), self._moment(got, "sent_at")
        if math.isnan(sent):
            sent = done - latency
        if math.isnan(done):
            done = sent + latency
        if done < sent:
            raise Unusable(f"it is done {sent - done:.6g} s before it was sent")
        failed = got.get("ok", "1").strip().lower() in _FALSE
        connect = self._span(got, "connect")
        chance = number(got["propensity"], "propensity") if got.get("propensity") else math.nan
        yield Attempt(
            sent,
            done,
            got.get("endpoint") or UNKNOWN,
            got.get("cluster") or self.cluster,
            status_of(got["status"]) if got.get("status", "0") not in ("", "0", "-") else 0,
            _cause(got["cause"]) if got.get("cause") else Cause.RESET if failed else Cause.RESPONSE,
            self._moment(got, "first_byte"),
            0.0 if math.isnan(connect) else connect,
            whole(got["bytes_up"], "bytes_up") if got.get("bytes_up") else 0,
            whole(got["bytes_down"], "bytes_down") if got.get("bytes_down") else 0,
            got.get("method") or None,
            got.get("path") or None,
            got.get("route", ""),
            max(1, min(whole(got["attempt"], "attempt"), 255)) if got.get("attempt") else 1,
            server_seconds=self._span(got, "server"),
            propensity=chance,
        )

    def _which(self, field: str) -> tuple[str, float] | None:
        """The field as it was mapped, with its unit."""
        found = [(field + unit, factor) for unit, factor in _UNITS.items() if field + unit in self._fields]
        if len(found) > 1:
            raise ImportFailed(f"--map: {found[0][0]} and {found[1][0]} are the same field")
        return found[0] if found else None

    def _moment(self, got: Mapping[str, Any], field: str) -> float:
        if (found := self._time[field]) is None or not got[found[0]]:
            return math.nan
        value = got[found[0]]
        if found[1] == 1.0 and not value.replace(".", "", 1).lstrip("-").isdigit():
            return moment(value, self._fields[found[0]])
        if value.isascii() and value.isdigit() and len(value) <= 19:
            return int(value) * found[1]
        return number(value, self._fields[found[0]]) * found[1]

    def _span(self, got: Mapping[str, Any], field: str) -> float:
        if (found := self._time[field]) is None or not got[found[0]]:
            return math.nan
        return span(got[found[0]], self._fields[found[0]], found[1])


def _cause(value: str) -> Cause:
    try:
        return Cause[value.strip().upper()]
    except KeyError:
        raise Unusable(f"cause {shown(value)} is none of {', '.join(one.name.lower() for one in Cause)}") from None
