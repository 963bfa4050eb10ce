"""Rows that are kept beside the code, so that a table which takes days grows by what is new.

Of each cell only what regrets are made of, its p99 in five digits, compressed: some six bytes a row.
"""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from replay.report.write import whole
from replay.sweep.again import changed, sample
from replay.sweep.cells import Cell
from replay.sweep.measure import KEY, Row
from replay.sweep.rows import RowsError, key, parse

SUFFIX = ".csv.xz"
COLUMNS = (*KEY, "requests", "failed", "p99")
SAMPLED = 3  # cells of each policy that are run again before its rows are believed


def rounded(row: Row) -> Row:
    """What is kept of a row, as it comes back; a row that failed says only why."""
    if row["error"]:
        return {name: row[name] for name in (*KEY, "error")}
    return {name: row[name] for name in COLUMNS} | {"p99": float(f"{row['p99']:.5g}"), "error": ""}


def read(path: Path) -> list[Row]:
    """The rows of a file. Raises RowsError, OSError."""
    try:
        text = lzma.decompress(path.read_bytes()).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise RowsError(f"{path}: no rows of a sweep, or cut off: {error}") from None
    return parse(text, path, COLUMNS)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows, the later one where two are of one cell; the same rows give the same bytes. Raises OSError."""
    latest = {key(row): row for row in map(rounded, rows) if not row["error"]}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    # Policies of one cell stand together, which compresses best: they have the same requests.
    for row in sorted(latest.values(), key=lambda row: (*(key(row)[i] for i in (5, 0, 2, 3, 4, 1)),)):
        table.writerow([f"{row[name]:.10g}" if name == "failed" else row[name] for name in COLUMNS])
    with whole(path) as new:
        new.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))


def still(
    rows: Sequence[Row], cells: Sequence[Cell], run: Callable[[Sequence[Cell]], Iterable[Row]]
) -> tuple[list[Row], dict[str, str]]:
    """The rows of policies that still give what they gave, and of each other one what is different."""
    other = changed(sample(cells, rows, SAMPLED), lambda chosen: map(rounded, run(chosen)))
    return [row for row in rows if row["policy"] not in other], other
