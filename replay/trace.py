"""Trace: a recording as numpy columns, with its header and what is known to be missing from it.

The recorder's Parquet columns are the format (`adaptive.telemetry.recording`); what else is known of an imported log
stands in columns beside them: method, path, server_seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaptive.telemetry.columns import Rows
from adaptive.telemetry.recording import Header
from replay.tracing import writing
from replay.tracing.checks import checked
from replay.tracing.files import Column, Damaged, Part, TraceError, files_of, read_part
from replay.tracing.merging import merged

__all__ = ["Header", "Trace", "TraceError", "read", "write"]


@dataclass(frozen=True, slots=True)
class Trace:
    """Outcomes as OUTCOME_DTYPE, in the order of the files, which is that of time; attempts in one are by `done`.

    `partial` says what is missing, "" where nothing is. `extra` has a column (n,) for each of `method`, `path` (texts,
    None where not known) and `server_seconds` that the files have. The header's `lacks` names columns that are NaN,
    because nobody knew: a trace of arrivals alone lacks `done`, one of a log lacks `propensity`.
    """

    header: Header
    rows: Rows
    partial: str = ""
    extra: Mapping[str, Column] = field(default_factory=dict)

    @property
    def arrivals_only(self) -> bool:
        """Whether no attempt's end is known."""
        return "done" in self.header.lacks


def read(paths: Iterable[Path], on_warning: Callable[[str], None] = lambda text: None) -> Trace:
    """The trace in these files, or directories of them.

    A value that cannot be is repaired, a row that cannot be is left out, a file of several that is a wreck too: each
    is a warning, and what is left out makes the trace partial. Raises TraceError where nothing is left, too much is
    wrong, a file is no trace, or it has a newer format.
    """
    files = list(dict.fromkeys(file for path in paths for file in files_of(path)))
    if not files:
        raise TraceError("no file is given")
    parts: list[Part] = []
    missing: list[str] = []
    wrecks: list[Damaged] = []
    for file in files:
        try:
            part = read_part(file)
        except Damaged as error:
            wrecks.append(error)
            continue
        rows, keep, notes = checked(part.rows, part.header, file)
        for note in notes:
            on_warning(note)
        if part.missing:
            on_warning(part.missing)
            missing.append(part.missing)
        if not keep.all():
            missing.append(f"{file}: {int((~keep).sum())} of {len(rows)} rows were left out")
        parts.append(replace(part, rows=rows[keep], extra={name: c[keep] for name, c in part.extra.items()}))
    if wrecks and not any(len(part.rows) for part in parts):
        raise TraceError(str(wrecks[0]))
    for wreck in wrecks:
        on_warning(str(wreck))
        missing.append(str(wreck))
    whole = merged(parts)
    for note in whole.notes:
        on_warning(note)
    partial = "; ".join([*([whole.header.partial] if whole.header.partial else []), *missing])
    return Trace(whole.header, whole.rows, partial, whole.extra)


def write(trace: Trace, path: Path) -> None:
    """The trace as one file, whole or not at all. Raises TraceError."""
    writing.write(trace.header, trace.rows, path, trace.extra, trace.partial)
