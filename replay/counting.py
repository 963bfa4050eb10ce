"""Counters read at intervals, as outcomes: what rose between two readings happened evenly in between.

As many attempts as the counter rose, failures spread among them by chance, latencies in the middle of the buckets that
they were counted in. So what a Prometheus server remembers teaches by the same way as a recording; what happened within
one interval it cannot tell. Where more than MOST attempts a second were counted, that many stand for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Names
from typing import NamedTuple, Protocol

import numpy as np

from adaptive.telemetry.columns import Rows, empty, join
from adaptive.types import Cause, Mark
from models.columns import Floats, Ints
from models.mapping import Mapping
from replay.recalling import AFTER, WARM, Piece

CHUNK = 3600.0  # seconds that are asked for at a time: 720 readings of 5 s, of the 11,000 that a server gives
TICK = 0.5  # seconds between two looks of the Controller: nothing in between is known anyway
MOST = 50.0  # attempts a second and endpoint: shares and means of 5 s no longer gain by more
TIMED_OUT = 2.0  # seconds that an attempt is taken to have waited in vain
FAILED = 0.005  # and one that was answered badly, or got no connection


class Line(Protocol):
    """One series on a grid of times."""

    @property
    def labels(self) -> Names[str, str]: ...
    @property
    def values(self) -> Floats: ...


class Server(Protocol):
    """Who answers with series; see `models.prometheus`."""

    def history(self, selector: str, start: float, end: float, step: float) -> Sequence[Line]: ...


class Unusable(Exception):
    """What the server has cannot teach anything; the message names the metric."""


class Read(NamedTuple):
    """What one endpoint's counters rose by between readings, (readings - 1,), and its gauges at their ends."""

    counts: dict[str, Floats]  # of models.mapping.COUNTERS
    gauges: dict[str, Floats]
    edges: Floats  # upper bounds of the latency buckets, seconds
    latency: Floats  # (buckets, readings - 1)


def chunks(server: Server, known: Mapping, start: float, end: float, step: float) -> Iterator[Piece]:
    """The history as pieces of a recording. Raises Unusable, and what the server raises."""
    found = False
    for begin in np.arange(start, end, CHUNK).tolist():
        close = min(begin + CHUNK, end)
        first = begin - np.ceil(WARM / step) * step
        last = close + np.ceil(AFTER / step) * step
        read = _read(server, known, first, last, step)
        if read:
            found = True
            yield _piece(read, first, step, begin, close)
    if not found:
        query = " + ".join(known.selectors["attempts"])
        raise Unusable(f"attempts: {query} gave no series from {start:.0f} to {end:.0f}")


def _read(server: Server, known: Mapping, first: float, last: float, step: float) -> dict[tuple[str, str], Read]:
    """By cluster and endpoint. Raises Unusable where a metric has nothing but NaN, or lacks a label."""
    found: dict[tuple[str, str], Read] = {}
    for meaning in ("attempts", "errors", "refused", "timeouts", "in_flight", "load"):
        for query in known.selectors[meaning]:
            for who, _, values in _lines(server, known, query, meaning, first, last, step):
                if meaning == "attempts":
                    found.setdefault(who, Read({}, {}, np.zeros(0), np.zeros((0, 0))))
                if who not in found:
                    continue
                read = found[who]
                if meaning in ("in_flight", "load"):
                    read.gauges[meaning] = np.nan_to_num(values[1:]) + read.gauges.get(meaning, 0.0)
                else:
                    read.counts[meaning] = rises(values, meaning != "attempts") + read.counts.get(meaning, 0.0)
    buckets: dict[tuple[str, str], dict[float, Floats]] = {}
    for query in known.buckets:
        for who, labels, values in _lines(server, known, query, "latency", first, last, step):
            if who in found and "le" in labels:
                mine = buckets.setdefault(who, {})
                edge = float(labels["le"]) * known.unit
                mine[edge] = rises(values, True) + mine.get(edge, 0.0)
    for who, mine in buckets.items():
        edges = np.array(sorted(mine))
        rows = np.diff(np.stack([mine[edge] for edge in edges.tolist()]), axis=0, prepend=0.0)
        found[who] = found[who]._replace(edges=edges, latency=np.maximum(rows, 0.0))
    return found


def _lines(
    server: Server, known: Mapping, query: str, meaning: str, first: float, last: float, step: float
) -> Iterator[tuple[tuple[str, str], Names[str, str], Floats]]:
    lines = server.history(query, first, last, step)
    if lines and all(np.isnan(line.values).all() for line in lines):
        raise Unusable(f"{meaning}: {query}: every value is NaN")
    for line in lines:
        if known.endpoint not in line.labels:
            told = ", ".join(sorted(line.labels)) or "none"
            raise Unusable(f"{meaning}: {query}: a series without the label {known.endpoint!r}; it has {told}")
        yield (line.labels.get(known.cluster, ""), line.labels[known.endpoint]), line.labels, line.values


