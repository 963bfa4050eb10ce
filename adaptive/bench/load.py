"""Clients that load the gateway over HTTP/1.1, on keep-alive connections.

Closed loop: so many connections, each sends its next request when it has its answer; what a comparison of CPU time
needs, since every candidate then does the same work. Open loop: requests begin at their times whatever happened to
those before, as independent users do; a latency counts from the moment at which the request was due, so that a stall
is not hidden by the requests that it kept from being sent (coordinated omission).
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from adaptive import clock

# Ten header fields as a browser sends them, besides Host; the cookie is what `varied` varies.
_BROWSER = (
    b"GET /api/item/%d HTTP/1.1\r\nHost: example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nReferer: http://example.com/\r\nCookie: session=%016d; theme=dark\r\n"
    b"Cache-Control: no-cache\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
# Seconds between two looks at what is due: small against the latencies that are measured.
_PACE = 0.002
# Seconds after which an idle connection is closed by an open loop: a moment's crowd must not stay for ever.
_IDLE = 2.0
_KEPT_FAILURES = 50  # that are told in words; all are counted

Request = Callable[[int], bytes]  # a request's number → its bytes


def browser(number: int) -> bytes:
    """A GET whose target alone differs from one request to the next, as within one visit of one user."""
    return _BROWSER % (number, 0)


def varied(number: int) -> bytes:
    """The same with another cookie each time, so that no header block is seen twice."""
    return _BROWSER % (number, number)


def half_posts(number: int) -> bytes:
    """GET and POST in turn, without and with a small body."""
    if number % 2:
        body = b'{"number": %d}' % number
        return b"POST /item/%d HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n%b" % (
            number,
            len(body),
            body,
        )
    return b"GET /item/%d HTTP/1.1\r\nHost: example.com\r\n\r\n" % number


def target(request: bytes) -> bytes:
    """The target of a request."""
    return request.split(b" ", 2)[1]


@dataclass
class Result:
    """What became of the requests. `failures` holds the first of them in words."""

    sent: int = 0
    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies: array[float] = field(default_factory=lambda: array("d"))  # seconds, of all that got an answer

    @property
    def bad(self) -> int:
        """Requests that got no answer, somebody else's, or one of 500 and more."""
        return self.failed.total()

    def fail(self, kind: str, detail: str) -> None:
        """Counts one."""
        self.failed[kind] += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append(f"{kind}: {detail}")

    def quantile(self, share: float) -> float:
        """A quantile of the latencies, by rank; NaN without any."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, load: _Load) -> None:
        self.load = load
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.request = b""  # the one under way
        self.due = self.idle_since = 0.0
        self.used = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        """Sends a request that was due at `due`."""
        self.request, self.due = request, due
        self.used += 1
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: the answer, or a piece of it."""
        data = self.buffer + data if self.buffer else data
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            head = data[:end]
            length = _LENGTH.search(head)
            whole = end + int(length[1]) if length else end
            if len(data) >= whole:
                self.buffer = b""
                request, self.request = self.request, b""
                body = data[end:whole]
                status = int(head[9:12])
                keep = _CLOSE.search(head) is None
                self.load.answered(self, request, status, body, keep)
                return
        self.buffer = data

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        request, self.request = self.request, b""
        self.load.lost(self, request, exc)


class _Load:
    """What both loops share: what a request's end means."""

    def __init__(self, port: int, request: Request) -> None:
        self.port = port
        self.make = request
        self.result = Result()

    def judge(self, connection: _Connection, request: bytes, status: int, body: bytes) -> None:
        """Counts an answer."""
        result = self.result
        result.done += 1
        result.statuses[status] += 1
        result.latencies.append(clock.monotonic() - connection.due)
        if status >= 500:
            result.fail(f"status {status}", f"{target(request).decode()}: {body[:300].decode(errors='replace')}")
        elif not body.startswith(target(request) + b" "):
            result.fail("mixed up", f"{target(request).decode()} got {body[:40].decode(errors='replace')}")

    def answered(self, connection: _Connection, request: bytes, status: int, body: bytes, keep: bool) -> None:
        """An answer has come."""
        raise NotImplementedError

    def lost(self, connection: _Connection, request: bytes, exc: Exception | None) -> None:
        """A connection is gone; `request` is empty where none was under way."""
        raise NotImplementedError


