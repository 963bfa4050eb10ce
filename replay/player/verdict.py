"""What came back beside what was recorded, as a report's document.

Both are measured on the same requests: those that were due before the end. Their intervals come from one bootstrap by
blocks of time, so that the difference of the two is paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from replay.evaluation.intervals import Interval, Resampling, block_ids, block_seconds, difference
from replay.player.plan import Plan
from replay.report import series
from replay.report.document import Document, Row, document, row

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
LATE = 0.005  # seconds of the sender's own lateness at its 99th percentile, above which the report says so

# How a request ended, as the sender saw it.
ANSWERED, REFUSED, CUT, BROKEN, TIMED_OUT, NOT_SENT, UNFINISHED = range(7)
ENDS = (
    "answered",
    "connection refused or failed",
    "connection closed before the answer was whole",
    "no valid HTTP",
    "no answer within the time-out",
    "not sent: too many were outstanding",
    "under way at the end",
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the sender saw, by place in the plan; every column has shape (n,) and holds only what was due."""

    latency: np.ndarray[Any, Any]  # seconds from when it was due
    status: np.ndarray[Any, Any]  # 0 where no answer came
    end: np.ndarray[Any, Any]  # one of ENDS
    lateness: np.ndarray[Any, Any]  # seconds between when it was due and when it was sent; NaN where it was not

    @property
    def failed(self) -> np.ndarray[Any, Any]:
        """Which got no answer, or one that blames the server."""
        return np.asarray((self.end != ANSWERED) | (self.status >= 500))


def verdict(
    made: Plan, seen: Replayed, timeout: float, *, title: str, command: str, seed: int, partial: str = ""
) -> Document:
    """The document: rows `recorded` and `replayed`, their difference, and what the sender itself did."""
    told = np.flatnonzero(seen.end != UNFINISHED)
    n = len(told)
    index, due = made.index[told], made.due[told]
    before = made.requests
    was_failed, now_failed = before.failed[index], seen.failed[told]
    known = bool(n and np.isfinite(before.latency[index]).all())
    was = np.where(was_failed, np.fmax(before.latency[index], timeout), before.latency[index])
    now = np.where(now_failed, timeout, seen.latency[told])
    out = document("replay", title, command, (seed,), partial)
    if n:
        above = now > np.quantile(now, 0.99)
        ids = block_ids(due, block_seconds(due, now, above))
        draw = Resampling(int(ids.max()) + 1, np.random.default_rng([seed, 6]))
        out["rows"].append(_row("replayed", now, now_failed, ids, draw))
        out["series"] = {
            "latency": {"replayed": series.curve(now)},
            "errors": {"replayed": series.errors(due, now_failed)},
        }
        if known:
            out["rows"].insert(0, _row("recorded", np.minimum(was, timeout), was_failed, ids, draw))
            out["series"]["latency"]["recorded"] = series.curve(np.minimum(was, timeout))
            out["series"]["errors"]["recorded"] = series.errors(due, was_failed)
            out["compared"] = _compared(np.minimum(was, timeout), now, ids, draw)
    out["facts"] = list(_facts(made, seen, told))
    out["warnings"] = list(_warnings(seen, told, known))
    return out


def _row(name: str, latency: np.ndarray[Any, Any], failed: np.ndarray[Any, Any], ids: Any, draw: Resampling) -> Row:
    values: dict[str, float] = {}
    spans: dict[str, list[float]] = {}
    for figure, made in [
        *((figure, draw.quantile(latency, q, ids)) for figure, q in QUANTILES.items()),
        ("mean", draw.mean(latency, ids)),
    ]:
        found = draw.interval(made)
        values[figure] = found.estimate
        if found.known:
            spans[figure] = [found.low, found.high]
    count, n = int(failed.sum()), len(failed)
    values["failed"] = count
    spans["failed"] = _failures(count, n, draw.interval(draw.mean(failed, ids)))
    return row("", name, n, values, spans, None)


def _failures(count: int, n: int, span: Interval) -> list[float]:
    """By blocks, for failures come in clumps; and never less wide than for failures that come alone (Clopper-Pearson),
    which also says what none of n leaves possible.
    """
    low = float(stats.beta.ppf(0.025, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    if span.known:
        low, high = min(low, span.low), max(high, span.high)
    return [n * max(0.0, low), n * min(1.0, high)]


def _compared(was: Any, now: Any, ids: Any, draw: Resampling) -> list[Any]:
    out = []
    for figure, q in (("p50", 0.5), ("p99", 0.99)):
        made = difference(draw.quantile(now, q, ids), draw.quantile(was, q, ids))
        span = draw.interval(made)
        better = None if not (span.known and span.low * span.high > 0) else span.high < 0
        out.append(
            {
                "scenario": "",
                "policy": "replayed",
                "to": "recorded",
                "figure": figure,
                "difference": made.estimate,
                "interval": [span.low, span.high],
                "better": better,
            }
        )
    return out


def _facts(made: Plan, seen: Replayed, told: np.ndarray[Any, Any]) -> Any:
    late = seen.lateness[told][np.isfinite(seen.lateness[told])]
    yield f"{len(told):,} of {len(made.due):,} requests over {float(made.due[told[-1]]) if len(told) else 0.0:.1f} s"
    if len(late):
        a, b, c = (1e3 * float(x) for x in (np.quantile(late, 0.5), np.quantile(late, 0.99), late.max()))
        yield f"lateness of the sender itself: p50 {a:.2f} ms, p99 {b:.2f} ms, at most {c:.2f} ms"
    yield f"statuses recorded: {_counted(made.requests.status[made.index[told]])}"
    yield f"statuses replayed: {_counted(seen.status[told])}"
    both = made.requests.status[made.index[told]] == seen.status[told]
    if len(told):
        yield f"the same status as recorded: {both.mean():.1%}"
    for end, count in sorted(Counter(seen.end[told].tolist()).items()):
        if end != ANSWERED:
            yield f"{ENDS[end]}: {count:,}"


def _counted(statuses: Sequence[int] | np.ndarray[Any, Any]) -> str:
    values, counts = np.unique(np.asarray(statuses), return_counts=True)
    return ", ".join(f"{v or 'none'} {c:,}" for v, c in zip(values.tolist(), counts.tolist(), strict=True)) or "none"


def _warnings(seen: Replayed, told: np.ndarray[Any, Any], known: bool) -> Any:
    late = seen.lateness[told][np.isfinite(seen.lateness[told])]
    if len(late) and float(np.quantile(late, 0.99)) > LATE:
        yield (
            f"the sender itself was late by {1e3 * float(np.quantile(late, 0.99)):.1f} ms at its 99th percentile: "
            "that much of the latencies is its own; a lower speed or a faster machine would help"
        )
    lost = int((seen.end[told] == NOT_SENT).sum())
    if lost:
        yield (
            f"{lost:,} requests were not sent, for too many were outstanding (--outstanding): they count as failed; "
            "had they waited, the load would have bent to the target"
        )
    if known:
        yield (
            "what was recorded counts from the recorder's first attempt to the end of its last, without the way to its "
            "clients; what was replayed counts from when it was due to the last byte here"
        )
    else:
        yield "the trace holds arrivals only: there is nothing recorded to compare with"
