"""Files to a trace: what cannot be used is counted, the first of it named, and all of it kept aside."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Any

from replay.importers.apache import Apache
from replay.importers.base import Importer, ImportFailed, Options, Unusable, opened
from replay.importers.collecting import Collector
from replay.importers.datasets import Mooncake, Nezha
from replay.importers.envoy import Envoy
from replay.importers.goreplay import Goreplay
from replay.importers.haproxy import Haproxy
from replay.importers.har import Har
from replay.importers.nginx import Nginx
from replay.importers.rates import Counts, NginxPlus, Prometheus
from replay.importers.table import Table
from replay.report.write import naming
from replay.trace import Trace, write

FORMATS: Mapping[str, type[Importer]] = {
    one.name: one
    for one in (Nginx, Envoy, Haproxy, Apache, Goreplay, Har, Prometheus, Table, Counts, Nezha, Mooncake, NginxPlus)
}
SHOWN = 5  # of the units that cannot be used


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an import."""

    trace: Trace
    requests: int
    bad: int
    total: int  # units
    unit: str
    rejected: Path | None  # where the bad ones are


def run(
    name: str, files: Sequence[Path], out: Path, options: Options, say: Callable[[str], None] = lambda text: None
) -> Report:
    """Imports files as one trace, written to `out`; what cannot be used goes to `out` + ".rejected".

    Raises ImportFailed where nothing could be used, TraceError where `out` cannot be written, OSError for files.
    """
    importer = FORMATS[name](options)
    collector = Collector(importer)
    aside = _Aside(out.with_name(out.name + ".rejected"))
    for path in files:
        if path.exists() and any(made.exists() and made.samefile(path) for made in (out, aside.path)):
            raise ImportFailed(f"{path}: is read here, and --out would write over it: name another file there")
    try:
        total = sum(_file(importer, collector, path, aside, say) for path in files)
        for note in _first(collector.jumps):
            say(note)
        for note in importer.notes:
            say(f"{name}: {note}")
        if importer.unreached:
            say(f"{name}: {importer.unreached} requests reached no instance and are left out")
        trace = collector.trace(f"{name}: {', '.join(path.name for path in files)}")
        if not len(trace.rows):
            raise ImportFailed(_nothing(name, files, importer, total, aside))
        if aside.count:
            bad = f"{aside.count} of {total} {importer.unit}s of the {name} log could not be used"
            trace = replace(trace, partial="; ".join(filter(None, (bad, trace.partial))))
        if aside.cuts:
            trace = replace(trace, partial="; ".join(filter(None, (trace.partial, *aside.cuts))))
        write(trace, out)
    finally:
        kept = aside.close()
    return Report(trace, collector.requests, aside.count, total, importer.unit, kept)


def _file(importer: Importer, collector: Collector, path: Path, aside: _Aside, say: Callable[[str], None]) -> int:
    collector.new_file()
    seen = 0
    try:
        with opened(path) as file:
            for unit in importer.units(file, path):
                seen += 1
                where = f"{path}: {importer.unit} {unit.place}"
                try:
                    collector.add(importer.parse(unit.usable()), where)
                except Unusable as error:
                    aside.keep(unit.raw)
                    if aside.count <= SHOWN:
                        say(f"{where}: {error}")
    except (EOFError, BadGzipFile, zlib.error) as error:
        if not seen:
            raise ImportFailed(f"{path}: not what gzip packs: {error}") from None
        cut = f"{path}: truncated after {importer.unit} {unit.place}: {error}"
        say(cut)
        aside.cuts.append(cut)
    return seen


def _nothing(name: str, files: Sequence[Path], importer: Importer, total: int, aside: _Aside) -> str:
    named = ", ".join(map(str, files))
    if not total:
        return f"{named}: nothing stands in it"
    if aside.count:
        return f"{named}: none of {total} {importer.unit}s could be used; is it a log of {name}?"
    return f"{named}: no request reached an instance, or none is between --from and --to"


def _first(notes: list[str]) -> list[str]:
    if len(notes) <= SHOWN:
        return notes
    return [*notes[:SHOWN], f"and {len(notes) - SHOWN} times more"]


class _Aside:
    """The file of what could not be used. It is there only if something is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.cuts: list[str] = []  # files of which the end is missing
        self._file: IO[Any] | None = None

    def keep(self, raw: str) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self.count += 1
        with naming(self.path):
            self._file.write(raw if raw.endswith("\n") else raw + "\n")

    def close(self) -> Path | None:
        if self._file is None:
            self.path.unlink(missing_ok=True)
            return None
        with naming(self.path):
            self._file.close()
        return self.path