def rises(values: Floats, born: bool) -> Floats:
    """What a counter rose by between readings, (n - 1,): a fall is a new beginning. `born`: a series that is first seen
    later than the others began then, for a counter of failures may not exist before the first one.
    """
    before, after = values[:-1], values[1:]
    with np.errstate(invalid="ignore"):
        found = np.where(after >= before, after - before, after)
    found[np.isnan(found)] = 0.0
    there = np.flatnonzero(~np.isnan(values))
    if born and len(there) and there[0] > 0:
        found[there[0] - 1] = values[there[0]]
    return found


def _piece(read: dict[tuple[str, str], Read], first: float, step: float, begin: float, close: float) -> Piece:
    endpoints = dict(enumerate(sorted(read)))
    rng = np.random.default_rng([round(begin), len(endpoints)])
    tables = [outcomes(read[who], slot, first, step, rng) for slot, who in endpoints.items()]
    rows = join(tables)
    rows = rows[np.argsort(rows["done"], kind="stable")]
    return Piece(rows, endpoints, begin, close, TICK)


def outcomes(read: Read, slot: int, first: float, step: float, rng: np.random.Generator) -> Rows:
    """One endpoint's attempts, by `done`."""
    attempts = read.counts["attempts"]
    scale = np.minimum(MOST * step / np.maximum(attempts, 1.0), 1.0)
    number = _whole(attempts * scale)
    parts = []
    zero = np.zeros_like(attempts)
    failed = {name: read.counts.get(name, zero) for name in ("errors", "refused", "timeouts")}
    bad = {name: _whole(np.minimum(values, attempts) * scale) for name, values in failed.items()}
    for i in np.flatnonzero(number).tolist():
        parts.append(_interval(read, i, int(number[i]), {name: int(v[i]) for name, v in bad.items()}, rng))
        parts[-1]["done"] = first + step * (i + (np.arange(number[i]) + 0.5) / number[i])
        parts[-1]["sent_at"] += parts[-1]["done"]
        parts[-1]["first_byte"] += parts[-1]["sent_at"]
    found = join(parts) if parts else empty()
    found["slot"] = slot
    return found


def _whole(values: Floats) -> Ints:
    """As whole numbers whose sums stay: what is cut off is carried on."""
    found: Ints = np.diff(np.floor(np.cumsum(values) + 1e-9), prepend=0.0).astype(np.int64)
    return found


def _interval(read: Read, i: int, number: int, bad: dict[str, int], rng: np.random.Generator) -> Rows:
    """The attempts of one interval; `sent_at` is relative to `done`, `first_byte` to `sent_at`."""
    rows = empty(number)
    rows["attempt"], rows["status"], rows["propensity"], rows["marks"] = 1, 200, np.nan, int(Mark.REPEATABLE)
    rows["load_cpu"] = read.gauges["load"][i] if "load" in read.gauges else np.nan
    rows["load_app"] = np.nan
    spent = _latencies(read, i, number, rng)
    rows["sent_at"], rows["first_byte"] = -np.where(np.isnan(spent), FAILED, spent), spent
    known = np.isfinite(spent)
    flight = read.gauges["in_flight"][i] if "in_flight" in read.gauges else number * np.where(known, spent, 0.0).mean()
    rows["in_flight"] = max(round(float(flight)), 0)
    order, begin = rng.permutation(number), 0
    causes = {"errors": (Cause.RESPONSE, 500, FAILED), "refused": (Cause.CONNECT_REFUSED, 0, FAILED)}
    causes["timeouts"] = (Cause.TIMEOUT_ATTEMPT, 0, TIMED_OUT)
    for name, (cause, status, seconds) in causes.items():
        mine = order[begin : begin + bad[name]]
        begin += len(mine)
        rows["cause"][mine], rows["status"][mine], rows["sent_at"][mine] = cause, status, -seconds
        rows["first_byte"][mine] = np.nan
        if name == "timeouts":
            rows["marks"][mine] |= int(Mark.CENSORED)
    return rows


def _latencies(read: Read, i: int, number: int, rng: np.random.Generator) -> Floats:
    """Seconds, (number,): in the middle of buckets, as often as they were counted; NaN where none is known."""
    counts = read.latency[:, i] if read.latency.size else np.zeros(0)
    if not counts.sum() > 0:
        return np.full(number, np.nan)
    bounded = np.where(np.isfinite(read.edges), read.edges, 0.0)
    edges = np.where(np.isfinite(read.edges), read.edges, 1.5 * max(float(bounded.max()), 1e-3))
    below = np.concatenate(([edges[0] / 2], edges[:-1]))
    middle = np.sqrt(below * edges)
    # Evenly over the distribution: the same shares as were counted, whatever the number.
    place = np.searchsorted(np.cumsum(counts) / counts.sum(), (np.arange(number) + 0.5) / number)
    return rng.permutation(middle[np.minimum(place, len(middle) - 1)])
