"""The worker's shell: how it stops listening."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
import uvloop

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.gateway import worker as shell
from adaptive.gateway.boot import Configuration, WorkerBoot
from adaptive.gateway.worker import Worker
from adaptive.telemetry.board import Board
from adaptive.telemetry.counters import Counters
from adaptive.telemetry.ring import Ring

CONFIG = """
listen: 127.0.0.1:0
clusters:
  api: {endpoints: [127.0.0.1:9001]}
routes:
  - {prefix: /only, cluster: api}
"""
CLIENTS = 20
REQUEST = b"GET /nowhere HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def started() -> tuple[Worker, int]:
    """A worker that listens, and its port."""
    board, ring, counts = Board.create(64, 4, 1), Ring.create(64), Counters.create(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        fds = ((os.dup(listening.fileno()), 0),)
    worker = Worker(WorkerBoot(0, 1, fds, board.fd, ring.fd, counts.fd, -1, os.getpid(), 7))
    config = parse(CONFIG, "test.yaml", {})
    await worker._configure(Configuration(config, assign_slots(config, {}), 1))
    return worker, port


def test_connections_that_wait_to_be_accepted_are_served_before_the_end() -> None:
    async def run() -> None:
        worker, port = await started()
        # From here until the sockets are shut the loop does not turn, so that nothing is accepted.
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(REQUEST)
        for server in worker.servers:
            server.close()
        assert len(worker._take_waiting()) == CLIENTS
        await asyncio.sleep(shell.SHUT)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for client in clients:
            reader, writer = await asyncio.open_connection(sock=client)
            assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
            writer.close()

    uvloop.run(run())


def test_a_drain_waits_for_a_client_that_has_connected_but_not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "DRAIN_ACCEPT", 0.0)

    async def run() -> None:
        worker, port = await started()
        client = socket.create_connection(("127.0.0.1", port))
        draining = asyncio.create_task(worker._drain(5.0))
        await asyncio.sleep(0.1)
        assert not draining.done()
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(REQUEST)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404 ") and b"connection: close" in answer.lower()
        writer.close()
        await asyncio.wait_for(draining, 2.0)

    uvloop.run(run())
