"""Sends the requests of a plan when they are due, whatever became of those before: an open loop.

A latency counts from the moment a request was due, not from when this sender came round to it; its own lateness is
measured beside. So many may be outstanding at once; one that would be more is not sent, and counted as such: a sender
that waits for answers would hide what it measures.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import numpy as np

from adaptive import clock
from adaptive.config.address import is_ip
from adaptive.player.connection import Connection
from replay.player import verdict
from replay.player.message import Shape
from replay.player.plan import Plan
from replay.player.target import Target, TargetError, is_loopback
from replay.player.verdict import Replayed

LEAD = 0.1  # seconds before the first request, in which the loop comes to rest
LOOK = 0.005  # seconds between two looks for what has waited too long
BURST = 64  # requests that are sent in one go before answers are read again


async def resolve(target: Target) -> str:
    """The address that all requests go to. Raises TargetError where there is none, or where a local name leads away."""
    loop = asyncio.get_running_loop()
    if is_ip(target.host):
        return target.host
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=1)
    except OSError as error:
        raise TargetError(f"{target.host}: {error.strerror or error}") from None
    addresses = [str(one[4][0]) for one in found]
    if target.local and not all(map(is_loopback, addresses)):
        raise TargetError(f"{target.host} leads to {', '.join(addresses)}, which is not on this machine")
    return addresses[0]


class Sender:
    """One replay. `stop()` ends it early; what was under way is then told as unfinished."""

    def __init__(self, plan: Plan, shape: Shape, target: Target, timeout: float, outstanding: int) -> None:
        self.plan, self.shape, self.target = plan, shape, target
        self.timeout, self.most = timeout, outstanding
        n = len(plan.due)
        self.latency, self.lateness = np.full(n, np.nan), np.full(n, np.nan)
        self.status, self.end = np.zeros(n, np.int64), np.full(n, verdict.UNFINISHED, np.int64)
        self.sent = self.answered = self.failures = self.again = self.opened = 0
        self.zero = 0.0
        self.stopped = False
        self.address = ""
        self.tls = ssl.create_default_context() if target.tls else None
        self.idle: list[Connection] = []
        self.under_way: dict[int, Connection | None] = {}  # by place in the plan, the oldest first
        self.tasks: set[asyncio.Task[None]] = set()
        self._due: list[float] = plan.due.tolist()
        self._main: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Sends no more."""
        self.stopped = True
        if self._main is not None:
            self._main.cancel()

    async def run(self, progress: Callable[[Sender], None] = lambda sender: None, every: float = 1.0) -> None:
        """Sends all and waits for the last answer. Raises TargetError."""
        self.address = await resolve(self.target)
        self._main = asyncio.create_task(self._send_all())
        watch = asyncio.create_task(self._watch())
        told = asyncio.create_task(self._tell(progress, every))
        try:
            await asyncio.wait([self._main])
            if not self._main.cancelled() and (error := self._main.exception()):
                raise error
        finally:
            for task in (watch, told, *self.tasks):
                task.cancel()
            for connection in [*self.idle, *filter(None, self.under_way.values())]:
                connection.request = -1
                connection.transport.abort()

    def result(self) -> Replayed:
        """What was seen so far."""
        return Replayed(self.latency, self.status, self.end, self.lateness)

    async def _send_all(self) -> None:
        self.zero = clock.monotonic() + LEAD
        run = 0
        for index, due in enumerate(self._due):
            wait = self.zero + due - clock.monotonic()
            run += 1
            if wait > 0.0 or run >= BURST:
                await asyncio.sleep(max(0.0, wait))
                run = 0
            self._send(index)
        while self.under_way:
            await asyncio.sleep(LOOK)

    def _send(self, index: int) -> None:
        if len(self.under_way) >= self.most:
            self._ended(index, 0, verdict.NOT_SENT)
            return
        self.sent += 1
        message = self.shape.message(self.plan.requests, int(self.plan.index[index]))
        while self.idle:
            connection = self.idle.pop()
            if connection.usable and not connection.transport.is_closing():
                self._ask(connection, index, message)
                return
        self._open(index, message)

    def _ask(self, connection: Connection, index: int, message: bytes) -> None:
        self.under_way[index] = connection
        if np.isnan(self.lateness[index]):
            self.lateness[index] = max(0.0, clock.monotonic() - self.zero - self._due[index])
        connection.ask(index, message)

    def _open(self, index: int, message: bytes) -> None:
        """On a new connection; connecting is the target's time, so that the sender's lateness ends here."""
        self.under_way[index] = None
        if np.isnan(self.lateness[index]):
            self.lateness[index] = max(0.0, clock.monotonic() - self.zero - self._due[index])
        task = asyncio.create_task(self._connect(index, message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, index: int, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        name = self.target.host if self.tls else None
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._heard), self.address, self.target.port, ssl=self.tls, server_hostname=name
            )
        except (OSError, ssl.SSLError):
            self._ended(index, 0, verdict.REFUSED)
            return
        self.opened += 1
        if index in self.under_way:
            self._ask(connection, index, message)
        else:  # given up meanwhile
            connection.transport.close()

    def _heard(self, connection: Connection, index: int, status: int) -> None:
        """A connection has the answer, or will have none."""
        which = int(self.plan.index[index])
        if status == 0 and connection.reused and not connection.heard and self.plan.requests.repeatable[which]:
            self.again += 1  # it was closed while idle, and the request crossed with that
            self._open(index, self.shape.message(self.plan.requests, which))
            return
        if connection.usable:
            self.idle.append(connection)
        ends = {0: verdict.CUT, -1: verdict.BROKEN}
        self._ended(index, max(0, status), ends.get(status, verdict.ANSWERED))

    def _ended(self, index: int, status: int, end: int) -> None:
        if self.end[index] != verdict.UNFINISHED:
            return
        self.under_way.pop(index, None)
        self.latency[index] = min(self.timeout, clock.monotonic() - self.zero - self._due[index])
        self.status[index], self.end[index] = status, end
        self.answered += end == verdict.ANSWERED
        self.failures += end != verdict.ANSWERED or status >= 500

    async def _watch(self) -> None:
        """Gives up what has waited too long."""
        while True:
            await asyncio.sleep(LOOK)
            late = clock.monotonic() - self.zero - self.timeout
            for index in list(self.under_way):
                if self._due[index] > late:
                    break
                connection = self.under_way[index]
                self._ended(index, 0, verdict.TIMED_OUT)
                if connection is not None:
                    connection.forget()

    async def _tell(self, progress: Callable[[Sender], None], every: float) -> None:
        while True:
            await asyncio.sleep(every)
            progress(self)
