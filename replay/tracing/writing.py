"""A trace written as a finished recording: whole under its name, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from adaptive.telemetry.columns import Rows
from adaptive.telemetry.recording import PART, Header, Names, batch, parquet, schema
from replay.tracing.files import EXTRA, Column, TraceError

_GROUP = 65_536  # rows of a row group, as the recorder's


def write(header: Header, rows: Rows, path: Path, extra: Mapping[str, Column] | None = None, partial: str = "") -> None:
    """Rows in order of `done` (of `sent_at` where nobody knows that), with the columns of EXTRA that there are.

    Written beside under the suffix `.part` and then renamed. Raises TraceError where the file cannot be written.
    """
    extra = extra or {}
    header = replace(header, partial=partial or header.partial)
    order = np.argsort(rows["sent_at" if "done" in header.lacks else "done"], kind="stable")
    layout = schema(header)
    names = Names(_plain(header))
    full = names.extend(layout)
    for name in (name for name in EXTRA if name in extra):
        full = full.append(pa.field(name, pa.string() if EXTRA[name] else pa.float64()))
    beside = path.with_name(path.name + PART)
    try:
        try:
            with parquet(beside, full) as writer:
                for start in range(0, len(rows), _GROUP):
                    some = order[start : start + _GROUP]
                    table = names.add(pa.Table.from_batches([batch(rows[some], layout)]))
                    for name in full.names[table.num_columns :]:
                        table = table.append_column(full.field(name), _array(extra[name][some], full.field(name).type))
                    writer.write_table(table.cast(full))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from None


def _array(values: Column, kind: pa.DataType) -> pa.Array:
    return pa.array(values.tolist() if pa.types.is_string(kind) else np.ascontiguousarray(values), kind)


def _plain(header: Header) -> dict[str, Any]:
    return {"endpoints": header.endpoints, "routes": header.routes, "nodes": header.nodes}
