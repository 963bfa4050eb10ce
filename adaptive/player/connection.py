"""One keep-alive connection to the target of a live replay, with at most one request on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

IDLE = -1  # in place of a request's number

Ended = Callable[["Connection", int, int], None]  # (connection, request, status); 0: it closed before the answer


class Connection(asyncio.Protocol):
    """Tells `ended` once for every request: its status, 0 where the connection closed, -1 where no HTTP came.

    `reused` and `heard` tell a connection that was closed while idle from one that was closed while answering.
    """

    transport: asyncio.Transport

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        self.request = IDLE
        self.requests = 0
        self.heard = False
        self.usable = False
        self.parser = httptools.HttpResponseParser(self)

    @property
    def reused(self) -> bool:
        """Whether it has carried a request before the present one."""
        return self.requests > 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes

    def ask(self, request: int, message: bytes) -> None:
        """Sends one request."""
        self.request, self.heard, self.usable = request, False, False
        self.requests += 1
        self.bodiless, self.framed, self.complete = message.startswith(b"HEAD "), False, False
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(message)

    def forget(self) -> None:
        """Gives the request up, and the connection with it."""
        self.request = IDLE
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.request == IDLE:  # an answer that nobody asked for
            self.transport.abort()
            return
        self.heard = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end(int(self.parser.get_status_code()))
            self.transport.abort()
        except httptools.HttpParserError:
            self._end(-1)
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the answer: whether it says where the body ends."""
        self.framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """The head is whole. A HEAD has no more, whatever its length says; the parser cannot know."""
        status = self.parser.get_status_code()
        self.complete = status >= 200 and not self.framed  # then the body ends with the connection
        if status >= 200 and self.bodiless:
            self._end(status)
            self.transport.close()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        status = self.parser.get_status_code()
        if status < 200 or self.request == IDLE:
            self.framed = False
            return
        self.usable = self.parser.should_keep_alive()
        if not self.usable:
            self.transport.close()
        self._end(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.request != IDLE:
            self._end(self.parser.get_status_code() if self.complete and exc is None else 0)

    def _end(self, status: int) -> None:
        request, self.request = self.request, IDLE
        if request != IDLE:
            self.ended(self, request, status)
