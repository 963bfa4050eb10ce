"""Which requests of a trace are sent again, and when each is due.

A request is the attempts that share its number: it was due when the first was sent, and its answer is that of the
attempt whose response the client saw. A recording of Adaptive holds no methods: what may be sent again is a GET, what
may not is a POST; imported logs know better.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptive.types import Cause, Mark
from replay.trace import Trace

_METHOD = re.compile(r"(?!CONNECT$)[A-Z]{1,20}")  # a tunnel cannot be sent again, nor what is no method

Column = np.ndarray[Any, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]


class PlanError(ValueError):
    """The trace has no such requests; the message says what it has."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row a request, in the order in which they were due; every column has shape (n,)."""

    due: Floats  # seconds from the first
    latency: Floats  # until the client's answer or the end of its last attempt; NaN in a trace of arrivals alone
    status: Column  # of the answer; 0 where none came
    repeatable: Column  # bool
    method: Column  # text
    path: Column  # text; "" where it is not known
    route: Column  # text
    cluster: Column  # text
    size: Column  # bytes of the request's body
    number: Column  # the trace's own number of the request

    def only(self, chosen: Column) -> Recorded:
        """These rows alone, beginning at the first of them."""
        cut = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__}
        cut["due"] = cut["due"] - cut["due"][0] if len(cut["due"]) else cut["due"]
        return Recorded(**cut)

    @property
    def failed(self) -> Column:
        """Which of them got no answer, or one that blames the server."""
        return np.asarray((self.status == 0) | (self.status >= 500))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are sent. Empty: all of them. `methods` may hold "repeatable" and "other", `statuses` "5xx"."""

    methods: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: request `index[k]` of `requests` is due `due[k]` seconds after the beginning; `due` ascends."""

    requests: Recorded
    due: Floats
    index: Column
    loops: int

    @property
    def seconds(self) -> float:
        """When the last one is due."""
        return float(self.due[-1]) if len(self.due) else 0.0


def recorded(trace: Trace) -> Recorded:
    """The trace's requests. Raises PlanError where it has none."""
    rows = trace.rows
    if not len(rows):
        raise PlanError("the trace has no requests")
    order = np.lexsort((rows["attempt"], rows["sent_at"], rows["request"]))
    rows = rows[order]
    starts = np.flatnonzero(np.r_[True, rows["request"][1:] != rows["request"][:-1]])
    due = rows["sent_at"][starts]
    last = _answers(rows, starts)
    answered = np.isin(rows["cause"][last], (Cause.RESPONSE, Cause.UPGRADED))
    latency = np.full(len(starts), np.nan) if trace.arrivals_only else rows["done"][last] - due
    status = np.where(answered, rows["status"][last], 0)
    repeatable = (rows["marks"][starts] & Mark.REPEATABLE) > 0
    method = np.where(repeatable, "GET", "POST")
    header, extra = trace.header, {name: column[order][starts] for name, column in trace.extra.items()}
    if "method" in extra:
        pairs = zip(extra["method"], method.tolist(), strict=True)
        method = np.array([found if found and _METHOD.fullmatch(found) else usual for found, usual in pairs])
    path = np.array([found or "" for found in extra["path"]] if "path" in extra else [""] * len(starts))
    by_due = np.argsort(due, kind="stable")
    made = Recorded(
        due,
        latency,
        status,
        repeatable,
        method,
        path,
        _named(rows["route"][starts], header.routes),
        _named(rows["cluster"][starts], header.clusters),
        rows["bytes_up"][starts],
        rows["request"][starts],
    )
    return made.only(by_due)


def _answers(rows: Column, starts: Column) -> Column:
    """By request the attempt that the client's answer came from; where none is marked, the one that ended last."""
    ends = np.r_[starts[1:], len(rows)]
    which = np.repeat(np.arange(len(starts)), ends - starts)
    final = (rows["marks"] & Mark.FINAL) > 0
    done = np.nan_to_num(rows["done"], nan=-np.inf)
    best = np.lexsort((done, final, which))  # the last of each request is the one
    return np.asarray(best[ends - 1])


