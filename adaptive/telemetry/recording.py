"""The format of recordings: outcomes in columns, with a header that says where they come from.

A finished recording is a Parquet file. The one being written is an Arrow stream (`.arrows`), which needs no footer:
what was flushed can be read even if the process was killed. Both carry the header, as JSON, in their schema's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptive.telemetry.columns import OUTCOME_DTYPE, Rows
from adaptive.types import OUTCOME_FIELDS, Topology
from adaptive.version import __version__

# 2: a time or a probability that nobody knows is NaN, and the header says so in `lacks`; before, none was.
FORMAT = 2
OPEN, DONE, PART, DAMAGED = ".arrows", ".parquet", ".part", ".damaged"

_KEY = b"adaptive"
_RENAMED = {
    "sent_at": "sent_at_seconds",
    "first_byte": "first_byte_seconds",
    "done": "done_seconds",
    "connect": "connect_seconds",
    "bytes_up": "up_bytes",
    "bytes_down": "down_bytes",
}
# Names of the columns in a recording, in the order of OUTCOME_FIELDS; times and sizes carry their unit.
COLUMNS: Mapping[str, str] = {name: _RENAMED.get(name, name) for name, _, _ in OUTCOME_FIELDS}
NAMES = ("endpoint", "cluster_name", "route_name", "node")  # dictionary-encoded, added to the finished file

# Rows of a Parquet row group: large enough for zstd and dictionaries, small enough to convert in a few MiB.
_GROUP = 65_536
# Columns of few distinct values, which a dictionary shrinks; the others are nearly unique.
_REPEATING = ("slot", "snapshot", "in_flight", "propensity", "load_cpu", "load_app", "cluster", "route", "status")
_DICTIONARY = [*_REPEATING, "attempt", "cause", "marks", "worker", *NAMES]


class RecordingError(Exception):
    """A recording cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one must know to use a recording. `wall_offset` is wall-clock time minus monotonic time, in seconds.

    `nodes` are Envoys by their number in the column of the worker, empty where none carried the requests; `rules` are
    what the gateway does beside picking, by route: fields of `replay.scenario.Rules`; `source` is what recorded,
    `lacks` names the columns that it could not know, `partial` says which rows are missing.
    """

    config_hash: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    wall_offset: float = 0.0
    workers: int = 1
    nodes: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    endpoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # slot → (cluster, host:port)
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = "adaptive serve"
    lacks: tuple[str, ...] = ()
    partial: str = ""
    adaptive: str = __version__
    format: int = FORMAT

    def of(self, topology: Topology) -> dict[str, tuple[str, str]]:
        """`endpoints` brought up to a topology. A slot that lost its endpoint keeps its name: outcomes still come."""
        members = [m for cluster in topology.clusters for m in cluster.members]
        return {**self.endpoints, **{str(m.slot): (m.endpoint.cluster, m.endpoint.address) for m in members}}


def schema(header: Header) -> pa.Schema:
    """The schema of an open segment."""
    fields = [(COLUMNS[name], pa.from_numpy_dtype(OUTCOME_DTYPE[name])) for name, _, _ in OUTCOME_FIELDS]
    return pa.schema(fields, metadata={_KEY: json.dumps(asdict(header), sort_keys=True).encode()})


def batch(rows: Rows, layout: pa.Schema) -> pa.RecordBatch:
    """Rows of the ring as a batch of an open segment."""
    return pa.RecordBatch.from_arrays(
        [_array(rows[name], layout.field(i).type) for i, (name, _, _) in enumerate(OUTCOME_FIELDS)], schema=layout
    )


def convert(source: IO[bytes], path: Path, sink: IO[bytes], go_on: Callable[[], bool] = lambda: True) -> int:
    """Write an open segment's rows to `sink` as Parquet; how many rows.

    Raises RecordingError where `source` (named by `path`) is no segment, InterruptedError once `go_on` says no, and
    OSError where the sink refuses.
    """
    layout, batches = _segment(source, path)
    names = Names(header_of(layout, path))
    count = 0
    writer = parquet(sink, names.extend(layout))
    with writer:
        for group in _groups(batches):
            if not go_on():
                raise InterruptedError("asked to stop")
            writer.write_table(names.add(group))
            count += group.num_rows
    return count


def parquet(sink: IO[bytes] | Path, layout: pa.Schema) -> pq.ParquetWriter:
    """A writer of finished recordings. `layout` may have more columns than the recorder's; words get dictionaries."""
    words = [one.name for one in layout if pa.types.is_string(one.type)]
    plain = [name for name in COLUMNS.values() if name not in _DICTIONARY]
    return pq.ParquetWriter(
        sink,
        layout,
        compression="zstd",
        compression_level=1,  # level 3 costs half as much again for 3 % less
        use_dictionary=_DICTIONARY + words,
        use_byte_stream_split=[name for name in plain if layout.field(name).type != pa.uint8()],
        write_statistics=["done_seconds", "sent_at_seconds"],
    )


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of one recording."""
    return header_of(_table(Path(path), columns=[]).schema, Path(path))


def header_of(layout: pa.Schema, path: Path) -> dict[str, Any]:
    """The header in a schema. Raises RecordingError where there is none, or one of a newer format."""
    try:
        header = json.loads((layout.metadata or {})[_KEY])
        version = int(header["format"])
    except (KeyError, TypeError, ValueError):
        raise RecordingError(f"{path}: no recording of Adaptive: it has no header") from None
    if version > FORMAT:
        raise RecordingError(
            f"{path}: its format version {version} is newer than this Adaptive reads ({FORMAT}); "
            f"it was written by Adaptive {header.get('adaptive', 'of an unknown version')}"
        )
    return dict(header)


def read_recording(paths: Path | str | Iterable[Path | str]) -> pa.Table:
    """The rows of recordings, one after the other: files, or directories of them, whose oldest come first.

    The table's metadata is the first file's. Raises RecordingError, with the file's name, where a file is truncated, is
    no recording, or has a newer format than this version knows.
    """
    given = [Path(paths)] if isinstance(paths, Path | str) else [Path(p) for p in paths]
    files = [file for path in given for file in (recordings(path) if path.is_dir() else [path])]
    if not files:
        raise RecordingError(f"{', '.join(map(str, given)) or 'nothing given'}: no recordings")
    tables = [_table(file) for file in files]
    first = tables[0].schema
    return pa.concat_tables([table.cast(first.with_metadata(first.metadata)) for table in tables])


def recordings(directory: Path) -> list[Path]:
    """A directory's recordings, the oldest first, the open one last."""
    done = sorted(directory.glob(f"*{DONE}"))
    known = {path.stem for path in done}
    return done + [path for path in sorted(directory.glob(f"*{OPEN}")) if path.stem not in known]


