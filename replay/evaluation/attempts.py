"""What a trace tells of one cluster: its requests, and each instance's own attempts, as plain columns.

Times are seconds from the trace's first attempt. Nothing is estimated here; rows are sorted, grouped and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from adaptive.types import Cause, Mark

Floats = np.ndarray[Any, np.dtype[np.float64]]
Column = np.ndarray[Any, Any]

# How an attempt ended, for a model of the instance behind it.
ANSWERED, ERROR, REFUSED, UNREACHABLE, CUT, GIVEN_UP = range(6)
_ENDS: Mapping[Cause, int] = {
    Cause.RESPONSE: ANSWERED,
    Cause.UPGRADED: ANSWERED,
    Cause.PROTOCOL_ERROR: ERROR,
    Cause.CONNECT_REFUSED: REFUSED,
    Cause.CONNECT_FAILED: REFUSED,
    Cause.CONNECT_TIMEOUT: UNREACHABLE,
    Cause.RESET: CUT,
    Cause.RESET_BODY: CUT,
    Cause.RESET_IDLE: CUT,
    Cause.TIMEOUT_ATTEMPT: GIVEN_UP,
    Cause.TIMEOUT_ROUTE: GIVEN_UP,
    Cause.CLIENT_GONE: GIVEN_UP,
    Cause.CANCELLED: GIVEN_UP,
    Cause.CLIENT_ERROR: GIVEN_UP,
}
_NOT_SENT = Cause.OVERFLOW  # nothing reached the instance


class EvaluationError(ValueError):
    """A trace cannot be evaluated; the message says why, and what would help."""


class Recording(Protocol):
    """What is asked of a trace: the header, the rows, and why it is partial, if it is."""

    @property
    def header(self) -> Any: ...

    @property
    def rows(self) -> Any: ...

    @property
    def partial(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Attempts:
    """One instance's attempts in order of `sent`; every column has shape (n,)."""

    sent: Floats
    done: Floats
    end: Column  # ANSWERED and so on
    post: Column  # bool: must not be sent twice
    beaten: Column  # bool: given up because another attempt of its request was answered first
    slot: int
    name: str

    def __len__(self) -> int:
        return len(self.sent)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The requests as they were, in order of `due`; every column has shape (n,)."""

    due: Floats
    latency: Floats  # until the answer, or until the client or the gateway gave up
    failed: Column  # bool
    post: Column  # bool
    attempts: Column  # how many were made
    first: Column  # index of the instance that the first attempt went to

    def seen(self, warm: float, timeout: float) -> Floats:
        """Latencies of the requests due from `warm` on; a failed one counts as the time-out."""
        return np.where(self.failed, timeout, self.latency)[self.due >= warm]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the trace holds of one cluster."""

    cluster: str
    origin: float  # what was taken off every time
    seconds: float  # from the first attempt's beginning to the last one's end
    requests: Recorded
    instances: tuple[Attempts, ...]  # by slot
    rows: Column  # the cluster's rows as they were, in order of sent_at
    waits: Floats  # seconds that clients waited which hung up
    censored: float  # share of the attempts whose end is a lower bound


def clusters(trace: Recording) -> list[str]:
    """Names of the clusters that have rows, the one with the most first."""
    index = np.asarray(trace.rows["cluster"])
    found, counts = np.unique(index, return_counts=True)
    return [_cluster_name(trace, int(found[i])) for i in np.argsort(-counts, kind="stable")]


def seen(trace: Recording, cluster: str = "") -> Seen:
    """The rows of one cluster, sorted out; of the busiest one if none is named.

    Raises EvaluationError where the trace has no row of it, or holds arrivals only.
    """
    known = clusters(trace)
    if not known:
        raise EvaluationError("the trace has no rows")
    if cluster and cluster not in known:
        raise EvaluationError(f"the trace has no rows of cluster {cluster!r}; it has {', '.join(known)}")
    cluster = cluster or known[0]
    rows = _structured(trace.rows)
    named = {int(i): _cluster_name(trace, int(i)) for i in np.unique(rows["cluster"])}
    rows = rows[np.isin(rows["cluster"], [i for i, name in named.items() if name == cluster])]
    rows = rows[np.argsort(rows["sent_at"], kind="stable")]
    if not np.isfinite(rows["done"]).any() or not (rows["done"] > rows["sent_at"]).any():
        raise EvaluationError("the trace holds arrivals only: no attempt has an end, so no latency is known")
    rows = rows[(rows["cause"] != _NOT_SENT) & np.isfinite(rows["done"])]
    origin = float(rows["sent_at"][0]) if len(rows) else 0.0
    slots = sorted(int(s) for s in np.unique(rows["slot"]))
    instances = tuple(_instance(rows[rows["slot"] == s], s, _name(trace, s), origin) for s in slots)
    gone = rows["cause"] == Cause.CLIENT_GONE
    return Seen(
        cluster,
        origin,
        float(rows["done"].max() - origin),
        _requests(rows, slots, origin),
        instances,
        rows,
        _waits(rows, gone),
        float(((rows["marks"] & Mark.CENSORED) > 0).mean()),
    )