def _named(index: Column, names: tuple[str, ...]) -> Column:
    known = np.array([*names, ""])
    return np.asarray(known[np.minimum(index.astype(np.int64), len(names))])


def chosen(requests: Recorded, by: Filter, seed: int = 0) -> Recorded:
    """The requests that pass. A share is drawn by request, the same for the same seed. Raises PlanError."""
    keep = np.ones(len(requests.due), dtype=bool)
    keep &= _among("route", requests.route, by.routes)
    keep &= _among("cluster", requests.cluster, by.clusters)
    if by.methods:
        known = np.where(requests.repeatable, "repeatable", "other")
        words = [word.upper() if word not in ("repeatable", "other") else word for word in by.methods]
        keep &= np.isin(requests.method, words) | np.isin(known, words)
    if by.statuses:
        keep &= np.logical_or.reduce([_status(requests.status, word) for word in by.statuses])
    if by.share < 1.0:
        keep &= np.random.default_rng([seed, 5]).random(len(keep)) < by.share
    if not keep.any():
        raise PlanError(f"none of the trace's {len(keep)} requests passes the filters")
    return requests.only(np.flatnonzero(keep))


def _among(what: str, column: Column, names: tuple[str, ...]) -> Column:
    known = sorted(set(column.tolist()))
    for name in names:
        if name not in known:
            raise PlanError(f"the trace has no {what} {name!r}; it has {', '.join(map(repr, known))}")
    return np.isin(column, names) if names else np.ones(len(column), dtype=bool)


def _status(column: Column, word: str) -> Column:
    if len(word) == 3 and word[0].isdigit() and word[1:] == "xx":
        return np.asarray(column // 100 == int(word[0]))
    if word.isdigit():
        return np.asarray(column == int(word))
    raise PlanError(f"{word!r} is no status: write 503, 5xx, or 0 for those without an answer")


def plan(
    requests: Recorded, speed: float = 1.0, rate: float = 0.0, loops: int = 1, max_wait: float = float("inf")
) -> Plan:
    """When each request is due.

    `speed` 2.0 is twice as fast. `rate`, in requests a second, sets the mean and keeps the shape, in place of a speed.
    A pause of over `max_wait` seconds, after that, is cut to it. Each loop begins one mean pause after the one before.
    """
    gaps = np.diff(requests.due, prepend=0.0)
    n = len(gaps)
    if rate > 0.0:
        whole = float(requests.due[-1])
        gaps = gaps * ((n - 1) / rate / whole) if whole > 0.0 else np.r_[0.0, np.full(n - 1, 1.0 / rate)]
    else:
        gaps = gaps / speed
    gaps = np.minimum(gaps, max_wait)
    once = np.cumsum(gaps)
    pause = float(once[-1]) / max(1, n - 1)
    due = np.concatenate([once + k * (once[-1] + pause) for k in range(loops)])
    return Plan(requests, due, np.tile(np.arange(n), loops), loops)


def summary(made: Plan) -> Iterator[str]:
    """What would be sent, a line each, for a dry run."""
    requests, n = made.requests, len(made.due)
    mean = (n - 1) / made.seconds if made.seconds > 0.0 else float(n)
    peak = int(np.bincount((made.due // 1.0).astype(np.int64)).max()) if n else 0
    loops = f", {made.loops} times" if made.loops > 1 else ""
    yield f"{n:,} requests in {made.seconds:.1f} s{loops}: {mean:,.1f} a second, {peak:,} in the fullest second"
    for name, column in (("method", requests.method), ("route", requests.route), ("cluster", requests.cluster)):
        values, counts = np.unique(column, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:10]
        told = ", ".join(f"{values[i] or '(none)'} {counts[i] * made.loops:,}" for i in order)
        yield f"  {name}: {told}{', ...' if len(values) > 10 else ''}"
    known = int((requests.path != "").sum())
    if known:
        yield f"  path: {known * made.loops:,} are known, {len(np.unique(requests.path)):,} different ones"
    else:
        yield "  path: the trace knows none"
    if requests.size.any():
        bodies, whole = int((requests.size > 0).sum()) * made.loops, int(requests.size.sum()) * made.loops
        yield f"  bodies: {bodies:,}, {whole:,} bytes"
