"""The requests of a scenario, sent when they are due, as independent users would, to its gateways in turn.

    python -m adaptive.arena.load '{"scenario": "/tmp/x/hang.json", "seed": 1, "ports": [8080], "parent": 4711,
                                    "out": "/tmp/x/rows.npy"}'

Open loop: a latency counts from the moment a request was due, whatever happened to those before. Reads one line with
the time (monotonic) of the scenario's zero; at the end it writes the rows, as `ROW` has them, to `out`, where that is
given, and one line of JSON. With `"tell": true` a line each second says what ended in it. Ends early when its standard
input does. The number in a request's path is its place in the arrivals, by which the fleet knows how much work it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import httptools
import numpy as np
import uvloop

from adaptive import clock
from adaptive.gateway.parent import follow
from replay import arrivals, scenario_file

# Seconds; `late`: from when it was due until it was sent, which `latency` counts; status 0: no answer.
ROW = np.dtype([("due", "f8"), ("latency", "f8"), ("late", "f8"), ("status", "i4"), ("post", "?")])
PAYLOAD = b"y" * 200
HEAD = b" HTTP/1.1\r\nhost: fleet.test\r\nuser-agent: load\r\naccept: */*\r\n"
POST = HEAD + b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(PAYLOAD), PAYLOAD)
GET = HEAD + b"\r\n"
LAST = 1.0  # seconds that are waited for answers after the last time-out


def message(number: int, post: bool) -> bytes:
    """A request as it goes out on the wire."""
    return (b"POST" if post else b"GET") + b" /item/%d" % number + (POST if post else GET)


class Client(asyncio.Protocol):
    """One keep-alive connection to the gateway, with at most one request on it."""

    transport: asyncio.Transport

    def __init__(self, load: Load, place: int) -> None:
        self.load, self.place = load, place  # which of the gateways
        self.index = -1  # of the request under way
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes

    def ask(self, index: int, request: bytes) -> None:
        """Sends one request."""
        self.index = index
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_complete(self) -> None:
        """The response is whole."""
        status = self.parser.get_status_code()
        if status < 200:
            return
        index, self.index = self.index, -1
        if self.parser.should_keep_alive():
            self.load.idle[self.place].append(self)
        else:
            self.transport.close()
        self.load.ended(index, status)

    def connection_lost(self, exc: Exception | None) -> None:
        index, self.index = self.index, -1
        self.load.ended(index, 0)


class Load:
    """All requests of one run. `zero` is the monotonic time of the scenario's zero."""

    def __init__(self, ports: Sequence[int], timeout: float, plan: arrivals.Arrivals) -> None:
        self.ports, self.timeout = ports, timeout
        self.due: list[float] = plan.due.tolist()
        self.post: list[bool] = plan.post.tolist()
        self.rows = np.zeros(len(self.due), ROW)
        self.rows["due"], self.rows["post"], self.rows["latency"] = plan.due, plan.post, timeout
        self.zero = 0.0
        self.idle: list[list[Client]] = [[] for _ in ports]
        self.under_way: dict[int, Client | None] = {}  # by index, the oldest first
        self.tasks: set[asyncio.Task[None]] = set()
        self.fresh: list[float] | None = None  # latencies of what ended well since the last line, where those are told
        self.failed = 0  # and how many ended badly

    async def run(self, zero: float) -> None:
        """Sends every request at its time and waits for the last answer."""
        self.zero = zero
        watch = asyncio.create_task(self._watch())
        for index, due in enumerate(self.due):
            wait = zero + due - clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self._send(index)
        end = zero + (self.due[-1] if self.due else 0.0) + self.timeout + LAST
        while self.under_way and clock.monotonic() < end:
            await asyncio.sleep(0.01)
        watch.cancel()

    def _send(self, index: int) -> None:
        self.rows["late"][index] = clock.monotonic() - self.zero - self.due[index]
        request = message(index, self.post[index])
        idle = self.idle[index % len(self.ports)]
        while idle:
            client = idle.pop()
            if not client.transport.is_closing():
                self.under_way[index] = client
                client.ask(index, request)
                return
        self.under_way[index] = None
        task = asyncio.create_task(self._connect(index, request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, index: int, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        place = index % len(self.ports)
        try:
            _, client = await loop.create_connection(lambda: Client(self, place), "127.0.0.1", self.ports[place])
        except OSError:
            self.ended(index, 0)
            return
        if index in self.under_way:
            self.under_way[index] = client
            client.ask(index, request)
        else:  # given up meanwhile
            self.idle[place].append(client)

    def ended(self, index: int, status: int) -> None:
        """A request has its answer, or will get none (0)."""
        if index in self.under_way:
            del self.under_way[index]
            self.rows["latency"][index] = clock.monotonic() - self.zero - self.due[index]
            self.rows["status"][index] = status
            if self.fresh is not None:
                if 200 <= status < 300:
                    self.fresh.append(round(float(self.rows["latency"][index]), 5))
                else:
                    self.failed += 1

    def tell(self, second: int) -> None:
        """Writes what ended since the last time."""
        line = {"second": second, "failed": self.failed, "latencies": self.fresh or []}
        self.failed, self.fresh = 0, []
        print(json.dumps(line), flush=True)

    async def report(self, zero: float) -> None:
        """A line each second, until it is cancelled."""
        second = 0
        while True:
            await asyncio.sleep(max(0.0, zero + second + 1 - clock.monotonic()))
            self.tell(second)
            second += 1

    def _given_up(self, before: float) -> list[int]:
        """The requests under way that were due by then: of thousands that wait only the oldest are looked at."""
        return list(takewhile(lambda index: self.due[index] <= before, self.under_way))

    async def _watch(self) -> None:
        """Gives up what has waited too long."""
        while True:
            await asyncio.sleep(0.005)
            for index in self._given_up(clock.monotonic() - self.zero - self.timeout):
                client = self.under_way[index]
                self.ended(index, 0)
                if client is not None:
                    client.index = -1
                    client.transport.abort()


async def generate(spec: dict[str, Any]) -> None:
    """The whole life of the load."""
    scenario = scenario_file.load(Path(spec["scenario"]))
    load = Load(spec["ports"], scenario.clients.timeout, arrivals.draw(scenario, int(spec["seed"])))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"requests": len(load.due)}), flush=True)
    line = await reader.readline()
    if not line:
        return
    zero = float(line)
    work, ended = asyncio.ensure_future(load.run(zero)), asyncio.ensure_future(reader.read())
    telling = None
    if spec.get("tell"):
        load.fresh = []
        telling = asyncio.ensure_future(load.report(zero))
    await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if telling is not None:
        telling.cancel()
        load.tell(round(clock.monotonic() - zero))
    if not work.done():
        work.cancel()
        return
    await work
    if "out" in spec:
        np.save(spec["out"], load.rows, allow_pickle=False)
    print(json.dumps({"done": True}), flush=True)


def main() -> None:
    """Entry point of the subprocess."""
    spec = json.loads(sys.argv[1])
    follow(int(spec["parent"]))
    uvloop.run(generate(spec))


if __name__ == "__main__":
    main()
