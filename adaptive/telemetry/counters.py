"""Each worker's counts, in shared memory: one row of u64 words a worker, every word with a fixed meaning.

A worker takes its row once (`row = counters.row(worker)`) and then counts by plain stores: `row[RETRIES] += 1`. Nobody
else writes that row while the worker lives. A row outlives its worker: its replacement counts on, so no sum falls.

A row holds the words of COUNTERS, then one block a route: REQUESTS (by status class), DURATIONS (a histogram),
DURATION_SUM (whole microseconds). `counters.block(route)` is where a route's block begins.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from adaptive.telemetry.shared import Shared


class Counter(NamedTuple):
    """One word of a row, and the metric that shows it (without prefix and suffix)."""

    key: str
    metric: str
    labels: tuple[tuple[str, str], ...]
    help: str
    gauge: bool = False  # goes down too; void when its worker dies


_REJECTS = "Requests and connections that the gateway refused by itself, by reason."


def _reject(reason: str) -> Counter:
    return Counter(f"REJECT_{reason.upper()}", "rejects", (("reason", reason),), _REJECTS)


COUNTERS: tuple[Counter, ...] = (
    Counter("BYTES_IN", "received_bytes", (), "Bytes read from clients."),
    Counter("BYTES_OUT", "sent_bytes", (), "Bytes written to clients."),
    Counter("CONNECTIONS", "connections", (), "Client connections accepted."),
    Counter("CONNECTIONS_OPEN", "connections_open", (), "Client connections open now.", gauge=True),
    Counter("REQUESTS_OPEN", "requests_open", (), "Requests in the gateway now.", gauge=True),
    _reject("no_route"),
    _reject("bad_request"),
    _reject("header_too_large"),
    _reject("uri_too_long"),
    _reject("body_too_large"),
    _reject("slow_header"),
    _reject("slow_body"),
    _reject("too_many_connections"),
    _reject("pipeline_full"),
    Counter("ATTEMPTS", "attempts", (), "Attempts made at endpoints."),
    Counter("RETRIES", "retries", (), "Attempts after the first of their request."),
    Counter("RETRY_BUDGET_EXHAUSTED", "retry_budget_exhausted", (), "Retries not made because the budget was used up."),
    Counter("NO_ENDPOINT", "no_endpoint", (), "Requests for which no endpoint could be used."),
    Counter("OVERFLOW", "overflow", (), "Requests refused because a bound of their cluster was reached."),
    Counter("UPSTREAM_OPENED", "upstream_connections_opened", (), "Connections opened to endpoints."),
    Counter("UPSTREAM_REUSED", "upstream_connections_reused", (), "Attempts sent on a pooled connection."),
    Counter("UPSTREAM_CLOSED_IDLE", "upstream_connections_closed_idle", (), "Pooled connections closed while idle."),
    Counter("STALE_REUSED", "upstream_connections_stale", (), "Pooled connections that turned out to be closed."),
    Counter("UPSTREAM_OPEN", "upstream_connections_open", (), "Connections to endpoints open now.", gauge=True),
    Counter("ACCESS_LOG_DROPPED", "access_log_dropped_lines", (), "Lines that did not fit in the access log's buffer."),
    Counter("UPGRADES", "upgrades", (), "Connections that became a tunnel."),
    Counter("SHED", "shed", (), "Requests refused because their cluster had too much to do."),
    Counter("WAITING", "waiting", (), "Requests that wait for their cluster now.", gauge=True),
    Counter("HEDGES", "hedges", (), "Attempts that went out beside a slow one of the same request."),
)

# The words of COUNTERS, in its order.
(
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS,
    CONNECTIONS_OPEN,
    REQUESTS_OPEN,
    REJECT_NO_ROUTE,
    REJECT_BAD_REQUEST,
    REJECT_HEADER_TOO_LARGE,
    REJECT_URI_TOO_LONG,
    REJECT_BODY_TOO_LARGE,
    REJECT_SLOW_HEADER,
    REJECT_SLOW_BODY,
    REJECT_TOO_MANY_CONNECTIONS,
    REJECT_PIPELINE_FULL,
    ATTEMPTS,
    RETRIES,
    RETRY_BUDGET_EXHAUSTED,
    NO_ENDPOINT,
    OVERFLOW,
    UPSTREAM_OPENED,
    UPSTREAM_REUSED,
    UPSTREAM_CLOSED_IDLE,
    STALE_REUSED,
    UPSTREAM_OPEN,
    ACCESS_LOG_DROPPED,
    UPGRADES,
    SHED,
    WAITING,
    HEDGES,
) = range(len(COUNTERS))

# Seconds; upper bounds, inclusive. Half a millisecond is what the gateway itself takes under load; beyond ten seconds
# there is only "slow". 1, 2.5, 5 of each decade keep the error of an interpolated quantile under a factor of 2.5.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# A route's block, as offsets from its beginning.
REQUESTS = 0  # + status // 100: 1 to 5; + 0 where the client was gone before it could be answered
DURATIONS = 6  # + index of the bucket, the last one for what is over all bounds
DURATION_SUM = DURATIONS + len(BOUNDS) + 1
BLOCK = DURATION_SUM + 1

_HEADER = 8  # words: magic, workers, routes
_MAGIC = 0x3130_746E_756F_6361  # "acount01"


class Counters:
    """All workers' rows. `routes` is a bound: requests of a route beyond it are counted together, as "other"."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.fd = shared.fd
        self._words = shared.buf.cast("Q")
        self.workers, self.routes = self._words[1], self._words[2]
        self._stride = _stride(self.routes)

    @classmethod
    def create(cls, workers: int, routes: int = 256) -> Counters:
        """Rows of zeros."""
        if min(workers, routes) < 1:
            raise ValueError(f"counters need a worker and a route, not {workers}, {routes}")
        shared = Shared.create(8 * (_HEADER + workers * _stride(routes)))
        words = shared.buf.cast("Q")
        words[0], words[1], words[2] = _MAGIC, workers, routes
        return cls(shared)

    @classmethod
    def attach(cls, fd: int) -> Counters:
        """The counters behind an inherited descriptor."""
        shared = Shared.attach(fd)
        words = shared.buf.cast("Q") if shared.size >= 8 * _HEADER and shared.size % 8 == 0 else None
        if words is None or words[0] != _MAGIC or len(words) < _HEADER + words[1] * _stride(words[2]):
            raise ValueError(f"descriptor {fd} holds no counters")
        return cls(shared)

    def row(self, worker: int) -> memoryview:
        """A worker's row of u64 words; its slices and stores cost no call."""
        if not 0 <= worker < self.workers:
            raise IndexError(f"no worker {worker}: there are {self.workers}")
        start = _HEADER + worker * self._stride
        return self._words[start : start + self._stride]

    def block(self, route: int | None) -> int:
        """Where in a row a route's block begins. None: requests that matched no route."""
        if route is None:
            return len(COUNTERS) + (self.routes + 1) * BLOCK
        return len(COUNTERS) + min(route, self.routes) * BLOCK

    def clear_gauges(self, worker: int) -> None:
        """A worker died: what it had open is closed."""
        row = self.row(worker)
        for index, counter in enumerate(COUNTERS):
            if counter.gauge:
                row[index] = 0

    def totals(self) -> list[int]:
        """All workers' rows added up."""
        rows = [self.row(worker).tolist() for worker in range(self.workers)]
        return rows[0] if len(rows) == 1 else [sum(words) for words in zip(*rows, strict=True)]

    def close(self) -> None:
        """Let go of the memory. A row that was handed out stays valid until it is dropped."""
        self._words.release()
        self.shared.close()


def finished(row: memoryview, block: int, status: int, seconds: float) -> None:
    """Count one finished request: `status` 0 where the client was gone, `seconds` from its first byte to our last.

    A status of 600 and more, which an endpoint may send though no standard knows it, counts as 5xx.
    """
    row[block + (status // 100 if status < 600 else 5)] += 1
    row[block + DURATIONS + bisect_left(BOUNDS, seconds)] += 1
    row[block + DURATION_SUM] += int(seconds * 1e6)


def _stride(routes: int) -> int:
    words = len(COUNTERS) + (routes + 2) * BLOCK  # the routes, "other", "none"
    return -(-words // 8) * 8  # whole cache lines
