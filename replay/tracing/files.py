"""One file of a trace: its header, its columns, and what of it could not be read.

A finished file (Parquet) is read by row groups, so that a damaged one costs only its own rows; without its footer,
which is written last, nothing of it can be read. An open segment (Arrow stream) is read up to the batch that is torn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptive.telemetry.columns import OUTCOME_DTYPE, Rows, empty
from adaptive.telemetry.recording import COLUMNS, OPEN, Header, RecordingError, header_of, recordings
from replay.tracing.migrations import MIGRATIONS, Migration, migrated

Column = np.ndarray[Any, Any]

# Columns that a trace may have beside those of an outcome: numpy's type of each, and whether it is text.
EXTRA: Mapping[str, bool] = {"method": True, "path": True, "server_seconds": False}


class TraceError(Exception):
    """A trace cannot be read or written; the message names the file, and row and column where there are some."""


class Damaged(TraceError):
    """Nothing of a file can be read, though it seems to have been a trace."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one file holds. `rows` is OUTCOME_DTYPE; `extra` has columns of EXTRA; `missing` says what is not whole."""

    path: Path
    header: Header
    rows: Rows
    extra: Mapping[str, Column]
    missing: str = ""


def read_part(path: Path, migrations: Mapping[int, Migration] = MIGRATIONS) -> Part:
    """One file. Raises TraceError, and Damaged where it is a wreck."""
    try:
        table, missing = _segment(path) if path.suffix == OPEN else _groups(path)
        found, table = migrated(header_of(table.schema, path), table, path, migrations)
        header = _header(found, path)
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except RecordingError as error:
        raise TraceError(str(error)) from None
    except IsADirectoryError:
        raise TraceError(f"{path}: a directory where a file is wanted") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise Damaged(f"{path}: truncated or damaged: {reason}") from None
    rows = empty(table.num_rows)
    for name, column in COLUMNS.items():
        rows[name] = _column(table, column, pa.from_numpy_dtype(OUTCOME_DTYPE[name]), path)
    extra = {
        name: _column(table, name, pa.string() if words else pa.float64(), path)
        for name, words in EXTRA.items()
        if name in table.column_names
    }
    return Part(path, header, rows, extra, missing)


def files_of(path: Path) -> list[Path]:
    """The files of a path: itself, or those of a directory. Raises TraceError where a directory has none."""
    if not path.is_dir():
        return [path]
    found = recordings(path)
    if not found:
        raise TraceError(f"{path}: no recordings")
    return found


def _groups(path: Path) -> tuple[pa.Table, str]:
    """The row groups that can be read, and which cannot."""
    with path.open("rb") as source, pq.ParquetFile(source) as file:
        header_of(file.schema_arrow, path)
        tables, lost = [], []
        start = 0
        for i in range(file.num_row_groups):
            count = file.metadata.row_group(i).num_rows
            try:
                tables.append(file.read_row_group(i))
            except (pa.ArrowException, OSError):
                lost.append(f"rows {start} to {start + count - 1}")
            start += count
        if lost and not tables:
            raise OSError("none of its rows can be read")
        whole = pa.concat_tables(tables) if tables else file.schema_arrow.empty_table()
        return whole, f"{path}: damaged: {', '.join(lost)} cannot be read" if lost else ""


def _segment(path: Path) -> tuple[pa.Table, str]:
    """The batches that were flushed as a whole, and what followed them."""
    with path.open("rb") as source:
        try:
            reader = pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, OSError):
            raise RecordingError(f"{path}: no recording: its schema cannot be read") from None
        header_of(reader.schema, path)
        batches: list[pa.RecordBatch] = []
        missing = ""
        while True:
            at = source.tell()
            try:
                batches.append(reader.read_next_batch())
            except StopIteration:
                break
            except (pa.ArrowInvalid, OSError):
                left = path.stat().st_size - at
                rows = sum(batch.num_rows for batch in batches)
                missing = f"{path}: truncated after row {rows - 1}: {left} bytes at its end are no whole batch"
                break
        return pa.Table.from_batches(batches, reader.schema), missing


def _header(found: Mapping[str, Any], path: Path) -> Header:
    known = {key: found[key] for key in Header.__dataclass_fields__ if key in found}
    try:
        known["endpoints"] = {str(int(slot)): (str(pair[0]), str(pair[1])) for slot, pair in found["endpoints"].items()}
        for key in ("config_hash", "source", "partial"):
            known[key] = str(found.get(key, ""))
        for key in ("nodes", "routes", "clusters", "lacks"):
            known[key] = tuple(str(name) for name in found.get(key, ()))
        known["rules"] = {str(route): dict(rules) for route, rules in found.get("rules", {}).items()}
        known["wall_offset"] = float(found["wall_offset"])
        known["workers"] = int(found["workers"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{path}: its header is not one of a trace: {type(error).__name__}: {error}") from None
    return Header(**known)


def _column(table: pa.Table, name: str, kind: pa.DataType, path: Path) -> Column:
    """A column in its type. Raises TraceError where it is missing, of another type, or has holes."""
    if name not in table.column_names:
        raise TraceError(f"{path}: the column {name} is missing")
    column = table[name]
    if column.null_count and not pa.types.is_string(kind):
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise TraceError(f"{path}: row {row}: {name}: nothing stands there, as in {column.null_count} rows")
    try:
        return np.asarray(column.cast(kind).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise TraceError(f"{path}: column {name}: {column.type} is no {kind}: {reason}") from None
