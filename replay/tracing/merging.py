"""Several files as one trace: in order of time, under one header, in which a name has one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptive.telemetry.columns import Rows, join
from adaptive.telemetry.recording import Header
from replay.tracing.files import EXTRA, Column, Part

# Seconds by which two files' offsets from wall-clock time may differ while their monotonic clock is the same: clocks
# are slewed and set by less. After a reboot, or on another machine, it is another.
SAME_CLOCK = 60.0
# Requests are numbered anew by each run of a gateway, its workers in steps of 2**40; runs are told apart above those.
_RUN = 56


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows of all parts, in order of the parts."""

    header: Header
    rows: Rows
    extra: Mapping[str, Column]
    notes: tuple[str, ...]


def in_order(parts: Sequence[Part]) -> list[Part]:
    """By wall-clock time of their first rows; those without rows first."""

    def start(part: Part) -> float:
        return part.header.wall_offset + float(part.rows["sent_at"].min()) if len(part.rows) else -np.inf

    return sorted(parts, key=start)


def merged(parts: Sequence[Part]) -> Merged:
    """The parts as one; times are those of the first part's clock."""
    parts = in_order(parts)
    base = parts[0].header
    clusters, routes, slots = list(base.clusters), list(base.routes), dict(base.endpoints)
    nodes = list(base.nodes)
    runs: dict[float, int] = {}
    rules: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    tables = []
    for part in parts:
        header, rows = part.header, part.rows.copy()
        rows["cluster"] = _renumber(rows["cluster"], header.clusters, clusters)
        rows["route"] = _renumber(rows["route"], header.routes, routes)
        rows["worker"] = _renumber(rows["worker"], header.nodes, nodes)
        rows["slot"] = _slots(rows["slot"], header.endpoints, slots)
        for route in (name for name, own in header.rules.items() if rules.get(name, own) != own):
            notes.append(f"{part.path}: the route {route} has other rules from here on, which are taken for all")
        rules |= header.rules
        run = runs.setdefault(header.wall_offset, len(runs))
        rows["request"] += np.uint64(run << _RUN)
        ahead = header.wall_offset - base.wall_offset
        if abs(ahead) > SAME_CLOCK:
            notes.append(f"{part.path}: recorded by another clock: its times were moved by {ahead:+.3f} s")
            for name in ("sent_at", "first_byte", "done"):
                rows[name] += ahead
        tables.append(rows)
    names = [name for name in EXTRA if any(name in part.extra for part in parts)]
    header = replace(
        base,
        clusters=tuple(clusters),
        routes=tuple(routes),
        nodes=tuple(nodes),
        endpoints=slots,
        rules=rules,
        workers=max(part.header.workers for part in parts),
        lacks=tuple(sorted({name for part in parts for name in part.header.lacks})),
        partial="; ".join(dict.fromkeys(p.header.partial for p in parts if p.header.partial)),
    )
    extra = {name: np.concatenate([_extra(part, name) for part in parts]) for name in names}
    return Merged(header, join(tables), extra, tuple(notes))


def _renumber(column: Column, own: Sequence[str], shared: list[str]) -> Column:
    """Indices into `own` as indices into `shared`, which grows. Those of no name stay what they are; of more names than
    there are numbers, the last share one.
    """
    if list(own) == shared[: len(own)]:
        return column
    table = np.arange(int(column.max(initial=0)) + 1, dtype=column.dtype)
    for index, name in enumerate(own[: len(table)]):
        if name not in shared:
            shared.append(name)
        table[index] = min(shared.index(name), np.iinfo(column.dtype).max)
    return np.asarray(table[column])


def _slots(column: Column, own: Mapping[str, tuple[str, str]], shared: dict[str, tuple[str, str]]) -> Column:
    if all(shared.get(slot) == pair for slot, pair in own.items()):
        return column
    known: dict[Any, str] = {}
    for slot, pair in shared.items():
        known.setdefault(pair, slot)
    moved = column.copy()
    for slot, pair in own.items():
        if pair not in known:
            fresh = slot if slot not in shared else str(max(map(int, shared)) + 1)
            known[pair] = fresh
            shared[fresh] = pair
        target = slot if shared.get(slot) == pair else known[pair]
        moved[column == np.uint32(int(slot))] = int(target)
    return moved


def _extra(part: Part, name: str) -> Column:
    if name in part.extra:
        return part.extra[name]
    return np.full(len(part.rows), None, dtype=object) if EXTRA[name] else np.full(len(part.rows), np.nan)
