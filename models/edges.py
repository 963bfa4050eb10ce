"""Files of calls between pods, and of the faults that were injected: the layout of the Nezha recordings (FSE'23).

    DAY_edges.csv(.gz)     trace, start_ns, caller, callee, op, client_us, server_us, ok: a row a call
    DAY-fault_list.json    lists of inject_time (read as UTC), inject_pod, inject_type

`inject_timestamp` is not read: on some days it is hours off. A fault is in force for 180 s: its length is not given,
and measures that.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.calls import Calls, PodBins
from models.columns import Bools, Floats, Ints

LENGTH = 180.0  # seconds that a fault is in force
AHEAD = 30.0  # seconds: the question is whether one is in force at any time of these to come
LATENCY = ("cpu_contention", "cpu_consumed", "network_delay")  # types that slow a pod down; others answer wrongly
COLUMNS = ("start_ns", "caller", "callee", "op", "client_us", "server_us")


class EdgesError(Exception):
    """A file cannot be used; the message names it, the row, the column and the value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault. `at` is wall-clock seconds."""

    pod: str
    kind: str
    at: float


def find(path: Path, pattern: str) -> Path | None:
    """The file itself, or the one file of this pattern in a directory; None where there is none."""
    if not path.is_dir():
        return path
    fits = sorted(path.glob(pattern))
    if len(fits) > 1:
        raise EdgesError(f"{path}: holds {len(fits)} files {pattern}; name one")
    return fits[0] if fits else None


def read_calls(path: Path) -> tuple[Calls, str]:
    """The calls of a file or of a directory's only such file, and the SHA-256 of the bytes. Raises EdgesError."""
    file = find(path, "*_edges.csv*")
    if file is None:
        raise EdgesError(f"{path}: holds no *_edges.csv or *_edges.csv.gz")
    try:
        data = file.read_bytes()
        text = gzip.decompress(data) if file.suffix == ".gz" else data
    except FileNotFoundError:
        raise EdgesError(f"{file}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise EdgesError(f"{file}: truncated or damaged: {error}") from None
    return _calls(text, file), hashlib.sha256(data).hexdigest()


def _calls(text: bytes, file: Path) -> Calls:
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(
            pa.BufferReader(text), convert_options=csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()))
        )
    except pa.ArrowInvalid as error:
        raise EdgesError(f"{file}: no table of calls: {str(error).splitlines()[0]}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise EdgesError(f"{file}: has no column {', '.join(missing)}")
    if not table.num_rows:
        raise EdgesError(f"{file}: holds no calls")
    start = _numbers(table, "start_ns", file)
    waited, worked = _numbers(table, "client_us", file) / 1e6, _numbers(table, "server_us", file) / 1e6
    done = start / 1e9 + waited
    order = np.argsort(done, kind="stable")
    pods: tuple[str, ...] = tuple(sorted(set(_values(table, "caller")) | set(_values(table, "callee"))))
    caller, callee = _codes(table, "caller", pods), _codes(table, "callee", pods)
    op = _codes(table, "op", tuple(_values(table, "op")))
    worked = np.where(worked < 0, np.nan, worked)  # -1: the callee left no span
    return Calls(pods, done[order], caller[order], callee[order], op[order], waited[order], worked[order])


def _values(table: Any, name: str) -> list[str]:
    return sorted(str(value) for value in table[name].unique().to_pylist())


def _codes(table: Any, name: str, values: tuple[str, ...]) -> Ints:
    """The column as indexes into `values`."""
    encoded = table[name].combine_chunks().dictionary_encode()
    place = {value: index for index, value in enumerate(values)}
    known = np.array([place[str(value)] for value in encoded.dictionary.to_pylist()], dtype=np.int64)
    found: Ints = known[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def _numbers(table: Any, name: str, file: Path) -> Floats:
    import pyarrow as pa

    try:
        found: Floats = table[name].cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        found = np.full(1, np.nan)
    if np.isfinite(found).all():
        return found
    for row, value in enumerate(table[name].to_pylist()):
        try:
            good = np.isfinite(float(value))
        except ValueError:
            good = False
        if not good:
            raise EdgesError(f"{file}: row {row + 2}: {name}: {value!r} is no number")
    raise EdgesError(f"{file}: {name}: not a column of numbers")


def read_faults(path: Path) -> list[Fault]:
    """The faults of a file, or of a directory's only such file, in order of time. Raises EdgesError."""
    file = find(path, "*fault_list.json")
    if file is None:
        raise EdgesError(f"{path}: holds no *fault_list.json; name one with --faults")
    try:
        told = json.loads(file.read_bytes())
        return sorted((_fault(entry, where, file) for where, entry in _entries(told, file)), key=lambda f: f.at)
    except FileNotFoundError:
        raise EdgesError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise EdgesError(f"{file}: no list of faults: {error}") from None


def _entries(told: Any, file: Path) -> Iterator[tuple[str, Any]]:
    groups = told.items() if isinstance(told, dict) else [("", told)]
    for key, group in groups:
        if not isinstance(group, list):
            raise EdgesError(f"{file}: {key}: is no list of faults")
        for index, entry in enumerate(group):
            yield f"{key}[{index}]", entry


def _fault(entry: Any, where: str, file: Path) -> Fault:
    try:
        time = datetime.fromisoformat(str(entry["inject_time"]))
        return Fault(str(entry["inject_pod"]), str(entry["inject_type"]), _utc(time))
    except (KeyError, TypeError) as error:
        raise EdgesError(f"{file}: {where}: has no {error}") from None
    except ValueError:
        raise EdgesError(f"{file}: {where}: inject_time: {entry['inject_time']!r} is no time") from None


def _utc(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def truth(rows: PodBins, faults: list[Fault], kinds: tuple[str, ...] = LATENCY) -> tuple[Bools, Bools]:
    """For each row whether such a fault is in force on the pod within AHEAD seconds, and whether it is now."""
    names = np.array(rows.pods)[rows.pod]
    coming, now = np.zeros(len(rows.at), dtype=bool), np.zeros(len(rows.at), dtype=bool)
    for fault in faults:
        if fault.kind in kinds:
            mine = names == fault.pod
            coming |= mine & (fault.at < rows.at + AHEAD) & (fault.at + LENGTH > rows.at)
            now |= mine & (fault.at <= rows.at) & (fault.at + LENGTH > rows.at)
    return coming, now


def shown(rows: PodBins, faults: list[Fault]) -> list[str]:
    """The types of the latency faults that these rows show."""
    return [fault.kind for fault in faults if truth(rows, [fault])[1].any()]
