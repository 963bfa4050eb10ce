"""An instance behind the gateway: answers at once, or as badly as it is told.

    python -m adaptive.bench.origin PORT...

A process of its own, so that it can be killed and its CPU time is nobody else's. Port 0 takes a free one; a first line
of JSON on standard output says which: {"ports": [...]}. Each line of JSON on standard input changes its behaviour (see
`Behaviour`); the end of standard input ends it at once, so that it never outlives who started it.

SIGTERM is a graceful restart's first half, as good servers do it: it stops listening, closes idle connections on which
no request is waiting to be read, finishes what is in flight, and ends.

The answer's body begins with the request's target, so that a client can tell whose answer it got.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BODY_BYTES = 200  # a small answer of an API
_HEAD = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nserver: origin\r\n%b\r\n"
# Seconds for which an instance that is to end waits for its last requests.
GRACE = 10.0


@dataclass(slots=True)
class Behaviour:
    """How it answers: `errors` is the share of 503s, `delay` seconds before each answer, `spread` seconds more at
    most, at random.
    """

    errors: float = 0.0
    delay: float = 0.0
    spread: float = 0.0


class Instance:
    """All listening addresses of one process."""

    def __init__(self, seed: int) -> None:
        self.behaviour = Behaviour()
        self.rng = random.Random(seed)
        self.connections: set[Connection] = set()
        self.leaving = False
        self.servers: list[asyncio.Server] = []
        self.over: asyncio.Event = asyncio.Event()

    def heard(self, line: str) -> None:
        """A line of standard input."""
        self.behaviour = Behaviour(**json.loads(line))

    def leave(self) -> None:
        """Ends gracefully."""
        self.leaving = True
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.leave()
        self.gone()
        asyncio.get_running_loop().call_later(GRACE, self.over.set)

    def gone(self) -> None:
        """A connection closed."""
        if self.leaving and not self.connections:
            self.over.set()


class Connection(asyncio.Protocol):
    """One connection from the gateway; pipelined requests are answered one after the other."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.buffer = b""
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)
        self.instance.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.instance.connections.discard(self)
        self.instance.gone()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.buffer += data
        if not self.busy:
            self._next()

    def _next(self) -> None:
        """Answers the next whole request, if there is one."""
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self.buffer[:end]
        found = _LENGTH.search(head)
        end += int(found[1]) if found else 0
        if len(self.buffer) < end:
            return
        self.buffer = self.buffer[end:]
        target = head.split(b" ", 2)[1]
        behaviour, rng = self.instance.behaviour, self.instance.rng
        if target == b"/health":
            self._answer(target, False)
            return
        failing = behaviour.errors > 0.0 and rng.random() < behaviour.errors
        if behaviour.delay or behaviour.spread:
            self.busy = True
            pause = behaviour.delay + behaviour.spread * rng.random()
            asyncio.get_running_loop().call_later(pause, self._answer, target, failing)
        else:
            self._answer(target, failing)

    def _answer(self, target: bytes, failing: bool) -> None:
        self.busy = False
        if self.transport.is_closing():
            return
        leaving = self.instance.leaving
        body = target.ljust(BODY_BYTES)
        status, reason = (503, b"Service Unavailable") if failing else (200, b"OK")
        extra = b"connection: close\r\n" if leaving else b""
        self.transport.write(_HEAD % (status, reason, len(body), extra) + body)
        if leaving:
            self.transport.close()
        elif self.buffer:
            self._next()

    def leave(self) -> None:
        """Closes if nothing is under way; a request that has arrived but was not read yet counts as under way. The end
        goes out in the same breath: `close` alone leaves it to the loop's next turn, until when requests may arrive.
        """
        if self.busy or self.buffer:
            return
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as sock:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            if not poll.poll(0):
                sock.shutdown(socket.SHUT_RDWR)
                self.transport.close()


async def serve(ports: Sequence[int]) -> None:
    """Serves until SIGTERM, or until standard input ends."""
    loop = asyncio.get_running_loop()
    instance = Instance(seed=ports[0])
    for port in ports:
        instance.servers.append(await loop.create_server(lambda: Connection(instance), "127.0.0.1", port, backlog=1024))
    loop.add_signal_handler(signal.SIGTERM, instance.leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started us decides
    taken = [server.sockets[0].getsockname()[1] for server in instance.servers]
    print(json.dumps({"ports": taken}), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def listen() -> None:
        while line := await commands.readline():
            instance.heard(line.decode())
        instance.over.set()

    listening = loop.create_task(listen())
    await instance.over.wait()
    listening.cancel()


if __name__ == "__main__":
    uvloop.run(serve([int(word) for word in sys.argv[1:]]))
