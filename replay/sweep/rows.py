"""Rows of a sweep as a file: CSV, each row as it comes, so that what was stopped can go on.

Floats are written as `repr` does and come back bit for bit.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from replay.sweep.cells import Cell
from replay.sweep.measure import COLUMNS, FIGURES, KEY, Row

WHOLE = frozenset({"requests", "moves"})


class RowsError(ValueError):
    """A file is no table of a sweep; the message names the file, the row and what is wrong."""


def key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells a row from every other, as `Cell.key`."""
    return tuple(str(row[name]) for name in KEY)


def begin(file: IO[str]) -> None:
    """Writes the header."""
    csv.writer(file, lineterminator="\n").writerow(COLUMNS)


def write(file: IO[str], row: Row) -> None:
    """Writes one row, at once."""
    csv.writer(file, lineterminator="\n").writerow([row.get(name, "") for name in COLUMNS])
    file.flush()


def read(path: Path) -> list[Row]:
    """The rows of a file; a last line that was cut off is left out. Raises RowsError, OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RowsError(f"{path}: no table of a sweep: not UTF-8 text, at byte {error.start}") from None
    return parse(text, path)


def parse(text: str, path: Path, columns: tuple[str, ...] = COLUMNS) -> list[Row]:
    """The rows of a file's text, which may hold some of the columns only. Raises RowsError, naming the file."""
    lines = text[: text.rfind("\n") + 1].splitlines()
    found = []
    for number, fields in enumerate(csv.reader(lines), 1):
        if number == 1:
            if tuple(fields) != columns:
                raise RowsError(f"{path}: no table of a sweep: its columns are {', '.join(fields)[:80]}")
            continue
        if len(fields) != len(columns):
            raise RowsError(f"{path}:{number}: {len(fields)} fields, and {len(columns)} are wanted")
        found.append(_row({"error": "", **dict(zip(columns, fields, strict=True))}, f"{path}:{number}"))
    return found


def _row(fields: dict[str, str], where: str) -> Row:
    made: Row = dict(fields)
    if fields["error"]:
        return {name: fields[name] for name in (*KEY, "error")}
    for name in (name for name in FIGURES if name in fields):
        try:
            made[name] = int(fields[name]) if name in WHOLE else float(fields[name])
        except ValueError:
            raise RowsError(f"{where}: {name}: {fields[name]!r} is no number") from None
    return made


def left(cells: Iterable[Cell], done: Iterable[Row]) -> list[Cell]:
    """The cells of which there is no row yet, or only one that says why it failed."""
    known = {key(row) for row in done if not row["error"]}
    return [cell for cell in cells if cell.key() not in known]


def as_json(rows: Iterable[Row]) -> str:
    """Rows as JSON, a line each."""
    return "".join(json.dumps({name: row[name] for name in COLUMNS if name in row}) + "\n" for row in rows)
