"""The side towards the endpoints: one Upstream a connection, one Pool an endpoint.

An Upstream reads one response at a time for the Attempt that holds it and hands it to the attempt's Exchange piece by
piece. A connection goes back to its pool only when the response ended where its framing said, nothing came after it,
and the whole request had been sent; anything else closes it.
"""

from __future__ import annotations

import asyncio
import os
import select
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

from adaptive import clock
from adaptive.gateway import tunnels
from adaptive.gateway.chunks import BadChunks, ChunkReader
from adaptive.gateway.reply import CHUNKED, UNTIL_CLOSE, BadReply, ReplyHead
from adaptive.telemetry.counters import UPSTREAM_CLOSED_IDLE, UPSTREAM_OPEN, UPSTREAM_OPENED, UPSTREAM_REUSED
from adaptive.types import Cause

if TYPE_CHECKING:
    from adaptive.gateway.attempt import Attempt
    from adaptive.gateway.cluster import ClusterRuntime

_HEAD, _LENGTH, _CHUNKS, _UNTIL_CLOSE, _TUNNEL = range(5)

# Seconds for which the last bytes of a tunnel may take to leave.
HANG_UP = 2.0

monotonic = clock.monotonic

_readable = select.poll()


class Upstream(asyncio.Protocol):
    """One connection to an endpoint."""

    __slots__ = (
        "attempt", "buffer", "chunks", "closed", "idle_since", "left", "paused", "phase", "pool", "stuck_since",
        "transport", "used", "write",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.attempt: Attempt | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.closed = False
        self.used = 0  # attempts that it has carried
        self.idle_since = 0.0
        self.paused = False  # reading stopped, because the client is slower
        self.stuck_since = 0.0  # since when the endpoint takes no more bytes; 0: it does
        self.phase = _HEAD
        self.buffer = b""
        self.left = 0
        self.chunks: ChunkReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = partial(self.pool.cluster.plane.outbox.add, self.transport.write)
        self.pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        self.closed = True
        self.pool.lost(self)
        self._ended(broken=exc is not None)

    def eof_received(self) -> bool:
        """The endpoint will send no more. A half-open connection is of no use here, but for a tunnel."""
        if self.phase == _TUNNEL and self.attempt is not None:
            return tunnels.half_closed(self.attempt.exchange, by_client=False)
        self.closed = True
        self._ended(broken=False)
        return False

    def _ended(self, broken: bool) -> None:
        """The endpoint will send no more; `broken` where it did not end in good order."""
        attempt = self.attempt
        if attempt is None:
            return
        if self.phase == _UNTIL_CLOSE and not broken:
            self._complete(b"", reusable=False)
        elif self.phase == _TUNNEL:
            tunnels.lost(attempt.exchange)
        elif self.phase != _HEAD:
            attempt.failed(Cause.RESET_BODY)
        elif self.used > 1 and not self.buffer and not attempt.first_byte:
            attempt.failed(Cause.RESET_IDLE)
        else:
            attempt.failed(Cause.RESET)

    def pause_writing(self) -> None:
        """The endpoint takes no more for now: the client has to wait."""
        self.stuck_since = monotonic()
        if self.attempt is not None:
            self.attempt.exchange.client.hold()

    def resume_writing(self) -> None:
        """The endpoint takes more again."""
        self.stuck_since = 0.0
        if self.attempt is not None:
            self.attempt.exchange.client.go_on()

    def hold(self) -> None:
        """The client is slower than the endpoint: stop reading."""
        if not self.paused and not self.closed:
            self.paused = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """The client takes more again."""
        if self.paused:
            self.paused = False
            if not self.closed:
                self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of a response."""
        attempt = self.attempt
        if attempt is None:  # nobody asked: what came could be taken for the next response
            self.abort()
            return
        if self.phase == _HEAD:
            self._head(attempt, data)
        elif self.phase == _TUNNEL:
            attempt.exchange.client.write(data)
        else:
            self._body(attempt, data)

    def _head(self, attempt: Attempt, data: bytes) -> None:
        now = monotonic()
        if not attempt.first_byte:
            attempt.first_byte = now
        if self.buffer:
            data = self.buffer + data
            self.buffer = b""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                reader = self.pool.cluster.replies
                if len(data) > reader.header_bytes or data[:7] != b"HTTP/1."[: len(data)]:
                    attempt.failed(Cause.PROTOCOL_ERROR)
                else:
                    self.buffer = data
                return
            try:
                reply = self.pool.cluster.replies.read(data[:end])
            except BadReply as bad:
                attempt.detail = str(bad)
                attempt.failed(Cause.PROTOCOL_ERROR)
                return
            data = data[end:]
            if reply.status >= 200 or reply.status == 101:
                self._begin(attempt, reply, data, now)
                return
            attempt.exchange.interim(reply)
            if not data:
                return

    def _begin(self, attempt: Attempt, reply: ReplyHead, data: bytes, now: float) -> None:
        exchange = attempt.exchange
        if reply.status == 101:
            if not exchange.block.upgrade:
                attempt.failed(Cause.PROTOCOL_ERROR)
                return
            self.phase = _TUNNEL
            tunnels.begin(exchange, attempt, reply, data)
            return
        if reply.bodiless(exchange.method == b"HEAD"):
            self.left = 0
            self.phase = _LENGTH
        elif reply.length >= 0:
            self.left = reply.length
            self.phase = _LENGTH
        elif reply.length == CHUNKED:
            self.chunks = ChunkReader()
            self.phase = _CHUNKS
        else:
            self.left = UNTIL_CLOSE
            self.phase = _UNTIL_CLOSE
        if self.phase == _LENGTH and len(data) == self.left:  # the common case: all of it is here
            exchange.reply(attempt, reply, data, now, True)
            return
        if exchange.reply(attempt, reply, b"", now, False) and data:
            self._body(attempt, data)

    def _body(self, attempt: Attempt, data: bytes) -> None:
        attempt.deadline = monotonic() + self.pool.cluster.plane.body_timeout
        if self.phase == _LENGTH:
            extra = len(data) - self.left
            if extra >= 0:
                self._complete(data[: self.left], reusable=extra == 0)
            else:
                self.left = -extra
                attempt.exchange.reply_body(attempt, data)
        elif self.phase == _CHUNKS and self.chunks is not None:
            chunks = self.chunks
            try:
                pieces, rest = chunks.feed(data)
            except BadChunks as bad:
                attempt.detail = str(bad)
                attempt.failed(Cause.RESET_BODY)
                return
            content = b"".join(pieces)
            if chunks.done:
                self._complete(content, reusable=not rest, trailers=chunks.trailers)
            elif content:
                attempt.exchange.reply_body(attempt, content)
        else:
            attempt.exchange.reply_body(attempt, data)

    def _complete(self, data: bytes, *, reusable: bool, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        attempt = self.attempt
        if attempt is not None:
            if not reusable:
                attempt.reusable = False
            attempt.exchange.reply_end(attempt, data, trailers or [])

    def release(self, reusable: bool, now: float) -> None:
        """The attempt is over: back to the pool, or closed."""
        self.attempt = None
        self.chunks = None
        tunnel, self.phase = self.phase == _TUNNEL, _HEAD
        if self.paused:
            self.go_on()
        if tunnel:
            self._hang_up()
        elif not reusable or self.closed or self.stuck_since or self.transport.is_closing():
            self.abort()
        else:
            self.pool.put(self, now)

    def doubtful(self, since: float) -> bool:
        """Whether an idle connection is too great a risk for a request that cannot be sent again: it has been idle from
        before `since`, or something has come on it that nobody asked for. Mostly that is its end, which the loop will
        report only after the requests that it has read in the same turn; asking the kernel takes about a microsecond.
        """
        if self.idle_since < since or self.transport.is_closing():
            return True
        fd = self._descriptor()
        if fd < 0:
            return False
        _readable.register(fd, select.POLLIN)
        found = _readable.poll(0)
        _readable.unregister(fd)
        return bool(found)

    def write_at_once(self, data: bytes) -> None:
        """Writes now, where the transport would at the end of the loop's turn: the shorter the time between `doubtful`
        and the bytes' departure, the fewer requests meet an endpoint that has just closed.
        """
        fd = self._descriptor()
        if (
            fd >= 0
            and not self.closed
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
        ):
            try:
                data = data[os.write(fd, data) :]
            except OSError:
                pass  # no room, or an error that the transport will meet as well
        if data:
            self.write(data)

    def _descriptor(self) -> int:
        """Of a plain connection, which is this one's own as long as the transport is not closing; -1 for TLS."""
        sock = self.transport.get_extra_info("socket") if self.pool.ssl is None else None
        return -1 if sock is None else int(sock.fileno())

    def _hang_up(self) -> None:
        """Closes after what was written has gone out, within bounds."""
        if not self.closed:
            self.closed = True
            self.pool.cluster.plane.outbox.flush()
            self.transport.close()
            asyncio.get_running_loop().call_later(HANG_UP, self.transport.abort)

    def abort(self) -> None:
        """Closes at once."""
        self.attempt = None
        if not self.closed:
            self.closed = True
            self.transport.abort()


class Pool:
    """The connections of one worker to one endpoint: idle ones, newest first, and how many there are in all."""

    def __init__(
        self, cluster: ClusterRuntime, host: str, port: int, ssl_context: ssl.SSLContext | None, name: str
    ) -> None:
        self.cluster = cluster
        self.host, self.port, self.ssl, self.name = host, port, ssl_context, name
        self.idle: deque[Upstream] = deque()
        self.total = 0  # open and opening
        self.retired = False  # its endpoint has left the configuration
        self._connecting: set[asyncio.Task[None]] = set()

    def opened(self, upstream: Upstream) -> None:
        """A connection stands."""
        row = self.cluster.plane.row
        row[UPSTREAM_OPENED] += 1
        row[UPSTREAM_OPEN] += 1

    def lost(self, upstream: Upstream) -> None:
        """A connection is gone."""
        self.total -= 1
        row = self.cluster.plane.row
        row[UPSTREAM_OPEN] -= 1
        if upstream.attempt is None and upstream.idle_since:
            row[UPSTREAM_CLOSED_IDLE] += 1

    def take(self) -> Upstream | None:
        """The idle connection used last, which is the least likely to have been closed."""
        idle = self.idle
        while idle:
            upstream = idle.pop()
            if not upstream.closed:
                self.cluster.plane.row[UPSTREAM_REUSED] += 1
                return upstream
        return None

    def put(self, upstream: Upstream, now: float) -> None:
        """Keeps a connection for later, within the bound."""
        if self.retired or len(self.idle) >= self.cluster.idle_limit:
            upstream.abort()
            return
        upstream.idle_since = now
        self.idle.append(upstream)

    @property
    def full(self) -> bool:
        """Whether no further connection may be opened."""
        return self.total >= self.cluster.connection_limit

    def connect(self, attempt: Attempt) -> None:
        """Opens a connection for an attempt."""
        self.total += 1
        task = asyncio.get_running_loop().create_task(self._connect(attempt))
        attempt.connecting = task
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, attempt: Attempt) -> None:
        upstream = Upstream(self)
        made = False
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: upstream, self.host, self.port, ssl=self.ssl, server_hostname=self.name if self.ssl else None
            )
            made = True
        except ConnectionRefusedError:
            attempt.failed(Cause.CONNECT_REFUSED)
        except (OSError, ssl.SSLError, ValueError) as error:
            attempt.detail = str(error)
            attempt.failed(Cause.CONNECT_FAILED)
        finally:
            if not made:
                self.total -= 1  # an Upstream that was never made is never lost
        if made:
            attempt.connecting = None
            if attempt.open:
                attempt.connected(upstream)
            else:
                self.put(upstream, monotonic())

    def sweep(self, now: float, idle_timeout: float) -> None:
        """Closes connections that have been idle for too long (the oldest stand first)."""
        idle = self.idle
        while idle and (idle[0].closed or self.retired or now - idle[0].idle_since > idle_timeout):
            idle.popleft().abort()

    def retire(self) -> None:
        """Its endpoint left: idle connections close now, the others when their attempt ends."""
        self.retired = True
        self.sweep(monotonic(), 0.0)