class ClosedLoop(_Load):
    """`await ClosedLoop(...).run()` sends `count` requests over `connections` connections."""

    def __init__(self, port: int, request: Request, count: int, connections: int) -> None:
        super().__init__(port, request)
        self.count = count
        self.connections = connections

    async def run(self) -> Result:
        """Until the last answer."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._open = self.connections
        for _ in range(self.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
            self._next(connection)
        await self._over
        return self.result

    def _next(self, connection: _Connection) -> None:
        if self.result.sent >= self.count:
            connection.transport.close()
            return
        self.result.sent += 1
        connection.send(self.make(self.result.sent), clock.monotonic())

    def answered(self, connection: _Connection, request: bytes, status: int, body: bytes, keep: bool) -> None:
        """The next one."""
        self.judge(connection, request, status, body)
        if keep:
            self._next(connection)
        else:
            connection.transport.close()

    def lost(self, connection: _Connection, request: bytes, exc: Exception | None) -> None:
        """A connection is not opened again: the peer that closes it fails the comparison."""
        if request:
            self.result.fail("lost", f"{target(request).decode()}: {exc}")
        self._open -= 1
        if not self._open and not self._over.done():
            self._over.set_result(None)


class OpenLoop(_Load):
    """Sends `rate` requests a second, evenly, from `start()` to `await stop()`."""

    def __init__(
        self, port: int, request: Request, rate: float, timeout: float = 10.0, connections: int = 1024
    ) -> None:
        super().__init__(port, request)
        self.rate = rate
        self.timeout = timeout  # seconds from when it was due
        self.limit = connections
        self.open: set[_Connection] = set()
        self.opening = 0
        self._idle: deque[_Connection] = deque()  # used last at the end
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self.opening + sum(1 for connection in self.open if connection.request)

    def start(self) -> None:
        """Begins."""
        self._running = True
        self._began = clock.monotonic()
        self._last = self._began
        self._count = 0
        self._turn()

    async def stop(self) -> Result:
        """Sends no more, waits for what is under way, closes."""
        self._running = False
        while self.in_flight:
            self._expire(clock.monotonic())
            await asyncio.sleep(_PACE)
        for connection in list(self.open):
            connection.transport.close()
        return self.result

    def _turn(self) -> None:
        if not self._running:
            return
        now = clock.monotonic()
        due = int((now - self._began) * self.rate)
        while self._count < due:
            self._count += 1
            self._send(self._began + self._count / self.rate)
        if now - self._last > 0.1:
            self._last = now
            self._expire(now)
        asyncio.get_running_loop().call_later(_PACE, self._turn)

    def _expire(self, now: float) -> None:
        while self._idle and now - self._idle[0].idle_since > _IDLE:
            self._idle.popleft().transport.close()
        for connection in list(self.open):
            if connection.request and now - connection.due > self.timeout:
                self.result.fail("time-out", f"{target(connection.request).decode()} after {self.timeout:g} s")
                connection.request = b""
                connection.transport.abort()

    def _send(self, due: float) -> None:
        self.result.sent += 1
        request = self.make(self.result.sent)
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.send(request, due)
                return
        if len(self.open) + self.opening >= self.limit:
            self.result.fail("no connection", f"{self.limit} are open")
            return
        self.opening += 1
        task = asyncio.get_running_loop().create_task(self._connect(request, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, request: bytes, due: float) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
        except ConnectionRefusedError as error:
            self.result.fail("refused", f"{target(request).decode()}: {error}")
        except OSError as error:
            self.result.fail("not connected", f"{target(request).decode()}: {error}")
        else:
            self.open.add(connection)
            connection.send(request, due)
        finally:
            self.opening -= 1

    def answered(self, connection: _Connection, request: bytes, status: int, body: bytes, keep: bool) -> None:
        """Keeps the connection for the next request."""
        self.judge(connection, request, status, body)
        if keep:
            connection.idle_since = clock.monotonic()
            self._idle.append(connection)
        else:
            connection.transport.close()

    def lost(self, connection: _Connection, request: bytes, exc: Exception | None) -> None:
        """Counts what was under way on it."""
        self.open.discard(connection)
        if request:
            use = "first" if connection.used == 1 else f"{connection.used}th"
            self.result.fail(
                "lost",
                f"{target(request).decode()}, {use} request of its connection, "
                f"{clock.monotonic() - connection.due:.3f} s after it was due: {exc or 'closed'}",
            )
