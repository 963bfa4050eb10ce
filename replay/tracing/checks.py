"""What cannot be true of a trace's rows: a value that says nothing is made NaN, a row that cannot be is left out.

More rows that cannot be than SHARE of a file mean that the file is not what it says; it is refused then. Every message
names the file, the first row (from 0), the column and the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adaptive.telemetry.columns import Rows
from adaptive.telemetry.recording import COLUMNS, Header
from adaptive.types import Cause, Mark
from replay.tracing.files import TraceError

Mask = np.ndarray[Any, np.dtype[np.bool_]]

SHARE = 0.01  # of a file's rows: a few flipped bits stay far below, a column that means something else far above
# Seconds by which rows of one clock may lie apart in a file: workers are drained in turn, and a brain that stalls takes
# what waited at once. A clock that was set, or began anew, is off by more.
JUMP = 60.0
_ALL_MARKS = int(sum(Mark))


def checked(rows: Rows, header: Header, path: Path) -> tuple[Rows, Mask, list[str]]:
    """Repaired rows, which of them to keep, and what was found. Raises TraceError where too much is wrong."""
    rows, notes = _repaired(rows, header, path)
    keep = np.ones(len(rows), dtype=bool)
    with np.errstate(invalid="ignore"):
        for column, bad, why in _impossible(rows, header):
            if not bad.any():
                continue
            notes.append(f"{_first(rows, column, bad, path)}: {why}; {_rows(bad)} left out")
            keep &= ~bad
    lost = int((~keep).sum())
    if lost > max(1, SHARE * len(rows)):
        raise TraceError(f"{notes[-1].removesuffix(' left out')}; with {lost} of {len(rows)} rows wrong it is refused")
    stretch, jump = _stretch(rows, keep, header, path)
    return rows, keep & stretch, notes + jump


def _impossible(rows: Rows, header: Header) -> Iterator[tuple[str, Mask, str]]:
    """(column, bad rows, what is wrong with them)."""
    yield "sent_at", ~np.isfinite(rows["sent_at"]), "no moment"
    if "done" not in header.lacks:
        yield "done", ~np.isfinite(rows["done"]), "no moment"
    yield "done", rows["done"] < rows["sent_at"], "before the attempt was sent"
    slots = np.array(sorted(int(slot) for slot in header.endpoints), dtype=np.uint32)
    yield "slot", ~np.isin(rows["slot"], slots), f"the header names no such endpoint, only {len(slots)} others"
    if header.clusters:
        count = len(header.clusters)
        yield "cluster", rows["cluster"] >= count, f"the header names {count} clusters"
    yield "cause", rows["cause"] > max(Cause), f"causes end at {max(Cause)}"
    yield "attempt", rows["attempt"] == 0, "attempts count from 1"
    yield "status", (rows["status"] > 999) | ((rows["status"] > 0) & (rows["status"] < 100)), "no status of HTTP"


def _repaired(rows: Rows, header: Header, path: Path) -> tuple[Rows, list[str]]:
    """Values that say nothing are made to say that they are not known. What is only not there is no finding."""
    rows, notes = rows.copy(), []
    with np.errstate(invalid="ignore"):
        first, chance = rows["first_byte"], rows["propensity"]
        wrong: list[tuple[str, Mask, float, str]] = [
            ("first_byte", (first < rows["sent_at"]) | (first > rows["done"]), np.nan, "outside of its attempt"),
            ("propensity", ~((chance > 0.0) & (chance <= 1.0)), np.nan, "not in (0, 1]"),
            ("connect", ~((rows["connect"] >= 0.0) & np.isfinite(rows["connect"])), 0.0, "no span of time"),
        ]
    for column, bad, value, why in wrong:
        if bad.any():
            if column not in header.lacks:
                notes.append(f"{_first(rows, column, bad, path)}: {why}; {_rows(bad)} set to {value:g}")
            rows[column][bad] = value
    rows["marks"] &= _ALL_MARKS
    return rows, notes


def _stretch(rows: Rows, keep: Mask, header: Header, path: Path) -> tuple[Mask, list[str]]:
    """The longest stretch over which the clock did not jump back, and where it did."""
    column = "sent_at" if "done" in header.lacks else "done"
    index = np.flatnonzero(keep)
    times = rows[column][index]
    jumps = np.flatnonzero(np.diff(times) < -JUMP) + 1
    if not len(jumps):
        return np.ones(len(rows), dtype=bool), []
    edges = [0, *jumps.tolist(), len(index)]
    longest = int(np.argmax(np.diff(edges)))
    chosen = index[edges[longest] : edges[longest + 1]]
    mask = np.zeros(len(rows), dtype=bool)
    mask[chosen] = True
    at = jumps[0]
    return mask, [
        f"{path}: row {index[at]}: {COLUMNS[column]}: {times[at]:.3f} is {times[at - 1] - times[at]:.1f} s before the "
        f"row above it: the clock jumped back, {len(jumps)} times in all; only the longest stretch between, rows "
        f"{chosen[0]} to {chosen[-1]}, is kept"
    ]


def _first(rows: Rows, column: str, bad: Mask, path: Path) -> str:
    row = int(np.flatnonzero(bad)[0])
    return f"{path}: row {row}: {COLUMNS[column]}: {rows[column][row]:.9g}"


def _rows(bad: Mask) -> str:
    count = int(bad.sum())
    return "one row" if count == 1 else f"{count} rows"