class Names:
    """The columns that give slots, routes and Envoys their names; for rows under one header."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        endpoints = {int(slot): pair for slot, pair in header["endpoints"].items()}
        size = max(endpoints, default=-1) + 1
        self._endpoint = _lookup([endpoints[s][1] if s in endpoints else None for s in range(size)])
        self._cluster = _lookup([endpoints[s][0] if s in endpoints else None for s in range(size)])
        self._route = _lookup(list(header["routes"]))
        self._node = _lookup(list(header.get("nodes", ())))  # files of older versions have none

    def extend(self, layout: pa.Schema) -> pa.Schema:
        for name in NAMES:
            layout = layout.append(pa.field(name, pa.dictionary(pa.int32(), pa.string())))
        return layout

    def add(self, table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        slots, routes = _numpy(table["slot"], np.uint32), _numpy(table["route"], np.uint16)
        nodes, names = _numpy(table["worker"], np.uint8), (self._endpoint, self._cluster, self._route, self._node)
        for name, (codes, values), keys in zip(NAMES, names, (slots, slots, routes, nodes), strict=True):
            index = codes[np.minimum(keys, len(codes) - 1)]  # the last code stands for all that have no name
            column = pa.DictionaryArray.from_arrays(_array(index, pa.int32(), valid=index >= 0), values)
            table = table.append_column(name, column)
        return table


def _array(values: Rows, kind: pa.DataType, valid: Rows | None = None) -> pa.Array:
    """A numpy column as Arrow's; null where not `valid`. `pa.array` would import pandas for this: 170 ms and 60 MiB."""
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(np.ascontiguousarray(values))])


def _strings(values: list[str]) -> pa.Array:
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _numpy(column: pa.ChunkedArray, kind: type[np.generic]) -> Rows:
    """A column without nulls, in at most one chunk, as numpy's; `to_numpy` would import pandas too."""
    if not len(column):
        return np.zeros(0, kind)
    chunk = column.chunk(0)
    return np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]


def _lookup(names: list[str | None]) -> tuple[Rows, pa.Array]:
    """For each index the code of its name, -1 where it has none, with one more -1 at the end; and the names by code."""
    values = sorted({name for name in names if name is not None})
    codes = {name: code for code, name in enumerate(values)}
    by_index = [-1 if name is None else codes[name] for name in names]
    return np.array([*by_index, -1], np.int32), _strings(values)


def _segment(source: IO[bytes], path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    try:
        reader = pa.ipc.open_stream(source)
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordingError(f"{path}: no recording: its schema cannot be read") from error
    return reader.schema, _batches(reader)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """What was flushed as a whole; a last batch that its writer did not live to finish is left out."""
    while True:
        try:
            yield reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for one in batches:
        held.append(one)
        if sum(b.num_rows for b in held) >= _GROUP:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        if path.suffix != OPEN:
            table = pq.read_table(path, columns=columns, memory_map=False)
            header_of(table.schema, path)
            return table
        with path.open("rb") as source:
            layout, batches = _segment(source, path)
            names = Names(header_of(layout, path))
            return names.add(pa.Table.from_batches(list(batches), layout))
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordingError(f"{path}: truncated or damaged: {reason}") from error
