"""Attempts as logs tell them to the rows and the header of a trace.

Times become monotonic: seconds from the first attempt, with the wall clock's own at that moment in the header. A log
whose clock was set back goes on where it was, by the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from adaptive.telemetry.columns import Rows, empty, join
from adaptive.telemetry.recording import Header
from adaptive.types import Cause, Mark
from replay.importers.base import Attempt, Importer, ImportFailed, Unusable
from replay.trace import Trace

Key = TypeVar("Key", str, tuple[str, str])
BLOCK = 65_536
JUMP = 60.0  # seconds by which a log's lines may go back: those of one moment are written by several workers
MOST_SLOTS = 100_000  # endpoints; more mean that the column is something else
MOST_NAMES = 1 << 16  # clusters, and routes: what their columns can tell apart
MOST_BYTES = 1 << 62
LONG = 1e11  # seconds, some 3,000 years: no moment is further from 1970, and nothing takes longer
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_CENSORED = frozenset(
    {Cause.TIMEOUT_ATTEMPT, Cause.TIMEOUT_ROUTE, Cause.CONNECT_TIMEOUT, Cause.CLIENT_GONE, Cause.CANCELLED}
)
_COPIED = ("status", "cause", "first_byte", "connect", "propensity")


@dataclass(slots=True)
class Collector:
    """Takes attempts in, and gives a trace out."""

    importer: Importer
    clusters: dict[str, int] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    slots: dict[tuple[str, str], int] = field(default_factory=dict)
    requests: int = 0
    jumps: list[str] = field(default_factory=list)
    _held: list[tuple[Attempt, int, float]] = field(default_factory=list)
    _blocks: list[Rows] = field(default_factory=list)
    _words: dict[str | None, str | None] = field(default_factory=dict)
    _texts: list[tuple[str | None, str | None, float]] = field(default_factory=list)
    _ahead: float = 0.0  # what is added to times, because clocks went back
    _latest: float = -math.inf

    def add(self, attempts: Iterable[Attempt], where: str) -> None:
        """The attempts of one unit. Raises Unusable, and then takes none of them."""
        made = list(attempts)
        first, last = self.importer.options.window
        for one in made:
            _check(one)
        if made and self.importer.logged:
            self._watch_clock(made, where)
        for one in made:
            if not one.again:
                self.requests += 1
            if first <= one.sent_at < last:
                self._held.append((one, self.requests, self._ahead))
        if len(self._held) >= BLOCK:
            self._flush()

    def new_file(self) -> None:
        """Another file begins: its clock is compared with itself."""
        self._latest, self._ahead = -math.inf, 0.0

    def _watch_clock(self, made: list[Attempt], where: str) -> None:
        at = max(one.done if math.isfinite(one.done) else one.sent_at for one in made) + self._ahead
        if at < self._latest - JUMP:
            self.jumps.append(
                f"{where}: the clock goes back by {self._latest - at:.3f} s: what follows was moved on by as much"
            )
            self._ahead += self._latest - at
            at = self._latest
        self._latest = max(self._latest, at)

    def _slot(self, one: Attempt) -> int:
        return _number((self._name(one.cluster), self._name(one.endpoint)), self.slots, MOST_SLOTS, "endpoints")

    def _flush(self) -> None:
        rows = empty(len(self._held))
        held, self._held = self._held, []
        if not held:
            return
        attempts = [one for one, _, _ in held]
        ahead = np.array([a for _, _, a in held])
        for name in _COPIED:
            rows[name] = [getattr(one, name) for one in attempts]
        for name in ("sent_at", "done"):
            rows[name] = np.array([getattr(one, name) for one in attempts]) + ahead
        rows["first_byte"] += ahead
        rows["request"] = [number for _, number, _ in held]
        rows["bytes_up"], rows["bytes_down"] = [o.up for o in attempts], [o.down for o in attempts]
        rows["attempt"] = [one.number for one in attempts]
        rows["slot"] = [self._slot(one) for one in attempts]
        rows["cluster"] = [_number(self._name(o.cluster), self.clusters, MOST_NAMES, "clusters") for o in attempts]
        rows["route"] = [_number(self._name(o.route), self.routes, MOST_NAMES, "routes") for o in attempts]
        rows["marks"] = [_marks(one) for one in attempts]
        rows["load_cpu"] = rows["load_app"] = np.nan
        self._blocks.append(rows)
        self._texts += [(self._word(o.method), self._word(o.path), o.server_seconds) for o in attempts]

    def _name(self, value: str) -> str:
        return self._word(value) or ""

    def _word(self, value: str | None) -> str | None:
        """A text once, and such that it can be written as UTF-8."""
        if value not in self._words:
            self._words[value] = value and value.encode("utf-8", "backslashreplace").decode()
        return self._words[value]

    def trace(self, source: str) -> Trace:
        """All of it, in order of time."""
        self._flush()
        rows = join(self._blocks)
        known = np.isfinite(rows["done"])
        keep, partial = np.ones(len(rows), dtype=bool), ""
        if known.any() and not known.all():
            keep, partial = known, f"{int((~known).sum())} attempts without an end were left out"
        lacks = set(self.importer.lacks) | ({"done", "first_byte"} if not known.any() else set())
        if not known.any() and self.importer.resolution:
            rows["sent_at"] = spread(rows["sent_at"], self.importer.resolution)
        order = np.flatnonzero(keep)[np.argsort(rows["sent_at"][keep], kind="stable")]
        rows = rows[order]
        origin = math.floor(rows["sent_at"][0]) if len(rows) else 0.0
        for name in ("sent_at", "first_byte", "done"):
            rows[name] -= origin
        if "done" not in lacks:
            rows["in_flight"] = in_flight(rows)
        texts = np.empty(len(self._texts), dtype=object)
        texts[:] = self._texts
        columns = {
            "method": np.array([t[0] for t in texts], dtype=object)[order],
            "path": np.array([t[1] for t in texts], dtype=object)[order],
            "server_seconds": np.array([t[2] for t in texts], dtype=np.float64)[order],
        }
        extra = {name: c for name, c in columns.items() if not _nothing(c)}
        header = Header(
            wall_offset=float(origin),
            routes=tuple(self.routes),
            clusters=tuple(self.clusters),
            endpoints={str(slot): pair for pair, slot in self.slots.items()},
            source=source,
            lacks=tuple(sorted(lacks)),
        )
        return Trace(header, rows, partial, extra)


def in_flight(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Attempts in flight at each one's endpoint when it was sent, without itself; rows in order of `sent_at`."""
    found = np.zeros(len(rows), dtype=np.int64)
    for slot in np.unique(rows["slot"]):
        mine = np.flatnonzero(rows["slot"] == slot)
        ended = np.searchsorted(np.sort(rows["done"][mine]), rows["sent_at"][mine], side="right")
        found[mine] = np.maximum(np.arange(len(mine)) - ended, 0)
    return found


