"""Chunked bodies: decoded by llhttp, cut exactly at their end, written anew.

Re-framing drops chunk extensions and odd spellings of sizes, so that what goes on has one reading. llhttp does not say
at which byte a message ended when more follows, so the data is given to it in pieces that end at each blank line: a
chunked body always ends with one.
"""

from __future__ import annotations

import httptools

from adaptive.gateway.fields import NOT_IN_TRAILERS

_HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
# A body that spends more on framing than this and 16 bytes a byte of content is an attack, not a stream.
SPARE_FRAMING = 65536
LAST_CHUNK = b"0\r\n\r\n"


class BadChunks(Exception):
    """The body is no chunked body."""


class ChunkReader:
    """Decodes one chunked body."""

    def __init__(self, trailer_bytes: int = 65536, trailers: int = 100) -> None:
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self._content: list[bytes] = []
        self._raw = self._decoded = self._trailer_bytes = 0
        self._bounds = (trailer_bytes, trailers)
        self._tail = b""
        self._in_body = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD)
        self._in_body = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A trailer (the synthetic head's own fields are not)."""
        if self._in_body:
            self.trailers.append((name, value))
            self._trailer_bytes += len(name) + len(value)

    def on_body(self, data: bytes) -> None:
        """A piece of content."""
        self._content.append(data)

    def on_message_complete(self) -> None:
        """The last chunk and the trailers have been read."""
        self.done = True

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The content in `data`, and the bytes after the body's end (empty while it goes on). Raises BadChunks."""
        start = 0
        tail = len(self._tail)
        window = self._tail + data
        try:
            while start < len(data) and not self.done:
                found = window.find(b"\r\n\r\n", start + tail if start else 0)
                end = len(data) if found < 0 else max(start + 1, found + 4 - tail)
                self._parser.feed_data(data[start:end])
                start = end
        except httptools.HttpParserError as error:
            raise BadChunks(str(error)) from None
        self._tail = window[-3:]
        content, self._content = self._content, []
        self._raw += start
        self._decoded += sum(map(len, content))
        if self._trailer_bytes > self._bounds[0] or len(self.trailers) > self._bounds[1]:
            raise BadChunks("the trailers are too large")
        if self._raw > SPARE_FRAMING + 16 * self._decoded:
            raise BadChunks("the framing is larger than the content can justify")
        return content, data[start:]


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body, with those trailers that may stand there."""
    if not trailers:
        return LAST_CHUNK
    kept = [b"%b: %b\r\n" % (name, value) for name, value in trailers if name.lower() not in NOT_IN_TRAILERS]
    return b"0\r\n" + b"".join(kept) + b"\r\n"
