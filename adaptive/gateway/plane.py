"""All that the connections of one worker share: configuration in force, clusters, counters, the way to the brain."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adaptive.announcement import READY, Announcement
from adaptive.config.topology import topology
from adaptive.gateway.boot import Configuration
from adaptive.gateway.cluster import ClusterRuntime, expire
from adaptive.gateway.head import HeadLimits, HeadReader
from adaptive.gateway.outbox import Outbox
from adaptive.gateway.router import Route, RouteTable
from adaptive.lanes import Lane, served_at_once
from adaptive.telemetry import counters
from adaptive.telemetry.access_log import AccessLog
from adaptive.telemetry.board import Board
from adaptive.telemetry.counters import Counters
from adaptive.telemetry.ring import Ring

if TYPE_CHECKING:
    from adaptive.gateway.client import ClientConnection
    from adaptive.gateway.exchange import Exchange

# Peers whose trust is remembered; one look-up costs some microseconds, and it is made once a connection.
_PEERS = 4096
# Seconds after which the same announcement of an instance is told to the brain again.
_AGAIN = 5.0
# Bytes of pipelined requests that wait for their turn, for each that may wait.
_PIPELINED_BYTES = 2048


class Plane:
    """The data plane of one worker. Only `configure`, `drain` and the sweeps change it."""

    def __init__(
        self,
        index: int,
        seed: int,
        epoch: int,
        board: Board,
        ring: Ring,
        counts: Counters,
        outbox: Outbox | None = None,
    ) -> None:
        self.index = index
        self.seed = seed
        self.board = board
        self.put = ring.put
        self.counters = counts
        self.row = counts.row(index)
        self.live = board.live_row(index)
        self.oldest = board.oldest_row(index)
        self.outbox = outbox or Outbox()
        self.clients: set[ClientConnection] = set()
        self.by_peer: Counter[bytes] = Counter()  # open connections of each address, where these are bounded
        self.clusters: list[ClusterRuntime] = []
        self.by_name: dict[str, ClusterRuntime] = {}
        self.draining = False
        self.drain_since = 0.0
        self.snapshot_version = 0
        self.access_log: AccessLog | None = None
        # Requests are numbered worker, start of the worker, count: unique as long as a recording is.
        self._number = ((index & 0xFF) << 56) | ((epoch & 0xFF_FFFF) << 32)
        self.id_prefix = b"%016x" % (seed & 0xFFFF_FFFF_FFFF_FFFF)
        self._chance = random.Random(f"{seed}/{index}/{epoch}/experiments").random
        self._trust: dict[bytes, bool] = {}
        self.tell: Callable[[dict[str, Any]], None] = lambda message: None  # the supervisor
        self._announced: dict[int, tuple[Announcement, float]] = {}  # by slot: what was told last, and when
        self._leaving: list[Lane] = []  # of endpoints that left the configuration with attempts under way
        self._dropped = 0  # lines of the access log that are counted already
        self.rejects = {
            "bad_request": counters.REJECT_BAD_REQUEST,
            "header_too_large": counters.REJECT_HEADER_TOO_LARGE,
            "uri_too_long": counters.REJECT_URI_TOO_LONG,
        }

    def configure(self, configuration: Configuration, now: float) -> None:
        """Puts a configuration in force; requests under way end under the one they began with."""
        config = configuration.config
        made = topology(config, configuration.slots, configuration.generation)
        seed = f"{self.seed}/{self.index}"
        before: Mapping[str, ClusterRuntime] = self.by_name
        self.clusters = [
            ClusterRuntime(self, c, config.clusters[c.name], f"{seed}/{c.name}", now, before.get(c.name))
            for c in made.clusters
        ]
        self._let_go([lane for cluster in before.values() for lane in cluster.balancer.lanes])
        self.by_name = {cluster.name: cluster for cluster in self.clusters}
        for name, cluster in before.items():
            if name not in self.by_name:
                cluster.retire(cluster.by_endpoint)
        self.routes = RouteTable(config)
        self._simple = self.routes.simple
        limits, timeouts = config.server.limits, config.server.timeouts
        self.heads = HeadReader(HeadLimits(limits.header_bytes, limits.headers, limits.uri_bytes))
        self.body_limit = limits.body_bytes
        self.buffer_bytes = limits.buffer_bytes
        self.connection_limit = limits.connections
        self.peer_limit = limits.connections_per_client
        self.pipeline_bytes = limits.pipelined * _PIPELINED_BYTES
        self.idle_timeout, self.header_timeout = timeouts.idle, timeouts.header
        self.body_timeout = timeouts.body
        self.write_timeout = timeouts.write
        self.via = config.server.via.encode("ascii")
        self.via_line = b"via: 1.1 %b\r\n" % self.via if self.via else b""
        self.deadline_header = (config.server.deadline_header or "").encode("ascii")
        self._networks = [ipaddress.ip_network(network) for network in config.server.trusted]
        self._trust.clear()
        self._announced.clear()
        self.blocks = {route.index: self.counters.block(route.index) for route in self.routes.routes}
        self.no_block = self.counters.block(None)
        self.slots = made.slots
        path = config.access_log.path if config.access_log else None
        if path != (self.access_log.path if self.access_log else None):
            if self.access_log is not None:
                self.access_log.close()
            self.access_log = AccessLog(path) if path else None
        self.take_snapshot(force=True)

    def _let_go(self, before: list[Lane]) -> None:
        """Lanes that are no cluster's any more: their attempts end as they would have, their counts are nobody's."""
        kept = {id(lane) for cluster in self.clusters for lane in cluster.balancer.lanes}
        for lane in before:
            if id(lane) not in kept:
                self._leaving.append(lane)
                self.live[lane.slot], self.oldest[lane.slot] = 0, 0.0

    def match(self, exchange: Exchange) -> Route | None:
        """The route of a request."""
        if self._simple is not None:
            return self._simple
        host = exchange.block.host.decode("latin-1")
        name, colon, port = host.rpartition(":")
        if (colon and port.isdecimal()) or (colon and not port):
            host = name
        path = exchange.target.partition(b"?")[0].decode("latin-1")
        return self.routes.match(exchange.method.decode("latin-1"), host, path, exchange.block.get)

    def drawn(self, route: Route) -> ClusterRuntime:
        """The cluster of a request whose route has an experiment: by chance."""
        return self.clusters[route.second if self._chance() < route.share else route.cluster]

    def next_number(self) -> int:
        """A number for a request, unique within a run."""
        self._number += 1
        return self._number

    def request_id(self, number: int) -> bytes:
        """The X-Request-Id of a request that brought none to be believed."""
        return b"%b%016x" % (self.id_prefix, number)

    def admits(self, client: ClientConnection) -> int:
        """0 where a new connection is welcome, otherwise the status that turns it away."""
        if len(self.clients) > self.connection_limit:
            return 503
        if self.peer_limit and not client.trusted:
            self.by_peer[client.peer] += 1
            client.counted = True
            if self.by_peer[client.peer] > self.peer_limit:
                return 429
        return 0

    def left(self, client: ClientConnection) -> None:
        """A connection is gone."""
        self.clients.discard(client)
        if client.counted:
            self.by_peer[client.peer] -= 1
            if not self.by_peer[client.peer]:
                del self.by_peer[client.peer]

    def trusts(self, peer: bytes) -> bool:
        """Whether a peer's X-Forwarded-* may be believed."""
        known = self._trust.get(peer)
        if known is None:
            try:
                address = ipaddress.ip_address(peer.decode().partition("%")[0])
            except ValueError:
                return False
            known = any(address in network for network in self._networks)
            if len(self._trust) >= _PEERS:
                self._trust.clear()
            self._trust[peer] = known
        return known

    def announce(self, slot: int, said: Announcement, now: float) -> None:
        """Passes on what an instance says of itself: what is new at once, what is known every few seconds."""
        before, at = self._announced.get(slot, (READY, now - _AGAIN))
        if said != before or (said != READY and now - at >= _AGAIN):
            self._announced[slot] = said, now
            self.tell({"type": "announced", "slot": slot, "share": said.share, "most": said.most})

    def take_snapshot(self, force: bool = False) -> None:
        """Takes the snapshot in force, if it is another one than before."""
        version = self.board.version()
        if version <= self.snapshot_version and not force:
            return
        snapshot = self.board.read()
        if snapshot is not None and len(snapshot.weight) <= self.board.slots:
            self.snapshot_version = snapshot.version & 0xFFFF_FFFF
            for cluster in self.clusters:
                cluster.balancer.apply(snapshot)

    def sweep(self, now: float) -> None:
        """Called every few milliseconds: deadlines, the snapshot, the live counts of the others."""
        self.take_snapshot()
        oldest = self.oldest
        live = self.live
        if self._leaving:
            expire(self._leaving, now)
            self._leaving = [lane for lane in self._leaving if lane.outstanding]
        others = self.board.others(self.index, self.slots) if self.board.workers > 1 else None
        for cluster in self.clusters:
            admission = cluster.admission
            if admission.held:
                admission.served = served_at_once(cluster.balancer.lanes)
            admission.sweep(now)
            if admission.waiting or admission.turned_away:
                cluster.go_on(now)
            cluster.balancer.beat(now)
            expire(cluster.balancer.lanes, now)
            if others is not None:
                cluster.balancer.share(others)
            for lane in cluster.balancer.lanes:
                live[lane.slot] = lane.in_flight
                oldest[lane.slot] = next(iter(lane.outstanding.values())) if lane.outstanding else 0.0

    def sweep_slow(self, now: float) -> None:
        """Called every half second: slow or idle clients, idle connections, the access log."""
        self.row[counters.REQUESTS_OPEN] = sum(client.exchange is not None for client in self.clients)
        self.row[counters.WAITING] = sum(cluster.admission.waiting for cluster in self.clusters)
        for client in list(self.clients):
            client.check(now)
        for cluster in self.clusters:
            cluster.sweep_idle(now)
        if self.access_log is not None:
            self.access_log.flush()
            self.row[counters.ACCESS_LOG_DROPPED] += self.access_log.dropped - self._dropped
            self._dropped = self.access_log.dropped
