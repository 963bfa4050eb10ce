"""A small fleet of real HTTP instances in one process, whose faults follow a schedule.

    python -m adaptive.demo.fleet '{"plan": ..., "seed": 1, "parent": 4711}'

Each instance listens on a port of its own, serves `slots` requests at once and queues the others. The service time of a
request is log-normal and depends only on the seed and on the number in its path, so that another fleet of the same seed
takes as long for the same request. Writes one JSON line with its ports; reads one line with the time (monotonic) at
which the schedule starts; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import sys
from collections import deque
from typing import Any

import httptools
import uvloop

from adaptive import clock
from adaptive.demo import schedule
from adaptive.gateway.parent import follow

NOISE = 8192  # service times drawn beforehand: half a minute of load before any comes again
FAIL_AFTER = 0.002  # seconds until a failing instance answers
LIFECYCLE = 0.02  # seconds between looks at the schedule, for opening and closing the port
QUEUED = 2048  # requests; beyond, an instance answers 503 at once, as a full backlog would
BODY = b'{"ok":true,"pad":"' + b"x" * 200 + b'"}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def noise(seed: int, plan: schedule.Plan) -> list[float]:
    """Service times in seconds, of a mean of `plan.service`."""
    rng = random.Random(f"service:{seed}")
    mu = math.log(plan.service) - plan.sigma**2 / 2
    return [rng.lognormvariate(mu, plan.sigma) for _ in range(NOISE)]


def number(url: bytes) -> int:
    """The number at the end of a path; 0 where there is none."""
    tail = url.rpartition(b"/")[2]
    return int(tail) if tail.isdigit() and len(tail) < 19 else 0


class Instance:
    """One instance: a port, slots, a queue. `begin` is the monotonic time of the schedule's zero."""

    def __init__(self, faults: tuple[schedule.Fault, ...], plan: schedule.Plan, times: list[float]) -> None:
        self.faults, self.slots, self.times = faults, plan.slots, times
        self.begin = math.inf
        self.busy = 0
        self.queue: deque[tuple[Connection, float]] = deque()
        self.connections: set[Connection] = set()
        self.server: asyncio.Server | None = None
        # Keeps the port while nothing listens on it: connections are refused, and nobody else can take it.
        self.holder = _bound(0)
        self.port: int = self.holder.getsockname()[1]

    def now(self) -> schedule.Condition:
        """How it is at this moment."""
        return schedule.condition(self.faults, clock.monotonic() - self.begin)

    async def open(self) -> None:
        """Start listening."""
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=_bound(self.port), backlog=512
        )

    def crash(self) -> None:
        """Stop listening and break every connection; what was queued or being served is lost."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for connection in list(self.connections):
            connection.transport.abort()
        self.queue.clear()

    async def live(self) -> None:
        """Open and close the port as the schedule says, for ever."""
        while True:
            down = self.now().down
            if down and self.server is not None:
                self.crash()
            elif not down and self.server is None:
                await self.open()
            await asyncio.sleep(LIFECYCLE)

    def arrive(self, connection: Connection, url: bytes) -> None:
        """One request."""
        if self.now().failing:
            asyncio.get_running_loop().call_later(FAIL_AFTER, connection.answer, UNAVAILABLE)
            return
        base = self.times[number(url) % NOISE]
        if self.busy < self.slots:
            self._serve(connection, base)
        elif len(self.queue) < QUEUED:
            self.queue.append((connection, base))
        else:
            connection.answer(UNAVAILABLE)

    def _serve(self, connection: Connection, base: float) -> None:
        self.busy += 1
        asyncio.get_running_loop().call_later(base * self.now().slowdown, self._finish, connection)

    def _finish(self, connection: Connection) -> None:
        left = self.now().pause_ends - (clock.monotonic() - self.begin)
        if left > 0:  # the process stands still: nothing is answered before that ends
            asyncio.get_running_loop().call_later(left, self._finish, connection)
            return
        self.busy -= 1
        connection.answer(OK)
        while self.queue and self.busy < self.slots:
            following, base = self.queue.popleft()
            if not following.transport.is_closing():  # a client that went away is not served any more
                self._serve(following, base)


class Connection(asyncio.Protocol):
    """One connection from a gateway; one request at a time."""

    transport: asyncio.Transport

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes
        self.instance.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.instance.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request starts."""
        self.url = b""

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self.url += url

    def on_message_complete(self) -> None:
        """The request is whole. A health check is answered at once: it sees that the process lives, and no more."""
        if self.url == b"/health":
            self.answer(OK)
        else:
            self.instance.arrive(self, self.url)

    def answer(self, response: bytes) -> None:
        """Send a response, unless the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(response)


def _bound(port: int) -> socket.socket:
    """A socket bound to the port, which another one may listen on as well."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


async def serve(spec: dict[str, Any]) -> None:
    """The whole life of the fleet."""
    plan = schedule.load(spec["plan"])
    times = noise(int(spec["seed"]), plan)
    instances = [Instance(faults, plan, times) for faults in plan.faults]
    for instance in instances:
        await instance.open()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ports": [instance.port for instance in instances]}), flush=True)
    line = await reader.readline()
    if not line:
        return
    for instance in instances:
        instance.begin = float(line)
    lives = [asyncio.create_task(instance.live()) for instance in instances]
    await reader.read()  # until the end of the input
    for life in lives:
        life.cancel()


def main() -> None:
    """Entry point of the subprocess."""
    spec = json.loads(sys.argv[1])
    follow(int(spec["parent"]))
    uvloop.run(serve(spec))


if __name__ == "__main__":
    main()