def spread(
    times: np.ndarray[tuple[int], np.dtype[np.float64]], step: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Times that are known in steps, evenly within each: all at its beginning would be a burst that never was."""
    _, inverse, counts = np.unique(times, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    place = np.empty(len(times))
    place[order] = np.arange(len(times)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(times + step * (place + 0.5) / counts[inverse])


def _check(one: Attempt) -> None:
    """Raises Unusable for an attempt that cannot have been, or that the columns of a trace cannot hold."""
    if not abs(one.sent_at) <= LONG:
        raise Unusable(f"its time {one.sent_at:g} is none")
    if one.done < one.sent_at:
        raise Unusable(f"it is done {one.sent_at - one.done:.6g} s before it was sent")
    for what, seconds in (("it is done", one.done), ("its first byte came", one.first_byte)):
        if seconds - one.sent_at > LONG:
            raise Unusable(f"{what} {seconds - one.sent_at:g} s after it was sent")
    if not 0.0 <= one.connect <= LONG:
        raise Unusable(f"it took {one.connect:g} s to connect")
    if not (math.isnan(one.propensity) or 0.0 < one.propensity <= 1.0):
        raise Unusable(f"its propensity {one.propensity:g} is not in (0, 1]")
    if max(one.up, one.down) > MOST_BYTES:
        raise Unusable(f"it has {max(one.up, one.down):g} bytes")


def _number(name: Key, known: dict[Key, int], most: int, what: str) -> int:
    """A name's number, a new one for a new name. Raises ImportFailed where there are too many."""
    if name not in known and len(known) >= most:
        raise ImportFailed(f"there are over {most} {what}: is that column the right one?")
    return known.setdefault(name, len(known))


def _marks(one: Attempt) -> int:
    marks = Mark.FINAL if one.final else Mark(0)
    if one.method in _REPEATABLE:
        marks |= Mark.REPEATABLE
    if one.cause in _CENSORED:
        marks |= Mark.CENSORED
    if one.connect > 0.0:
        marks |= Mark.FRESH
    return int(marks)


def _nothing(column: np.ndarray[tuple[int], np.dtype[np.generic]]) -> bool:
    return all(v is None for v in column.tolist()) if column.dtype == object else bool(np.isnan(column).all())
