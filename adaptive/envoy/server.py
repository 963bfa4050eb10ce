"""The service that Envoys talk to: ADS in both protocols, the access log of attempts, and what was dropped of it.

One event loop, many Envoys. What a stream is owed is decided in `subscription`; here bytes are read and written. A
response is put together from resources that were serialised once, whichever Envoys get them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from adaptive import clock
from adaptive.config.envoy import Service as Configured
from adaptive.envoy import messages
from adaptive.envoy.bootstrap import DROPPED
from adaptive.envoy.cache import Cache, Held, digest, url
from adaptive.envoy.subscription import Answer, Request, Response, Stream
from adaptive.envoy.translate.resources import CLUSTER
from adaptive.envoy.translate.words import Json

log = logging.getLogger(__name__)

_DISCOVERY = "envoy.service.discovery.v3"
_ADS = f"{_DISCOVERY}.AggregatedDiscoveryService"
_LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
_METRICS = "envoy.service.metrics.v3"
KEPT = 1024  # Envoys of which it is kept how much each has dropped; beyond, who was silent for longest goes
LARGEST = 64 << 20  # bytes of a message: a hundred thousand endpoints, as of the control channel
# Seconds after which a retired cluster goes although an Envoy still has not taken the routes without it.
RETIRE = 5.0
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST),
    ("grpc.max_send_message_length", LARGEST),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(slots=True)
class Connected:
    """An Envoy that is connected: its stream, and what it said."""

    name: str
    stream: Stream
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    version: str = ""  # of Envoy itself
    refused: dict[str, str] = field(default_factory=dict)  # type → words of its last refusal, until it takes another
    acks: int = 0
    nacks: int = 0
    sent_at: dict[str, float] = field(default_factory=dict)  # by nonce
    dismissed: bool = False  # the configuration does not name it any more


@dataclass(frozen=True, slots=True)
class Identity:
    """What TLS on both sides needs, as PEM: our certificate and its key, and the authority of the Envoys' own."""

    authority: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def of(cls, service: Configured | None) -> Identity | None:
        """What the configuration names, as the files are now. Raises OSError."""
        tls = service.tls if service is not None else None
        return cls(*(Path(name).read_bytes() for name in (tls.ca, tls.cert, tls.key))) if tls is not None else None

    def held(self) -> Any:
        """As gRPC has it."""
        return grpc.ssl_server_certificate_configuration(((self.key, self.certificate),), self.authority)