def endpoints(trace: Recording, cluster: str) -> set[str]:
    """Addresses of a cluster's endpoints, as the header has them."""
    pairs = _of(trace.header, "endpoints", {}).values()
    return {str(address) for name, address in pairs if str(name) == cluster}


def _structured(rows: Any) -> Column:
    """Rows as a structured array; columns of a dictionary are put together."""
    if isinstance(rows, np.ndarray):
        return rows
    names = list(rows)
    made = np.empty(len(rows[names[0]]), [(name, np.asarray(rows[name]).dtype) for name in names])
    for name in names:
        made[name] = rows[name]
    return made


def _cluster_name(trace: Recording, index: int) -> str:
    names = _of(trace.header, "clusters", ())
    return str(names[index]) if index < len(names) else f"cluster {index}"


def _name(trace: Recording, slot: int) -> str:
    endpoints = _of(trace.header, "endpoints", {})
    pair = endpoints.get(str(slot), endpoints.get(slot))
    return str(pair[1]) if pair else f"slot {slot}"


def _of(header: Any, name: str, default: Any) -> Any:
    return header.get(name, default) if isinstance(header, Mapping) else getattr(header, name, default)


def _instance(rows: Column, slot: int, name: str, origin: float) -> Attempts:
    end = np.array([_ENDS.get(Cause(c), GIVEN_UP) if c in Cause._value2member_map_ else GIVEN_UP for c in range(256)])
    kind = end[rows["cause"]]
    bad = (kind == ANSWERED) & (rows["status"] >= 500) & ~np.isin(rows["status"], (501, 505))
    kind = np.where(bad, ERROR, kind)
    post = (rows["marks"] & Mark.REPEATABLE) == 0
    beaten = rows["cause"] == Cause.CANCELLED
    sent, done = rows["sent_at"] - origin, np.maximum(rows["done"], rows["sent_at"]) - origin
    return Attempts(sent, done, kind, post, beaten, slot, name)


def _requests(rows: Column, slots: list[int], origin: float) -> Recorded:
    order = np.lexsort((rows["sent_at"], rows["attempt"], rows["request"]))
    rows = rows[order]
    starts = np.flatnonzero(np.r_[True, rows["request"][1:] != rows["request"][:-1]])
    ok = np.isin(rows["cause"], (Cause.RESPONSE, Cause.UPGRADED)) & (rows["status"] < 500)
    due = np.minimum.reduceat(rows["sent_at"], starts)
    answered = np.minimum.reduceat(np.where(ok, rows["done"], np.inf), starts)
    ended = np.maximum.reduceat(rows["done"], starts)
    failed = ~np.isfinite(answered)
    first = np.searchsorted(np.array(slots), rows["slot"][starts])
    made = np.diff(np.r_[starts, len(rows)])
    post = (rows["marks"][starts] & Mark.REPEATABLE) == 0
    by = np.argsort(due, kind="stable")
    latency = np.where(failed, ended, answered) - due
    return Recorded(due[by] - origin, latency[by], failed[by], post[by], made[by], first[by])


def _waits(rows: Column, gone: Column) -> Floats:
    """How long each client waited that hung up: from its request's first attempt on."""
    if not gone.any():
        return np.zeros(0)
    requests, inverse = np.unique(rows["request"], return_inverse=True)
    due = np.full(len(requests), np.inf)
    np.minimum.at(due, inverse, rows["sent_at"])
    return np.asarray(rows["done"][gone] - due[inverse[gone]])
