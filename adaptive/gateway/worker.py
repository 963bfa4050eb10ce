"""A worker process: the event loop around the data plane.

It takes its first configuration from the control channel, accepts on the inherited sockets, and does what the
supervisor says: another configuration, drain, stop. Without a supervisor it ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from adaptive import clock
from adaptive.config.server import ListenerTLS
from adaptive.gateway import listen, parent
from adaptive.gateway.boot import Configuration, WorkerBoot
from adaptive.gateway.channel import Channel, Message, open_channel
from adaptive.gateway.client import ClientConnection
from adaptive.gateway.outbox import Outbox
from adaptive.gateway.plane import Plane
from adaptive.gateway.tls import Certificates
from adaptive.grading import ASLEEP
from adaptive.telemetry.board import Board
from adaptive.telemetry.counters import Counters
from adaptive.telemetry.ring import Ring

log = logging.getLogger(__name__)

# Deadlines, the snapshot and the other workers' counts are looked at this often. It is how late a second
# copy may go out, so it must be short against a service time; the sweep itself costs some microseconds.
SWEEP = 0.01
# With several workers, whose counts each must know of the others.
SWEEP_SHARED = 0.005
SWEEP_SLOW = 0.5
# Seconds for which new connections are still accepted after the drain began: clients and load balancers need a moment
# to see that readiness failed.
DRAIN_ACCEPT = 0.5
# Seconds in which the loop has surely closed the descriptors that it was told to close.
SHUT = 0.02


class Worker:
    """The shell of one worker."""

    def __init__(self, boot: WorkerBoot) -> None:
        self.boot = boot
        self.board = Board.attach(boot.board_fd)
        self.counters = Counters.attach(boot.counters_fd)
        epoch = int(clock.wall()) & 0xFF_FFFF
        outbox = Outbox(lambda flush: asyncio.get_running_loop().call_soon(flush))
        self.plane = Plane(boot.index, boot.seed, epoch, self.board, Ring.attach(boot.ring_fd), self.counters, outbox)
        self.plane.id_prefix = os.urandom(8).hex().encode()
        self.plane.tell = self._send
        self.channel: Channel | None = None
        self.servers: list[asyncio.Server] = []
        # Another descriptor of each listening socket, and what makes a client of a connection accepted there.
        self.doors: list[tuple[socket.socket, Callable[[socket.socket], Coroutine[Any, Any, object]]]] = []
        self.certificates: dict[int, Certificates] = {}  # by listener
        self.over: asyncio.Future[None] | None = None
        self._due = 0.0
        self._slow_due = 0.0
        self._late = False  # whether the last sweep was left out, since we had stood still
        self._every = SWEEP if boot.workers == 1 else SWEEP_SHARED
        self._failure = ""  # of the last sweep that failed
        self._listening = False

    async def run(self) -> int:
        """Serves until told otherwise."""
        loop = asyncio.get_running_loop()
        self.over = loop.create_future()
        self.channel = await open_channel(self.boot.channel_fd, self._message, self._stop)
        self._due = clock.monotonic() + self._every
        loop.call_later(self._every, self._sweep)
        await self.over
        for server in self.servers:
            server.close()
        return 0

    def _stop(self) -> None:
        if self.over is not None and not self.over.done():
            self.over.set_result(None)

    def _message(self, message: Message) -> None:
        kind = message["type"]
        if kind == "configure":
            asyncio.get_running_loop().create_task(self._configure(Configuration.of(message)))
        elif kind == "drain":
            asyncio.get_running_loop().create_task(self._drain(float(message["seconds"])))
        elif kind == "reopen":
            self._reopen()
        elif kind == "stop":
            self._stop()

    def _reopen(self) -> None:
        access_log = self.plane.access_log
        if access_log is not None:
            try:
                access_log.reopen()
            except OSError as error:
                log.error("the access log %s cannot be opened again: %s", access_log.path, error.strerror or error)

    def _send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)

    async def _configure(self, configuration: Configuration) -> None:
        try:
            for index, listener in enumerate(configuration.config.listen):
                if listener.tls is not None:
                    self._take_certificates(index, listener.tls)
            self.plane.configure(configuration, clock.monotonic())
        except Exception as error:  # whatever it is, the configuration in force stays
            log.exception("configuration %d cannot be put in force", configuration.generation)
            self._send({"type": "failed", "generation": configuration.generation, "error": str(error)})
            return
        if not self._listening:
            self._listening = True
            for fd, index in self.boot.listeners:
                await self._listen(fd, index)
            gc.collect()
            gc.freeze()
            # Requests leave no cycles behind; what little there is can wait.
            gc.set_threshold(50_000, 20, 20)
            self._send({"type": "ready"})
        self._send({"type": "configured", "generation": configuration.generation})

    def _take_certificates(self, index: int, config: ListenerTLS) -> None:
        if index in self.certificates:
            self.certificates[index].update(config)
        else:
            self.certificates[index] = Certificates(config)

    async def _listen(self, fd: int, index: int) -> None:
        plane = self.plane
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        context = self.certificates[index].context if index in self.certificates else None
        scheme = b"https" if context else b"http"
        loop = asyncio.get_running_loop()
        spare = sock.dup()

        def made() -> ClientConnection:
            return ClientConnection(plane, scheme)

        self.servers.append(await loop.create_server(made, sock=sock, ssl=context, backlog=4096))
        self.doors.append((spare, lambda taken: loop.connect_accepted_socket(made, taken, ssl=context)))

    def _sweep(self) -> None:
        now = clock.monotonic()
        plane = self.plane
        lag = max(0.0, now - self._due)
        self.board.beat(self.boot.index, now, lag)
        try:
            # After a standstill, answers that have come meanwhile are read before anything is given up.
            self._late = lag > ASLEEP and not self._late
            if self._listening and not self._late:
                plane.sweep(now)
                if now >= self._slow_due:
                    self._slow_due = now + SWEEP_SLOW
                    plane.sweep_slow(now)
        except Exception as error:  # without the next sweep no time-out would ever come
            if str(error) != self._failure:
                self._failure = str(error)
                log.exception("a sweep failed; the next one is tried")
        self._due = clock.monotonic() + self._every
        asyncio.get_running_loop().call_later(self._every, self._sweep)

    async def _drain(self, seconds: float) -> None:
        """Stops accepting after a moment, and waits for what is under way."""
        if self.plane.draining:
            return
        self.plane.draining = True
        self.plane.drain_since = clock.monotonic()
        deadline = self.plane.drain_since + seconds
        await asyncio.sleep(min(DRAIN_ACCEPT, seconds))
        for server in self.servers:
            server.close()
        await asyncio.sleep(SHUT)
        last = self._take_waiting()
        await asyncio.sleep(SHUT)  # who was accepted in this turn becomes a client in the next
        while (self.plane.clients or not all(task.done() for task in last)) and clock.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._send({"type": "drained", "cut": len(self.plane.clients)})

    def _take_waiting(self) -> list[asyncio.Task[Any]]:
        """Takes all connections that the kernel has accepted for us, and closes the last descriptor at once after that:
        closing would reset what still waits, and clients may have sent a request already. The loop's own descriptors
        are closed by now, or what comes while they are would be reset with them.
        """
        loop = asyncio.get_running_loop()
        taken = []
        for spare, take in self.doors:
            with spare:
                listen.deafen(spare)
                while True:
                    try:
                        sock, _ = spare.accept()
                    except ConnectionAbortedError:
                        continue
                    except OSError:  # none is left
                        break
                    sock.setblocking(False)
                    taken.append(loop.create_task(take(sock)))
        self.doors.clear()
        return taken


def run(boot: WorkerBoot) -> int:
    """Runs one worker until it is told to stop; returns its exit code."""
    parent.follow(boot.parent)
    parent.leave_signals_to_the_supervisor()
    return uvloop.run(Worker(boot).run())