class Service:
    """The cache and the Envoys that are connected. `entries` takes what the access log brings: (node, lines)."""

    def __init__(self, allowed: Callable[[str], bool], entries: Callable[[str, Sequence[str]], None]) -> None:
        self.allowed = allowed
        self.entries = entries
        self.cache = Cache()
        self.connected: list[Connected] = []
        self.nacks = 0
        self.acks = 0
        self.refusals: dict[str, int] = {}  # unknown nodes, by name
        self.dropped: dict[str, int] = {}  # entries that an Envoy has dropped since it started, by its name
        self.answered: Callable[[Connected, Answer, float], None] | None = None
        self.came: Callable[[str], object] = lambda node: None  # told of an Envoy that is about to be given anything
        self.lost: Callable[[int], None] = lambda count: None  # told of entries that an Envoy has dropped
        self._retired_at: float | None = None
        self._identity: Identity | None = None
        self._delta = messages.message(f"{_DISCOVERY}.DeltaDiscoveryResponse")
        self._plain = messages.message(f"{_DISCOVERY}.DiscoveryResponse")
        self._resource = messages.message(f"{_DISCOVERY}.Resource")
        self._server: Any = None

    # What the station calls.

    def put(self, kind: str, found: dict[str, Json], whole: bool = True) -> list[str]:
        """Take resources of a type, in JSON form; the names that changed. Raises ValueError as `messages.parse`."""
        return self.take(kind, {name: messages.parse(kind, data) for name, data in found.items()}, whole)

    def take(self, kind: str, found: dict[str, Any], whole: bool = True) -> list[str]:
        """Take messages of a type; the names that changed."""
        changed = self.cache.put(kind, {name: self._held(kind, name, one) for name, one in found.items()}, whole)
        if self.cache.retiring and self._retired_at is None:
            self._retired_at = clock.monotonic()
        return changed

    def _held(self, kind: str, name: str, one: Any) -> Held:
        data = one.SerializeToString(deterministic=True)
        resource = self._resource(name=name, version=digest(data))
        resource.resource.type_url, resource.resource.value = url(kind), data
        plain = self._plain(resources=[resource.resource])
        delta = self._delta(resources=[resource])
        return Held(resource.version, delta.SerializeToString(), plain.SerializeToString())

    def push(self) -> None:
        """Send everyone what is due."""
        for one in self.connected:
            one.wake.set()

    def dismiss(self) -> None:
        """Send away who is not allowed any more."""
        for one in self.connected:
            if not self.allowed(one.name):
                one.dismissed = True
                one.wake.set()

    def renew(self, identity: Identity | None) -> None:
        """What connections that come from now on are shown. It cannot be given where there was none, or taken away."""
        self._identity = identity

    def sweep(self, now: float) -> None:
        """Drop what is retired, when no Envoy's routes can name it any more."""
        if self._retired_at is None:
            return
        calm = all(one.stream.calm and not one.stream.behind(self.cache) for one in self.connected)
        if calm or now - self._retired_at > RETIRE:
            self._retired_at = None
            self.cache.drop()
            self.push()

    async def start(self, address: str) -> None:
        """Listen on "unix:path" or host:port, with TLS where there is an identity. Raises OSError."""
        self._server = grpc.aio.server(options=OPTIONS)
        ads = {
            "StreamAggregatedResources": self._handler(self._stream_plain, f"{_DISCOVERY}.DiscoveryRequest"),
            "DeltaAggregatedResources": self._handler(self._stream_delta, f"{_DISCOVERY}.DeltaDiscoveryRequest"),
        }
        read = messages.message("opentelemetry.proto.logs.v1.ExportLogsServiceRequest").FromString
        logs = {"Export": grpc.unary_unary_rpc_method_handler(self._logs, read, _as_it_is)}
        metrics = {"StreamMetrics": self._one_way(f"{_METRICS}.StreamMetricsMessage", self._counted)}
        services = {_ADS: ads, _LOGS: logs, f"{_METRICS}.MetricsService": metrics}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        )
        if not address.startswith("unix:"):
            _bindable(address)
        try:
            if self._identity is None:
                self._server.add_insecure_port(address)
            else:
                first = self._identity.held()
                made = grpc.dynamic_ssl_server_credentials(first, self._shown, require_client_authentication=True)
                self._server.add_secure_port(address, made)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be listened on: {error}") from None
        await self._server.start()

    def _shown(self) -> Any:
        """Asked by gRPC at each handshake."""
        return self._identity.held() if self._identity is not None else None

    async def stop(self) -> None:
        """Close every stream, at once: Envoys go on with what they have."""
        if self._server is not None:
            await self._server.stop(None)

    # Streams.

    def _handler(self, method: Any, request: str) -> Any:
        return grpc.stream_stream_rpc_method_handler(method, messages.message(request).FromString, _as_it_is)

    async def _stream_plain(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._serve(requests, context, Stream(delta=False), _plain_request)

    async def _stream_delta(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._serve(requests, context, Stream(delta=True), _delta_request)

    async def _serve(self, requests: Any, context: Any, stream: Stream, read: Callable[[Any], Request]) -> None:
        """One stream from its first request to its end."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        name = first.node.id
        if not self.allowed(name):
            if name not in self.refusals:
                log.warning("Envoy %r is none of envoy.nodes, and is sent away", name)
            if name in self.refusals or len(self.refusals) < 100:  # what strangers send must not fill the memory
                self.refusals[name] = self.refusals.get(name, 0) + 1
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"node {name!r} is not known here")
        if any(other.name == name for other in self.connected):
            log.warning("Envoy %s is connected twice: it came back, or two have one name and are taken for one", name)
        self.came(name)
        one = Connected(name, stream, clock.monotonic(), version=_version(first.node))
        self.connected.append(one)
        log.info("Envoy %s (%s) is connected", name, one.version or "of unknown version", extra={"node": name})
        writer = asyncio.get_running_loop().create_task(self._write(one, context))
        try:
            self._heard(one, read(first))
            async for request in requests:
                self._heard(one, read(request))
        finally:
            writer.cancel()
            self.connected.remove(one)
            log.info("Envoy %s is gone", name, extra={"node": name})

    def _heard(self, one: Connected, request: Request) -> None:
        answer = one.stream.take(request)
        if answer is not None:
            sent = one.sent_at.pop(request.nonce, 0.0)
            if answer.error is not None:
                one.nacks += 1
                self.nacks += 1
                one.refused[answer.kind] = answer.error
                log.error("Envoy %s refuses %s: %s", one.name, _short(answer.kind), answer.error.strip())
            else:
                one.acks += 1
                self.acks += 1
                one.refused.pop(answer.kind, None)
            if self.answered is not None:
                self.answered(one, answer, sent)
        one.wake.set()

    async def _write(self, one: Connected, context: Any) -> None:
        while True:
            await one.wake.wait()
            one.wake.clear()
            if one.dismissed:
                log.warning("Envoy %s is none of envoy.nodes any more, and is sent away", one.name)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"node {one.name!r} is not known here any more")
            for response in one.stream.due(self.cache):
                one.sent_at[response.nonce] = clock.monotonic()
                await context.write(self._bytes(response, one.stream.delta))

    def _bytes(self, response: Response, delta: bool) -> bytes:
        held = self.cache.held[response.kind]
        if delta:
            head = self._delta(
                type_url=url(response.kind),
                nonce=response.nonce,
                system_version_info=response.version,
                removed_resources=response.removed,
            )
            return b"".join([head.SerializeToString(), *(held[name].delta for name in response.names if name in held)])
        head = self._plain(type_url=url(response.kind), nonce=response.nonce, version_info=response.version)
        return b"".join([head.SerializeToString(), *(held[name].plain for name in response.names if name in held)])

    async def _logs(self, message: Any, context: Any) -> bytes:
        """Lines of an Envoy's log of attempts, as bodies of log records."""
        for told in message.resource_logs:
            named = {one.key: one.value.string_value for one in told.resource.attributes}
            node = named.get("node_name", "")
            if not self.allowed(node):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"node {node!r} is not known here")
            self.entries(node, [record.body.string_value for scope in told.scope_logs for record in scope.log_records])
        return b""

    def _one_way(self, kind: str, take: Callable[[str, Any], None]) -> Any:
        """The handler of a stream by which an Envoy tells, and of which it expects nothing: its log, its statistics."""

        async def told(requests: AsyncIterator[Any], context: Any) -> bytes:
            node = ""
            async for message in requests:
                if message.HasField("identifier"):
                    node = message.identifier.node.id
                    if not self.allowed(node):
                        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"node {node!r} is not known here")
                take(node, message)
            return b""

        return grpc.stream_unary_rpc_method_handler(told, messages.message(kind).FromString, _as_it_is)

    def _counted(self, node: str, message: Any) -> None:
        """An Envoy's statistics: it counts from its own start, and says nothing of what has not happened yet."""
        for family in message.envoy_metrics:
            if family.name == DROPPED:
                dropped, before = int(sum(one.counter.value for one in family.metric)), self.dropped.get(node, 0)
                self.dropped.pop(node, None)
                self.dropped[node] = dropped
                if len(self.dropped) > KEPT:
                    del self.dropped[next(iter(self.dropped))]
                news = dropped - before if dropped >= before else dropped
                if news:
                    self.lost(news)

    def nodes(self) -> list[dict[str, Any]]:
        """Every Envoy that is connected, for the admin API and the metrics."""
        now = clock.monotonic()
        return [
            {
                "node": one.name,
                "version": one.version,
                "connected_seconds": round(now - one.since, 3),
                "acks": one.acks,
                "nacks": one.nacks,
                "dropped": self.dropped.get(one.name, 0),
                "refused": {_short(kind): words for kind, words in one.refused.items()},
                "behind": one.stream.behind(self.cache),
                "ready": CLUSTER in one.stream.types and not one.stream.behind(self.cache),
            }
            for one in self.connected
        ]


def _bindable(address: str) -> None:
    """Raises OSError, with the reason, which gRPC keeps to itself, where an address cannot be listened on."""
    host, _, port = address.rpartition(":")
    try:
        kind, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen()
    except OSError as error:
        raise OSError(f"{address} cannot be listened on: {error.strerror or error}") from None


def _plain_request(message: Any) -> Request:
    error = message.error_detail.message if message.HasField("error_detail") else None
    return Request(message.type_url, message.response_nonce, error, tuple(message.resource_names))


def _delta_request(message: Any) -> Request:
    return Request(
        message.type_url,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        tuple(message.initial_resource_versions.items()),
    )


def _version(node: Any) -> str:
    number = node.user_agent_build_version.version
    return f"{number.major_number}.{number.minor_number}.{number.patch}" if number.major_number else ""


def _short(kind: str) -> str:
    """A type's name as people say it."""
    return kind.rpartition(".")[2]


def _as_it_is(data: bytes) -> bytes:
    return data
