"""A scenario's fleet as real HTTP instances, in one process.

    python -m adaptive.arena.fleet '{"scenario": "/tmp/x/hang.json", "seed": 1, "parent": 4711}'

Each instance listens on a port of its own, has the scenario's slots and backlog, and takes for a request the time that
the simulator would: by the number in its path, the first time that the fleet serves it, and drawn anew for a further
attempt. Its faults are those of the simulator, by the clock. Writes one JSON line with its ports; reads one with the
time (monotonic) of the scenario's zero; when its standard input ends it writes what it has counted, and ends.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import sys
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import httptools
import numpy as np
import uvloop

from adaptive import clock
from adaptive.arena import lateness
from adaptive.gateway.parent import follow
from replay import arrivals, scenario_file
from replay.scenario import Instance as Spec
from replay.scenario import Scenario, Service
from replay.simulator import service
from replay.simulator.faults import Condition, Faults, condition

AFTER = 5  # seconds after the scenario's end in which attempts are still counted
LIFECYCLE = 0.02  # seconds between looks at the schedule, for opening and closing the port
LATER = 4096  # service times of further attempts, drawn beforehand
BODY = b'{"ok":true,"pad":"' + b"x" * 200 + b'"}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Instance:
    """One instance. `fleet.zero` is the monotonic time of the scenario's zero."""

    def __init__(self, fleet: Fleet, index: int, spec: Spec, times: list[float], seed: int, luck: int) -> None:
        self.fleet, self.slots, self.backlog, self.times = fleet, spec.slots, spec.backlog, times
        self.faults = Faults(spec.faults, index, seed, fleet.scenario.seconds)
        self.rng = random.Random(f"{seed}/{luck}/live instance/{index}")
        normal = np.array([self.rng.gauss(0.0, 1.0) for _ in range(LATER)])
        self.later = deque(service.times(spec.service, normal, np.ones(LATER)))
        self.busy = 0
        self.stalled_until = 0.0
        self.queue: deque[tuple[Connection, float]] = deque()
        self.connections: set[Connection] = set()
        self.server: asyncio.Server | None = None
        # Keeps the port while nothing listens on it: connections are refused, and nobody else can take it.
        self.holder = _bound(0)
        self.port: int = self.holder.getsockname()[1]

    def now(self) -> Condition:
        """How it is at this moment."""
        t = clock.monotonic() - self.fleet.zero
        found = condition(self.faults.active(t), t)
        self.stalled_until = max(self.stalled_until, found.stalled_until)
        return found

    def stall(self) -> float:
        """Seconds until the pause that is under way ends."""
        return max(0.0, self.stalled_until - (clock.monotonic() - self.fleet.zero))

    async def open(self) -> None:
        """Start listening."""
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=_bound(self.port), backlog=1024
        )

    def crash(self) -> None:
        """Stop listening and break every connection; what waited is lost."""
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

    def arrive(self, connection: Connection, number: int) -> None:
        """One request."""
        self.fleet.count(number)
        now = self.now()
        if now.unreachable or (now.hang and self.rng.random() < now.hang):
            return
        if now.errors and self.rng.random() < now.errors:
            asyncio.get_running_loop().call_later(now.error_seconds, connection.answer, UNAVAILABLE)
            return
        base = self.seconds(number)
        if self.busy < max(1, int(self.slots * now.share)):
            self._serve(connection, base * now.slow, clock.monotonic())
        elif len(self.queue) < self.backlog:
            self.queue.append((connection, base))
        else:
            connection.transport.abort()

    def seconds(self, number: int) -> float:
        """The service time of this request, without faults."""
        seen = self.fleet.seen
        if 0 <= number < len(seen) and not seen[number]:
            seen[number] = True
            return self.times[number]
        self.later.rotate(-1)
        return self.later[0]

    def _serve(self, connection: Connection, seconds: float, since: float) -> None:
        """Takes a slot, `since` then. What the clock is late by is not added up along a queue."""
        self.busy += 1
        self._until(connection, since + seconds + self.stall())

    def _until(self, connection: Connection, end: float) -> None:
        asyncio.get_running_loop().call_later(max(0.0, end - clock.monotonic()), self._finish, connection, end)

    def _finish(self, connection: Connection, end: float) -> None:
        now = self.now()
        left = self.stall()
        if left > 0.0:  # the process stands still: nothing is answered before that ends
            self._until(connection, clock.monotonic() + left)
            return
        self.busy -= 1
        connection.answer(OK)
        self.fleet.late.append(clock.monotonic() - end)
        self.fleet.late_at.append(end - self.fleet.zero)
        slots = max(1, int(self.slots * now.share))
        while self.queue and self.busy < slots:
            following, base = self.queue.popleft()
            if not following.transport.is_closing():  # a client that went away is not served any more
                self._serve(following, base * now.slow, end)


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
        if self.url.startswith(b"/health"):
            self.answer(OK)
        else:
            tail = self.url.rpartition(b"/")[2]
            self.instance.arrive(self, int(tail) if tail.isdigit() and len(tail) < 10 else -1)

    def answer(self, response: bytes) -> None:
        """Send a response, unless the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(response)


class Fleet:
    """All instances, and which requests they have seen."""

    def __init__(self, scenario: Scenario, seed: int, luck: int = 0) -> None:
        self.scenario = scenario
        self.zero = math.inf
        plan = arrivals.draw(scenario, seed)
        self.seen = [False] * len(plan.due)
        self.met = [False] * len(plan.due)
        # By second: attempts at requests that had not been seen before, and further ones.
        self.attempts = [[0] * (int(scenario.seconds) + AFTER) for _ in range(2)]
        self.late = array("d")  # seconds by which answers were later than they ought to be, and when
        self.late_at = array("d")
        kinds: dict[Service, list[float]] = {}
        for spec in scenario.instances:
            if spec.service not in kinds:
                kinds[spec.service] = service.times(spec.service, plan.normal, plan.work)
        self.instances = [
            Instance(self, i, spec, kinds[spec.service], seed, luck) for i, spec in enumerate(scenario.instances)
        ]

    def count(self, number: int) -> None:
        """One attempt at the request of this number."""
        second = int(clock.monotonic() - self.zero) if self.zero < math.inf else -1
        if 0 <= number < len(self.met) and 0 <= second < len(self.attempts[0]):
            self.attempts[self.met[number]][second] += 1
            self.met[number] = True

    def counted(self) -> dict[str, Any]:
        """What is told at the end."""
        late = lateness.worst(np.asarray(self.late_at), np.asarray(self.late))
        return {"first": self.attempts[0], "again": self.attempts[1], "late": late}


def _bound(port: int) -> socket.socket:
    """A socket bound to the port, which another one may listen on as well."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


async def serve(spec: dict[str, Any]) -> None:
    """The whole life of the fleet."""
    fleet = Fleet(scenario_file.load(Path(spec["scenario"])), int(spec["seed"]), int(spec.get("luck", 0)))
    for instance in fleet.instances:
        await instance.open()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ports": [instance.port for instance in fleet.instances]}), flush=True)
    line = await reader.readline()
    if not line:
        return
    fleet.zero = float(line)
    lives = [asyncio.create_task(instance.live()) for instance in fleet.instances]
    await reader.read()  # until the end of the input
    for life in lives:
        life.cancel()
    print(json.dumps(fleet.counted()), flush=True)


def main() -> None:
    """Entry point of the subprocess."""
    spec = json.loads(sys.argv[1])
    follow(int(spec["parent"]))
    uvloop.run(serve(spec))


if __name__ == "__main__":
    main()
