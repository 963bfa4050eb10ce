"""An open-loop load on one gateway: Poisson arrivals, latency counted from the moment a request was due.

    python -m adaptive.demo.load '{"port": 8080, "seed": 1, "rate": 250, "seconds": 60, "timeout": 3, "parent": 4711}'

Half of the requests are POST, which no gateway may send twice once an instance could have read it. Reads one line with
the time (monotonic) of the start; writes a JSON line each second, of the requests that ended in it:
`{"second": 7, "failed": 1, "latencies": [...]}`, in seconds, of those that succeeded; and at the end `{"done": true}`.
Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import httptools
import uvloop

from adaptive import clock
from adaptive.gateway.parent import follow

PAYLOAD = b"y" * 200
HEAD = b" HTTP/1.1\r\nhost: demo.test\r\nuser-agent: adaptive-demo\r\naccept: */*\r\n"
POST = HEAD + b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(PAYLOAD), PAYLOAD)
GET = HEAD + b"\r\n"
BROKEN = 0  # status of a request whose connection broke, or could not be had


class Arrival(NamedTuple):
    """One request: seconds after the start at which it is due, its number, and whether it is a POST."""

    due: float
    number: int
    post: bool

    @property
    def request(self) -> bytes:
        """What goes out on the wire."""
        return (b"POST" if self.post else b"GET") + b" /item/%d" % self.number + (POST if self.post else GET)


def arrivals(seed: int, rate: float, seconds: float) -> Iterator[Arrival]:
    """Poisson arrivals at `rate` a second; the same seed gives the same ones."""
    rng = random.Random(f"arrivals:{seed}")
    due, count = 0.0, 0
    while (due := due + rng.expovariate(rate)) < seconds:
        count += 1
        yield Arrival(due, count, rng.random() < 0.5)


class Client(asyncio.Protocol):
    """One keep-alive connection to the gateway, with at most one request on it."""

    transport: asyncio.Transport

    def __init__(self, idle: list[Client]) -> None:
        self.idle = idle
        self.answer: asyncio.Future[int] | None = None
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; the future gives its status."""
        self.answer = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(request)
        return self.answer

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
        if self.parser.should_keep_alive():
            self.idle.append(self)
        else:
            self.transport.close()
        self._tell(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(BROKEN)

    def _tell(self, status: int) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_result(status)


class Load:
    """The load on one port. `failed` and `latencies` are of the second under way."""

    def __init__(self, port: int, timeout: float) -> None:
        self.port, self.timeout = port, timeout
        self.idle: list[Client] = []
        self.failed = 0
        self.latencies: list[float] = []

    async def one(self, due: float, request: bytes) -> None:
        """One request, due at a monotonic time."""
        client: Client | None = None
        status = BROKEN
        try:
            async with asyncio.timeout(due + self.timeout - clock.monotonic()):
                client = await self._client()
                status = await client.ask(request)
        except TimeoutError:
            if client is not None:
                client.transport.abort()
        except OSError:
            pass
        if 200 <= status < 300:
            self.latencies.append(round(clock.monotonic() - due, 5))
        else:
            self.failed += 1

    async def _client(self) -> Client:
        while self.idle:
            client = self.idle.pop()
            if not client.transport.is_closing():
                return client
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self.idle), "127.0.0.1", self.port)
        return client

    async def run(self, plan: Iterator[Arrival], begin: float) -> None:
        """Send every arrival at its time, and wait for the last answer."""
        tasks: set[asyncio.Task[None]] = set()
        for arrival in plan:
            wait = begin + arrival.due - clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self.one(begin + arrival.due, arrival.request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)

    def flush(self, second: int) -> None:
        """Write what ended since the last time."""
        line = {"second": second, "failed": self.failed, "latencies": self.latencies}
        self.failed, self.latencies = 0, []
        print(json.dumps(line), flush=True)


async def report(load: Load, begin: float) -> None:
    """A line each second, for ever."""
    second = 0
    while True:
        await asyncio.sleep(max(0.0, begin + second + 1 - clock.monotonic()))
        load.flush(second)
        second += 1


async def generate(spec: dict[str, Any]) -> None:
    """The whole life of the load."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    line = await reader.readline()
    if not line:
        return
    begin = float(line)
    load = Load(int(spec["port"]), float(spec["timeout"]))
    plan = arrivals(int(spec["seed"]), float(spec["rate"]), float(spec["seconds"]))
    work = asyncio.ensure_future(load.run(plan, begin))
    ended = asyncio.ensure_future(reader.read())
    telling = asyncio.ensure_future(report(load, begin))
    await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if work.done():
        load.flush(round(clock.monotonic() - begin))
        print(json.dumps({"done": True}), flush=True)
    work.cancel()
    ended.cancel()


def main() -> None:
    """Entry point of the subprocess."""
    spec = json.loads(sys.argv[1])
    follow(int(spec["parent"]))
    uvloop.run(generate(spec))


if __name__ == "__main__":
    main()
