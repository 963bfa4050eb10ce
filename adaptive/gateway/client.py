"""The side towards the clients: one ClientConnection a connection, one Exchange at a time, in the order of arrival."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

from adaptive import clock
from adaptive.gateway import tunnels
from adaptive.gateway.chunks import BadChunks, ChunkReader
from adaptive.gateway.exchange import Exchange
from adaptive.gateway.head import CHUNKED, Block, Rejected
from adaptive.gateway.problem import CONTINUE, problem
from adaptive.telemetry import counters
from adaptive.telemetry.counters import BYTES_IN, BYTES_OUT, CONNECTIONS, CONNECTIONS_OPEN

if TYPE_CHECKING:
    from adaptive.gateway.plane import Plane
    from adaptive.gateway.router import Route

monotonic = clock.monotonic

# What cannot become a request however much more comes: no token at the start (a TLS hello, rubbish), a bare LF or CR.
_HOPELESS = re.compile(rb"\A(?!\r\Z)[^!#$%&'*+\-.^_`|~0-9A-Za-z]|(?<!\r)\n|\r[^\n]")
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
# Seconds for which a refused client's remaining bytes are read and thrown away, so that it can read the answer before
# a reset destroys it (RFC 9112 9.6).
LINGER = 2.0
# Seconds after which a tunnel through which nothing has passed is closed; WebSockets send a ping each minute or so.
TUNNEL_IDLE = 3600.0
# Seconds for which an idle connection may still be used after a drain began.
DRAIN_IDLE = 1.0


class ClientConnection(asyncio.Protocol):
    """One connection from a client."""

    __slots__ = (
        "body_at", "buffer", "chunks", "closing_since", "counted", "exchange", "head_since", "held", "idle_since",
        "left", "local", "lost", "memo_block", "memo_lines", "memo_route", "peer", "plane", "scheme", "stuck_since",
        "transport", "trusted", "tunnelling", "unsent", "write_out",
    )  # fmt: skip

    def __init__(self, plane: Plane, scheme: bytes) -> None:
        self.plane = plane
        self.scheme = scheme
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchange: Exchange | None = None
        self.buffer = b""
        self.chunks: ChunkReader | None = None
        self.left = 0  # bytes of the body still to come
        self.held = self.lost = self.tunnelling = self.trusted = False
        self.counted = False  # among the connections of its address
        self.peer = self.local = b""
        self.head_since = self.idle_since = self.body_at = self.stuck_since = self.closing_since = 0.0
        self.unsent = 0
        self.memo_block: Block | None = None
        self.memo_route: Route | None = None
        self.memo_lines = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        plane = self.plane
        self.transport = cast(asyncio.Transport, transport)
        self.write_out = self.transport.write
        row = plane.row
        row[CONNECTIONS] += 1
        row[CONNECTIONS_OPEN] += 1
        plane.clients.add(self)
        self.idle_since = monotonic()
        self.transport.set_write_buffer_limits(plane.buffer_bytes)
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        self.peer = str(peer[0]).encode() if peer else b"unknown"
        self.local = b"%b:%d" % (str(local[0]).encode(), local[1]) if local else b"localhost"
        self.trusted = plane.trusts(self.peer)
        refusal = plane.admits(self)
        if refusal:
            row[counters.REJECT_TOO_MANY_CONNECTIONS] += 1
            number = plane.next_number()
            self.write(problem(refusal, "too many connections are open", plane.request_id(number), close=True))
            self._linger()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        self.lost = True
        self.plane.left(self)
        self.plane.row[CONNECTIONS_OPEN] -= 1
        if self.exchange is not None:
            self.exchange.client_gone()

    def eof_received(self) -> bool:
        """The client closed its half. Without a tunnel that counts as leaving, as with nginx and Envoy: there is no
        telling a client that is gone from one that only has no more to say.
        """
        return self.tunnelling and self.exchange is not None and tunnels.half_closed(self.exchange, by_client=True)

    def write(self, data: bytes) -> None:
        """Bytes for the client; none once it is gone."""
        if not self.lost:
            self.plane.row[BYTES_OUT] += len(data)
            self.plane.outbox.add(self.write_out, data)

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of requests."""
        self.plane.row[BYTES_IN] += len(data)
        exchange = self.exchange
        if exchange is None:
            if not self.closing_since:
                self._head(self.buffer + data if self.buffer else data)
        elif self.tunnelling:
            attempt = exchange.attempt
            if attempt is not None and attempt.upstream is not None:
                attempt.upstream.write(data)
                self.idle_since = monotonic()
        elif not exchange.body_done:
            self._body(exchange, data)
        else:
            self.buffer += data
            if len(self.buffer) > self.plane.pipeline_bytes and not self.held:
                self.plane.row[counters.REJECT_PIPELINE_FULL] += 1
                self.hold()

    def _head(self, data: bytes) -> None:
        now = monotonic()
        plane = self.plane
        end = data.find(b"\r\n\r\n") + 4
        if data[:2] == b"\r\n":  # RFC 9112 2.2: empty lines before a request are forgiven
            data = _EMPTY_LINES.sub(b"", data, 1)
            end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._partial(data, now)
            return
        self.head_since = 0.0
        rest = b""
        if len(data) > end:
            rest = data[end:]
            data = data[:end]
        try:
            head = plane.heads.read(data)
        except Rejected as rejected:
            self._reject(rejected.status, rejected.detail, plane.rejects[rejected.reason], now)
            return
        exchange = self.exchange = Exchange(self, head, now)
        length = head[2].length
        if not length:
            self.buffer = rest
            exchange.begin(now)
        else:
            self.buffer = b""
            self._begin_with_body(exchange, length, rest, now)

    def _begin_with_body(self, exchange: Exchange, length: int, rest: bytes, now: float) -> None:
        plane = self.plane
        self.body_at = now
        if length == CHUNKED:
            self.chunks = ChunkReader(plane.heads.limits.header_bytes, plane.heads.limits.headers)
        else:
            self.left = length
            if plane.body_limit and length > plane.body_limit:
                self._too_large(exchange)
                return
        exchange.begin(now)
        if self.exchange is exchange:
            if exchange.block.expect and not rest:
                self.write(CONTINUE)
            if rest:
                self._body(exchange, rest)

    def _too_large(self, exchange: Exchange) -> None:
        exchange.client_error(413, f"the body exceeds {self.plane.body_limit} bytes", counters.REJECT_BODY_TOO_LARGE)

    def _body(self, exchange: Exchange, data: bytes) -> None:
        now = self.body_at = monotonic()
        chunks = self.chunks
        if chunks is None:
            left = self.left
            if len(data) < left:
                self.left = left - len(data)
                exchange.body(data)
                return
            self.left = 0
            self.buffer = data[left:]
            exchange.body(data[:left])
            if self.exchange is exchange:
                exchange.body_end([], now)
            return
        try:
            pieces, rest = chunks.feed(data)
        except BadChunks as bad:
            exchange.client_error(400, f"the body is not chunked correctly: {bad}", counters.REJECT_BAD_REQUEST)
            return
        for piece in pieces:
            exchange.body(piece)
            if self.exchange is not exchange:
                return
        if self.plane.body_limit and exchange.bytes_up > self.plane.body_limit:
            self._too_large(exchange)
        elif chunks.done:
            self.chunks = None
            self.buffer = rest
            exchange.body_end(chunks.trailers, now)

    def _partial(self, data: bytes, now: float) -> None:
        """Not a whole head yet: wait for more, unless it can come to nothing."""
        plane = self.plane
        self.buffer = data
        if not data:
            return
        if not self.head_since:
            self.head_since = now
        limits = plane.heads.limits
        first = data.partition(b"\r\n")[0]
        if _HOPELESS.search(data):
            self._reject(400, "this is not HTTP/1.1", counters.REJECT_BAD_REQUEST, now)
        elif len(first) > limits.uri_bytes + 64:
            self._reject(414, f"the target exceeds {limits.uri_bytes} bytes", counters.REJECT_URI_TOO_LONG, now)
        elif len(data) - len(first) > limits.header_bytes:
            detail = f"the header fields exceed {limits.header_bytes} bytes"
            self._reject(431, detail, counters.REJECT_HEADER_TOO_LARGE, now)

    def _reject(self, status: int, detail: str, counter: int, now: float) -> None:
        """Answers what was no request, and hangs up."""
        plane = self.plane
        plane.row[counter] += 1
        counters.finished(plane.row, plane.no_block, status, now - (self.head_since or now))
        self.write(problem(status, detail, plane.request_id(plane.next_number()), close=True))
        self._linger()

    # The exchange's end, and the connection's.

    def exchange_done(self, exchange: Exchange, now: float) -> None:
        """An exchange has said everything: the next request, or the end."""
        self.exchange = None
        self.idle_since = now
        if self.lost:
            return
        if not exchange.body_done:
            self.chunks = None
            self._linger()
        elif not exchange.keep or self.closing_since:
            self.close()
        elif self.buffer:
            asyncio.get_running_loop().call_soon(self._next)
        elif self.held:
            self.go_on()

    def _next(self) -> None:
        """Takes up a request that came while the one before it was being served."""
        if self.exchange is None and self.buffer and not self.lost and not self.closing_since:
            data, self.buffer = self.buffer, b""
            self._head(data)
            if self.held and len(self.buffer) <= self.plane.pipeline_bytes:
                self.go_on()

    def close(self) -> None:
        """Closes after what was written has gone out."""
        if not self.closing_since:
            self.closing_since = monotonic()
        self.plane.outbox.flush()
        self.transport.close()

    def _linger(self) -> None:
        """Closes our half, and reads on for a while without listening."""
        self.closing_since = monotonic()
        self.plane.outbox.flush()
        self.buffer = b""
        if self.held:
            self.held = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def cut(self) -> None:
        """Breaks off, so that the client sees that its response is incomplete."""
        self.closing_since = monotonic()
        self.plane.outbox.flush()
        self.transport.abort()

    # Flow control.

    def hold(self) -> None:
        """Stop reading: the endpoint, or the queue, is full."""
        if not self.held and not self.lost:
            self.held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self.held:
            self.held = False
            self.body_at = monotonic()
            if not self.lost and not self.transport.is_closing():
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client is slower than the endpoint."""
        self.stuck_since = monotonic()
        self.unsent = self.transport.get_write_buffer_size()
        exchange = self.exchange
        if exchange is not None and exchange.attempt is not None and exchange.attempt.upstream is not None:
            exchange.attempt.upstream.hold()

    def resume_writing(self) -> None:
        """The client takes more again."""
        self.stuck_since = 0.0
        exchange = self.exchange
        if exchange is not None and exchange.attempt is not None and exchange.attempt.upstream is not None:
            exchange.attempt.upstream.go_on()

    # Tunnels.

    def tunnel(self) -> None:
        """From here on, bytes pass as they are."""
        self.tunnelling = True
        exchange = self.exchange
        if (
            self.buffer
            and exchange is not None
            and exchange.attempt is not None
            and exchange.attempt.upstream is not None
        ):
            exchange.attempt.upstream.write(self.buffer)
            self.buffer = b""

    # Time.

    def check(self, now: float) -> None:
        """Called every half second: is anything overdue?"""
        plane = self.plane
        exchange = self.exchange
        if self.closing_since:
            if now - self.closing_since > (plane.write_timeout if self.stuck_since else LINGER):
                self.transport.abort()
        elif self.stuck_since and self._stuck(now):
            self.transport.abort()
        elif exchange is None:
            self._check_idle(now)
        elif self.tunnelling:
            if now - self.idle_since > TUNNEL_IDLE:
                self.cut()
        elif not exchange.body_done and not self.held and now - self.body_at > plane.body_timeout:
            exchange.client_error(408, "the body did not come in time", counters.REJECT_SLOW_BODY)

    def _check_idle(self, now: float) -> None:
        plane = self.plane
        if self.head_since:
            if now - self.head_since > plane.header_timeout:
                self._reject(408, "the request did not come in time", counters.REJECT_SLOW_HEADER, now)
        elif plane.draining:
            if now - max(self.idle_since, plane.drain_since) > DRAIN_IDLE:
                self.close()
        elif now - self.idle_since > plane.idle_timeout:
            self.close()

    def _stuck(self, now: float) -> bool:
        """Whether the client has taken nothing for the whole write time-out."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self.unsent:
            self.unsent = unsent
            self.stuck_since = now
        return now - self.stuck_since > self.plane.write_timeout
