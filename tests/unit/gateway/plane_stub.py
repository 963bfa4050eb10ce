"""A data plane without sockets: transports that remember, connections that open when told to, a clock by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.gateway import attempt, client, exchange, tunnels, upstream
from adaptive.gateway.boot import Configuration
from adaptive.gateway.client import ClientConnection
from adaptive.gateway.plane import Plane
from adaptive.gateway.upstream import Pool, Upstream
from adaptive.telemetry.board import Board
from adaptive.telemetry.counters import Counters
from adaptive.telemetry.ring import Ring

CONFIG = """
listen: 127.0.0.1:8080
clusters:
  api: {endpoints: [127.0.0.1:9001, 127.0.0.1:9002, 127.0.0.1:9003]}
routes:
  - {prefix: /, cluster: api, timeout: 2s, retries: 2}
"""


class Transport(asyncio.Transport):
    """Remembers what was written and done."""

    def __init__(self, protocol: Any, peer: str = "192.0.2.7") -> None:
        super().__init__()
        self.protocol, self.peer = protocol, peer
        self.sent = bytearray()
        self.reading, self.closing, self.ended = True, False, False

    def write(self, data: Any) -> None:
        assert not self.closing, "written to a connection that is closed"
        self.sent += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.peer, 4242), "sockname": ("127.0.0.1", 8080)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def lose(self) -> None:
        """The connection is gone, as the loop would tell."""
        self.closing = True
        self.protocol.connection_lost(None)


@dataclass
class World:
    """A plane, its clients and its connections to endpoints, in the hands of a test."""

    plane: Plane
    ring: Ring
    now: float = 1000.0
    opening: list[tuple[Pool, Any]] = field(default_factory=list)
    upstreams: list[Upstream] = field(default_factory=list)

    def client(self) -> ClientConnection:
        """A client connects."""
        made = ClientConnection(self.plane, b"http")
        made.connection_made(Transport(made))
        return made

    def open(self, index: int = -1) -> Upstream:
        """A connection that is being opened succeeds."""
        pool, waiting = self.opening.pop(index)
        made = Upstream(pool)
        made.connection_made(Transport(made))
        self.upstreams.append(made)
        if waiting.open:
            waiting.connected(made)
        else:
            pool.put(made, self.now)
        return made

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and the sweeps run."""
        self.now += seconds
        self.plane.sweep(self.now)
        self.plane.sweep_slow(self.now)

    def outcomes(self) -> np.ndarray[Any, Any]:
        """The outcomes written so far."""
        return self.ring.drain()


def make_world(monkeypatch: pytest.MonkeyPatch, config: str = CONFIG) -> World:
    """A world with its own clock."""
    board, ring, counts = Board.create(64, 4, 1), Ring.create(4096), Counters.create(1)
    plane = Plane(0, 7, 1, board, ring, counts)
    parsed = parse(config, "test.yaml", {})
    world = World(plane, ring)
    for module in (attempt, client, exchange, tunnels, upstream):
        monkeypatch.setattr(module, "monotonic", lambda: world.now)

    def connect(pool: Pool, waiting: Any) -> None:
        pool.total += 1
        world.opening.append((pool, waiting))

    monkeypatch.setattr(Pool, "connect", connect)
    plane.configure(Configuration(parsed, assign_slots(parsed, {}), 1), world.now)
    return world


def sent(connection: ClientConnection | Upstream) -> bytes:
    """Takes what was written to a connection since the last look."""
    transport = connection.transport
    assert isinstance(transport, Transport)
    taken = bytes(transport.sent)
    transport.sent.clear()
    return taken
