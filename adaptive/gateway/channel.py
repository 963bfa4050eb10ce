"""The control channel between the supervisor and one child.

A stream socket pair, inherited. A message is four bytes of length, big-endian, and a JSON object with a "type". Each
side closes its end when it goes, and the end of the stream is how the other side learns of it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Message = dict[str, Any]

log = logging.getLogger(__name__)

# A configuration of some 100,000 endpoints takes about 20 MiB; anything above the bound is a bug, not a message.
LARGEST = 64 << 20
# What may wait to be read by a child that is slow or stopped: one largest message and many small ones.
BACKLOG = LARGEST + (1 << 20)

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def frame(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the wire; raises ValueError where it is larger than LARGEST."""
    body = _encode(message)
    if len(body) > LARGEST:
        raise ValueError(f"a control message of {len(body)} bytes, more than {LARGEST}")
    return len(body).to_bytes(4, "big") + body


class Channel(asyncio.Protocol):
    """One end of a control channel. Callbacks run on the loop; what they raise is logged and goes no further."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        self.on_message = on_message
        self.on_close = on_close
        self.dropped = 0  # messages that found the backlog full
        self._transport: asyncio.Transport | None = None
        self._pending = bytearray()
        self._started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        self._transport = None
        self._pending.clear()
        self.on_close()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._pending += data
        if self._started:
            self._take()

    def start(self) -> None:
        """Begin to deliver messages, those that have come already first."""
        self._started = True
        self._take()

    def _take(self) -> None:
        """Take every whole message out of what has come."""
        pending = self._pending
        start = 0
        while len(pending) - start >= 4:
            end = start + 4 + int.from_bytes(pending[start : start + 4], "big")
            if end - start - 4 > LARGEST:
                log.error("a control message claims %d bytes; closing the channel", end - start - 4)
                self.close()
                return
            if len(pending) < end:
                break
            body = bytes(pending[start + 4 : end])
            start = end
            self._deliver(body)
            if self._transport is None:
                return
        del pending[:start]

    def _deliver(self, body: bytes) -> None:
        try:
            message = _decode(body)
        except msgspec.DecodeError as error:
            log.error("an unreadable control message: %s; closing the channel", error)
            self.close()
            return
        try:
            self.on_message(message)
        except Exception:
            log.exception("control message %r failed", message.get("type"))

    @property
    def open(self) -> bool:
        """Whether messages still go out."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Mapping[str, Any]) -> bool:
        """Queue one message; False (and counted, if the backlog is full) where it cannot go."""
        if self._transport is None or self._transport.is_closing():
            return False
        data = frame(message)
        if self._transport.get_write_buffer_size() + len(data) > BACKLOG:
            self.dropped += 1
            return False
        self._transport.write(data)
        return True

    def close(self) -> None:
        """Send what is queued and close; does nothing the second time."""
        if self._transport is not None:
            self._transport.close()


async def open_channel(
    sock: socket.socket | int, on_message: Callable[[Message], None], on_close: Callable[[], None]
) -> Channel:
    """Start a channel over one end of a socket pair, or over its inherited descriptor.

    The first message is delivered after this has returned, so that the caller knows its channel and can answer.
    """
    if isinstance(sock, int):
        sock = socket.socket(fileno=sock)
    sock.setblocking(False)
    channel = Channel(on_message, on_close)
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: channel, sock=sock)
    loop.call_soon(channel.start)
    return channel
