"""Folds outcome rows into per-endpoint windows: running sums over small buckets of time, as columns of shape (slots,).

Algorithm: time is cut into buckets of WIDTH; a ring holds the last 30 s of them, and for each window a running sum. A
row adds to its bucket and to the sums of the windows that hold it; a bucket that leaves a window is subtracted once.
All are whole numbers (latency in microseconds, its logarithm in millionths), so that the sums never drift. A tick costs
O(rows + slots), whatever the windows hold.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from adaptive import classify
from adaptive.types import Cause, Mark, Verdict
from models.columns import WINDOWS, Bools, Floats, Ints, Observed

WIDTH = 0.25  # seconds; a quarter of the shortest window, so that its true length varies between 0.75 and 1 s
BUCKETS = round(WINDOWS[-1] / WIDTH)
_SPANS = tuple(round(window / WIDTH) for window in WINDOWS)

# Rows of the count columns. The first six are what an attempt can have been; they add up to all attempts.
OK, IGNORED, CONNECT, RESET, TIMEOUT, STATUS, LATE, MEASURED, MICROSECONDS, LOG_MICRO = range(10)
# Sums over the measured ones for the regression of log latency y on x = log(1 + attempts in flight): x, x², xy, y².
FLIGHT, FLIGHT_SQ, FLIGHT_LOG, LOG_SQ = range(10, 14)  # the last three are read together
COLUMNS = 14
_GROUPS = 6
_SCALE = 1e6

# Latency histogram: 64 bins from 0.5 ms up, each 1.2 times the one before, so that a quantile is within 10 % and the
# last bin begins at 40 s, above any sane time-out.
BINS = 64
FIRST_BIN = 0.0005
BIN_RATIO = 1.2
EDGES = FIRST_BIN * BIN_RATIO ** np.arange(BINS)  # upper edge of each bin, seconds
_MIDDLES = EDGES / np.sqrt(BIN_RATIO)  # and its middle in the logarithm
_FIRST_LOG, _LOG_RATIO = np.log(FIRST_BIN * _SCALE), np.log(BIN_RATIO)
_PER_SECOND = round(1 / WIDTH)  # the histogram's own buckets are of one second: 64 bins would be much to keep
_SECONDS = round(WINDOWS[-1])
_HISTORIES = (round(WINDOWS[1]), _SECONDS)
_TAILS = np.array([[0.95], [0.99]])  # the quantiles that are looked at, of each history one

# An attempt given up by somebody says "slow" only after this many typical latencies; before, it says nothing. The same
# holds for a request's whole time-out that ran out on an endpoint's first moments with it.
LATE_FACTOR = 4.0
UNCOUNTED = 4096  # rows that may wait to be counted for metrics


def _tables() -> tuple[Ints, Ints]:
    """Group by cause (256,) and by status of a response (1024,), from the one table of `classify`."""
    connect = {Cause.CONNECT_REFUSED, Cause.CONNECT_TIMEOUT, Cause.CONNECT_FAILED}
    timeout = {Cause.TIMEOUT_ATTEMPT, Cause.TIMEOUT_ROUTE}
    causes = np.full(256, IGNORED, dtype=np.int64)
    for cause in Cause:
        verdict = classify.verdict(cause, 0)
        group = CONNECT if cause in connect else TIMEOUT if cause in timeout else RESET
        causes[cause] = {Verdict.SUCCESS: OK, Verdict.IGNORE: IGNORED, Verdict.FAILURE: group}[verdict]
    meaning = {Verdict.SUCCESS: OK, Verdict.IGNORE: IGNORED, Verdict.FAILURE: STATUS}
    statuses = [meaning[classify.verdict(Cause.RESPONSE, status)] for status in range(1024)]
    return causes, np.array(statuses, dtype=np.int64)


_CAUSES, _STATUSES = _tables()
_KINDS = len(Cause) + 1  # the last: no known cause
_RESPONSE, _TIMEOUT_ROUTE, _CENSORED = int(Cause.RESPONSE), int(Cause.TIMEOUT_ROUTE), int(Mark.CENSORED)


class Stats:
    """Windows, totals and live signals of every slot. Only `fold` and the `saw_…` methods change it."""

    def __init__(self, slots: int, member: Bools, at: float) -> None:
        self.slots = slots
        self.member = member
        self.head = int(at // WIDTH)
        self.now = at
        self.ring = np.zeros((BUCKETS, COLUMNS, slots), dtype=np.int64)
        self.filled = [0] * BUCKETS  # rows in each bucket: an empty one need not be subtracted
        self.sums = np.zeros((len(WINDOWS), COLUMNS, slots), dtype=np.int64)
        self.bins_ring = np.zeros((_SECONDS, slots, BINS), dtype=np.int32)
        self.bins = np.zeros((len(_HISTORIES), slots, BINS), dtype=np.int32)
        self.bins_filled = [0] * _SECONDS
        self.totals = np.zeros((COLUMNS, slots), dtype=np.int64)
        self._causes = np.zeros((slots, _KINDS), dtype=np.int64)
        self._statuses = np.zeros((slots, 6), dtype=np.int64)
        self._histogram = np.zeros((slots, BINS), dtype=np.int64)
        self._uncounted: list[tuple[Ints, Ints, Ints, Ints]] = []  # slots, causes, statuses; places in the histogram
        self._waiting = 0  # rows of them
        self._summed = slots * np.arange(COLUMNS - MICROSECONDS)[:, None]
        self._whole = bool(member.all())
        self.in_flight = np.zeros(slots)
        self.oldest = np.full(slots, np.nan)
        self.last_close = np.full(slots, at)
        self.last_success = np.full(slots, at)
        self.streak = np.zeros(slots, dtype=np.int64)
        self.checks_failed = np.zeros(slots, dtype=np.int64)
        self.checks_passed = np.zeros(slots, dtype=np.int64)
        self.check_seconds = np.full(slots, np.nan)
        self.load = np.full(slots, np.nan)
        self.cpu, self.memory = np.full(slots, np.nan), np.full(slots, np.nan)  # of the nodes, where anybody tells
        self.born = np.full(slots, at)
        self.typical = np.zeros(slots)  # set by the owner: the cluster's typical latency
        self.rows = 0

    def fold(self, rows: np.ndarray[Any, Any], at: float) -> None:
        """Adds closed attempts. Rows of slots that hold no endpoint are passed over."""
        self.advance(at)
        slot = rows["slot"].astype(np.int64)
        if len(rows) and (slot.max() >= self.slots or not (self._whole or self.member[slot].all())):
            rows = rows[slot < self.slots]
            rows = rows[self.member[rows["slot"]]]
            slot = rows["slot"].astype(np.int64)
        if not len(rows):
            return
        self.rows += len(rows)
        sent_at = rows["sent_at"]
        done = np.fmin(np.fmax(rows["done"], at - WINDOWS[-1] + WIDTH), at)
        cause, status = rows["cause"].copy(), rows["status"].copy()
        group = _STATUSES.take(status, mode="clip")
        silent = (cause != _RESPONSE).nonzero()[0]
        if len(silent):
            group[silent] = _CAUSES.take(cause[silent])
        late = (rows["marks"] & _CENSORED) != 0
        over = cause == _TIMEOUT_ROUTE
        if np.count_nonzero(late) or np.count_nonzero(over):
            typical = self.typical[slot]
            waited = (done - sent_at > LATE_FACTOR * typical) & (typical > 0)
            group[over & ~waited & (typical > 0)] = IGNORED
            late &= waited
        latency = rows["first_byte"] - sent_at
        known = ((group == OK) & (latency >= 0)).nonzero()[0]
        micro = np.maximum((np.minimum(latency[known], 3600.0) * _SCALE).astype(np.int64), 1)
        logs = np.log(micro)
        bins = np.minimum(np.maximum(np.ceil((logs - _FIRST_LOG) / _LOG_RATIO), 0), BINS - 1).astype(np.int64)
        flight = np.log1p(rows["in_flight"][known])
        sums = np.array([micro / _SCALE, logs, flight, flight * flight, flight * logs, logs * logs])
        sums = np.trunc(sums * _SCALE)  # whole numbers still, and no conversion where they are added up
        measured = slot[known]
        bins += measured * BINS
        self._uncounted.append((slot, cause, status, bins))
        self._waiting += len(slot)
        if self._waiting > UNCOUNTED:
            self.counted()
        bucket = (done / WIDTH).astype(np.int64)
        first, last = int(bucket.min()), int(bucket.max())
        if first == last:
            self._add(first, slot, group, late, measured, sums, bins)
        else:
            for b in range(first, last + 1):
                mask = bucket == b
                part = mask[known]
                self._add(b, slot[mask], group[mask], late[mask], measured[part], sums[:, part], bins[part])
        self._runs(slot, done, group)
        self._loads(slot, rows)

    def _add(self, b: int, slot: Ints, group: Ints, late: Bools, measured: Ints, sums: Floats, bins: Ints) -> None:
        """Adds rows of one bucket to it, and to the sums of the windows that hold it. `measured` are the slots of the
        rows whose latency is known, `sums` (6, measured) what the columns from MICROSECONDS on add up, `bins` their
        places in the histogram.
        """
        n = self.slots
        if not len(slot):
            return
        delta = np.zeros((COLUMNS, n), dtype=np.int64)
        delta[:_GROUPS] = np.bincount(group * n + slot, minlength=_GROUPS * n).reshape(_GROUPS, n)
        if np.count_nonzero(late):
            delta[LATE] = np.bincount(slot[late], minlength=n)
        delta[MEASURED] = np.bincount(measured, minlength=n)
        place = (measured + self._summed).reshape(-1)
        summed = np.bincount(place, weights=sums.reshape(-1), minlength=n * len(sums))
        delta[MICROSECONDS:] = summed.reshape(len(sums), n)
        self.totals += delta
        age = self.head - b
        self.ring[b % BUCKETS] += delta
        self.filled[b % BUCKETS] += len(slot)
        self.sums[bisect_right(_SPANS, age) :] += delta  # of the windows that reach so far back
        second = b // _PER_SECOND
        seconds = self.head // _PER_SECOND - second
        if seconds < _SECONDS and len(measured):
            new = np.bincount(bins, minlength=n * BINS).reshape(n, BINS).astype(np.int32)
            self.bins_ring[second % _SECONDS] += new
            self.bins_filled[second % _SECONDS] += len(measured)
            for history, span in enumerate(_HISTORIES):
                if seconds < span:
                    self.bins[history] += new

    def counted(self) -> tuple[Ints, Ints, Ints]:
        """Attempts since the start of each slot by cause, by class of status, and by bin of latency. They are for
        metrics, and counted when somebody asks.
        """
        if self._uncounted:
            slot, cause, status, bins = (np.concatenate(column) for column in zip(*self._uncounted, strict=True))
            self._uncounted, self._waiting = [], 0
            causes, statuses = slot * _KINDS + np.minimum(cause, _KINDS - 1), slot * 6 + np.minimum(status // 100, 5)
            for counts, places in ((self._causes, causes), (self._statuses, statuses), (self._histogram, bins)):
                counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
        return self._causes, self._statuses, self._histogram

    def _runs(self, slot: Ints, done: Floats, group: Ints) -> None:
        """Failures since the last success, and when things last happened. Several workers' rows come interleaved."""
        if np.count_nonzero(done[1:] < done[:-1]):
            order = np.argsort(done, kind="stable")
            slot, done, group = slot[order], done[order], group[order]
        good, bad = group == OK, group > IGNORED
        self.last_close[slot] = np.maximum(done, self.last_close[slot])
        happy = slot[good]
        if np.count_nonzero(bad):
            place = np.arange(len(slot))
            latest = np.full(self.slots, -1)
            latest[happy] = place[good]  # of several, the last one stays
            self.streak[happy] = 0
            self.streak += np.bincount(slot[bad & (place > latest[slot])], minlength=self.slots)
        else:
            self.streak[happy] = 0
        self.last_success[happy] = np.maximum(done[good], self.last_success[happy])

    def _loads(self, slot: Ints, rows: np.ndarray[Any, Any]) -> None:
        """The endpoints' own reports: the mean of each one's rows here, forged values outside [0, 10] left out."""
        load = np.fmax(rows["load_cpu"], rows["load_app"])
        told = ((load >= 0) & (load <= 10)).nonzero()[0]
        if len(told):
            slot, load = slot[told], load[told].astype(np.float64)
            counts = np.bincount(slot, minlength=self.slots)
            some = counts > 0
            self.load[some] = np.bincount(slot, weights=load, minlength=self.slots)[some] / counts[some]

    def advance(self, at: float) -> None:
        """Moves the windows on to `at`. Time that goes backwards moves nothing."""
        self.now = max(self.now, at)
        head = int(at // WIDTH)
        if head - self.head >= BUCKETS:
            self.forget()
            self.head = head
        while self.head < head:
            self.head += 1
            for window, span in enumerate(_SPANS):
                leaving = (self.head - span) % BUCKETS
                if self.filled[leaving]:
                    self.sums[window] -= self.ring[leaving]
            if self.filled[self.head % BUCKETS]:
                self.ring[self.head % BUCKETS] = 0
                self.filled[self.head % BUCKETS] = 0
            if self.head % _PER_SECOND == 0:
                self._advance_bins(self.head // _PER_SECOND)

    def _advance_bins(self, second: int) -> None:
        for history, span in enumerate(_HISTORIES):
            leaving = (second - span) % _SECONDS
            if self.bins_filled[leaving]:
                self.bins[history] -= self.bins_ring[leaving]
        if self.bins_filled[second % _SECONDS]:
            self.bins_ring[second % _SECONDS] = 0
            self.bins_filled[second % _SECONDS] = 0

    @property
    def latest(self) -> float:
        """Seconds that the shortest window covers now: its newest bucket is not full yet."""
        return self.now - (self.head - _SPANS[0] + 1) * WIDTH

    def forget(self) -> None:
        """Empties the windows and the runs; totals stay. For evidence gathered while the observer was not well."""
        for array in (self.ring, self.sums, self.bins_ring, self.bins, self.streak, self.checks_failed):
            array[...] = 0
        self.filled = [0] * BUCKETS
        self.bins_filled = [0] * _SECONDS

    def acquit(self, slot: int) -> None:
        """Empties one endpoint's windows: it has come back, and what it did before is settled."""
        self.ring[..., slot] = self.sums[..., slot] = 0
        self.bins_ring[:, slot] = self.bins[:, slot] = 0
        self.streak[slot] = 0

    def adopt(self, old: Stats, stay: list[int]) -> None:
        """Takes over what an older one holds of the endpoints in the slots `stay`."""
        old.advance(self.now)
        for mine, theirs in zip(self.counted(), old.counted(), strict=True):
            mine[stay] = theirs[stay]
        for name in ("ring", "sums", "totals"):
            getattr(self, name)[..., stay] = getattr(old, name)[..., stay]
        for name in ("bins_ring", "bins"):
            getattr(self, name)[:, stay] = getattr(old, name)[:, stay]
        for name in ("in_flight", "oldest", "last_close", "last_success", "streak",
                     "checks_failed", "checks_passed", "check_seconds", "load", "cpu", "memory", "born",
                     "typical"):  # fmt: skip
            getattr(self, name)[stay] = getattr(old, name)[stay]
        self.filled, self.bins_filled, self.rows = list(old.filled), list(old.bins_filled), old.rows

    def saw_check(self, slot: int, ok: bool, seconds: float) -> None:
        """One active health check came back, or did not."""
        if slot < self.slots and self.member[slot]:
            self.checks_failed[slot] = 0 if ok else self.checks_failed[slot] + 1
            self.checks_passed[slot] = self.checks_passed[slot] + 1 if ok else 0
            if ok:
                self.check_seconds[slot] = seconds

    def saw_live(self, in_flight: Ints, oldest: Floats) -> None:
        """The workers' live counts; `oldest` is NaN or 0 where nothing is outstanding."""
        n = min(self.slots, len(in_flight))
        self.in_flight[:n] = in_flight[:n]
        self.oldest[:n] = oldest[:n]
        self.oldest[:n][~(oldest[:n] > 0)] = np.nan

    def quantiles(self, q: float, history: int) -> Floats:
        """Latency quantile `q` over 5 s (history 0) or 30 s (1), shape (slots,); NaN where none was measured."""
        return quantiles(self.bins[history], q)

    def observed(self, at: float) -> Observed:
        """Everything the rule and the features need, at this moment."""
        sums, measured = self.sums, self.sums[:, MEASURED]
        tails = quantiles(self.bins, _TAILS)
        failures = sums[:, CONNECT] + sums[:, RESET] + sums[:, TIMEOUT] + sums[:, STATUS]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = measured * _SCALE
            logs, flight = sums[:, LOG_MICRO] / scale, sums[:, FLIGHT] / scale
            latency = np.exp(logs) / _SCALE
        squares, count = sums[2, FLIGHT_SQ:] / _SCALE, measured[2]
        return Observed(
            at=at,
            attempts=failures + sums[:, OK],
            failures=failures,
            connect=sums[:, CONNECT],
            timeouts=sums[:, TIMEOUT],
            late=sums[:, LATE],
            measured=measured,
            latency=latency,
            p95=tails[0],
            p99=tails[1],
            flight=flight,
            flight_var=squares[0] - count * flight[2] ** 2,
            flight_log=squares[1] - count * flight[2] * logs[2],
            log_var=squares[2] - count * logs[2] ** 2,
            in_flight=self.in_flight,
            oldest=at - self.oldest,
            silence=at - self.last_close,
            unlucky=at - self.last_success,
            streak=self.streak,
            checks_failed=self.checks_failed,
            checks_passed=self.checks_passed,
            check_seconds=self.check_seconds,
            load=self.load,
            cpu=self.cpu,
            memory=self.memory,
            age=at - self.born,
            typical=self.typical,
            closed=np.add.reduce(self.totals[:_GROUPS]),
        )


def quantiles(bins: np.ndarray[Any, Any], q: float | Floats) -> Floats:
    """Quantile `q` of each row of histograms (..., n, BINS), in seconds; the middle of its bin in the logarithm.

    `q` has any shape that broadcasts to (..., n).
    """
    reached = bins.cumsum(axis=-1)
    total = reached[..., -1]
    found = (reached >= np.maximum(np.ceil(q * total), 1)[..., None]).argmax(axis=-1)
    return np.where(total > 0, _MIDDLES[found], np.nan)
