"""Trace: a recording as numpy columns, with its header and what is known to be missing from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptive.telemetry.columns import Rows, empty
from adaptive.telemetry.recording import COLUMNS, Header, RecordingError, read_header, read_recording, recordings


class TraceError(Exception):
    """A trace cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Outcomes in the order of the files, as OUTCOME_DTYPE. `partial` says what is missing, "" where nothing is."""

    header: Header
    rows: Rows
    partial: str = ""


def read(paths: Iterable[Path], on_warning: Callable[[str], None] = lambda text: None) -> Trace:
    """The trace in these files, or directories of them. Raises TraceError."""
    try:
        table = read_recording(paths)
        first = next(file for path in paths for file in (recordings(path) if path.is_dir() else [path]))
        found = read_header(first)
    except RecordingError as error:
        raise TraceError(str(error)) from None
    rows = empty(table.num_rows)
    for name, column in COLUMNS.items():
        rows[name] = table[column].to_numpy()
    known = {key: found[key] for key in Header.__dataclass_fields__ if key in found}
    known["endpoints"] = {slot: tuple(pair) for slot, pair in found["endpoints"].items()}
    return Trace(Header(**known), np.ascontiguousarray(rows))
