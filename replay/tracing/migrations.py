"""Older formats of traces, brought up to today's: one function from each format to the next, applied in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptive.telemetry.recording import FORMAT, RecordingError

Migration = Callable[[dict[str, Any], pa.Table], tuple[dict[str, Any], pa.Table]]


def _name_what_is_lacking(header: dict[str, Any], table: pa.Table) -> tuple[dict[str, Any], pa.Table]:
    """1 to 2: the header says who recorded and which columns nobody knew; before, the gateway recorded all of them."""
    return {"source": "adaptive serve", "lacks": [], "partial": "", **header}, table


MIGRATIONS: Mapping[int, Migration] = {1: _name_what_is_lacking}


def migrated(
    header: dict[str, Any], table: pa.Table, path: Path, migrations: Mapping[int, Migration] = MIGRATIONS
) -> tuple[dict[str, Any], pa.Table]:
    """Header and columns in today's format. Raises RecordingError for a format that nothing leads on from."""
    version = int(header["format"])
    while version < FORMAT:
        if version not in migrations:
            raise RecordingError(f"{path}: its format version {version} is none that was ever written")
        header, table = migrations[version](header, table)
        version += 1
        header["format"] = version
    return header, table
