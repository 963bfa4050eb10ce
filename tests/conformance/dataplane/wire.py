"""HTTP/1 as bytes on a socket, read strictly: what the suite's clients and origins share.

Written for the tests alone, from RFC 9112, and deliberately not on the parser that the gateway uses: two readers that
share a parser share its mistakes.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d) ([\t -~\x80-\xff]*)")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[ \t]*")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Malformed(AssertionError):
    """The peer sent what no strict reader accepts."""


class Truncated(AssertionError):
    """The peer closed in the middle of a message."""


@dataclass
class Message:
    """A request or a response."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    raw_head: bytes = b""
    chunks: int = 0

    def get(self, name: str) -> str | None:
        """The value of a field that may stand once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def chunked(self) -> bool:
        """Whether the body is framed by chunks."""
        return self.get("transfer-encoding") is not None

    @property
    def length(self) -> int | None:
        """Content-Length."""
        value = self.get("content-length")
        assert value is None or value.isdecimal(), f"Content-Length: {value}"
        return None if value is None else int(value)


@dataclass
class Request(Message):
    """What an origin read."""

    method: str = ""
    target: str = ""
    minor: int = 1


@dataclass
class Response(Message):
    """What a client read."""

    status: int = 0
    reason: str = ""
    minor: int = 1
    interim: list[Response] = field(default_factory=list)  # the 1xx that came before it


def parse_fields(lines: list[bytes]) -> list[tuple[str, str]]:
    """Header or trailer lines, without their CRLF."""
    found = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed(f"field line {line!r}")
        found.append((match[1].decode("ascii"), (match[2] or b"").decode("latin-1")))
    return found


class Wire:
    """A connected socket, and HTTP messages read from it."""

    def __init__(self, sock: socket.socket, tap: Callable[[bytes], None] | None = None) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.ended = False
        self.heard = 0  # bytes received so far
        self._tap = tap

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        self.sock.sendall(data)

    def fill(self) -> bool:
        """Reads something into the buffer; False at the end."""
        if self.ended:
            return False
        data = self.sock.recv(65536)
        if not data:
            self.ended = True
            return False
        self.heard += len(data)
        if self._tap:
            self._tap(data)
        self.buffer += data
        return True

    def line(self) -> bytes:
        """Up to the next CRLF, which is taken away; a bare CR or LF is malformed."""
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            if not self.fill():
                raise Truncated(f"the peer closed within a line: {bytes(self.buffer)!r}")
        found = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not found.endswith(b"\r\n") or b"\r" in found[:-2]:
            raise Malformed(f"line {found!r}")
        return found[:-2]

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self.buffer) < count:
            if not self.fill():
                raise Truncated(f"the peer closed {count - len(self.buffer)} bytes early")
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    def pieces(self, count: int) -> Iterator[bytes]:
        """So many bytes, as they come, none of them kept."""
        while count:
            if not self.buffer and not self.fill():
                raise Truncated(f"the peer closed {count} bytes early")
            found = bytes(self.buffer[:count])
            del self.buffer[: len(found)]
            count -= len(found)
            yield found

    def rest(self) -> bytes:
        """Everything until the peer closes."""
        while self.fill():
            pass
        found = bytes(self.buffer)
        self.buffer.clear()
        return found

    def head(self) -> list[bytes]:
        """The lines of a head, without the blank one."""
        lines = [self.line()]
        while lines[-1]:
            lines.append(self.line())
        return lines[:-1]

    def chunks(self, message: Message, extensions: bool = False) -> Iterator[bytes]:
        """The content of a chunked body; its trailers are left in the message. A proxy must drop extensions."""
        while True:
            size, extended, _ = self.line().partition(b";")
            if not _SIZE.fullmatch(size) or (extended and not extensions):
                raise Malformed(f"chunk size {size!r}")
            if int(size, 16) == 0:
                break
            message.chunks += 1
            yield from self.pieces(int(size, 16))
            if self.line():
                raise Malformed("a chunk does not end where it said")
        lines = []
        while line := self.line():
            lines.append(line)
        message.trailers = parse_fields(lines)

    def close(self) -> None:
        """Closes in the ordinary way."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self) -> None:
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def read_request_head(wire: Wire) -> Request | None:
    """A request's head; None when the peer has closed in between requests."""
    if not wire.buffer and not wire.fill():
        return None
    lines = wire.head()
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise Malformed(f"request line {lines[0]!r}")
    request = Request(
        fields=parse_fields(lines[1:]),
        raw_head=b"\r\n".join(lines),
        method=match[1].decode(),
        target=match[2].decode("latin-1"),
        minor=int(match[3]),
    )
    if request.chunked and request.length is not None:
        raise Malformed("both Content-Length and Transfer-Encoding")
    return request


def request_body(wire: Wire, request: Request) -> Iterator[bytes]:
    """A request's content, as it comes."""
    if request.chunked:
        return wire.chunks(request)
    return wire.pieces(request.length or 0)


def read_response_head(wire: Wire, spaceless: bool = False) -> Response:
    """A response's head; interim responses are collected on the way. Many servers that give no reason also leave out
    the space before it, and many readers forgive them; what a gateway writes must have it.
    """
    interim: list[Response] = []
    while True:
        lines = wire.head()
        match = _STATUS_LINE.fullmatch(lines[0] + b" " if spaceless and lines[0].count(b" ") == 1 else lines[0])
        if match is None:
            raise Malformed(f"status line {lines[0]!r}")
        response = Response(
            fields=parse_fields(lines[1:]),
            raw_head=b"\r\n".join(lines),
            status=int(match[2]),
            reason=match[3].decode("latin-1"),
            minor=int(match[1]),
            interim=interim,
        )
        if response.chunked and response.length is not None:
            raise Malformed("both Content-Length and Transfer-Encoding")
        if response.status >= 200 or response.status == 101:
            return response
        interim.append(response)


def response_body(wire: Wire, response: Response, method: str) -> Iterator[bytes]:
    """A response's content, as it comes."""
    if method == "HEAD" or response.status in (101, 204, 304):
        return
    if response.chunked:
        yield from wire.chunks(response)
    elif response.length is not None:
        yield from wire.pieces(response.length)
    else:
        while wire.buffer or wire.fill():
            yield bytes(wire.buffer)
            wire.buffer.clear()


class Client(Wire):
    """A client that sends exactly the bytes it is told to."""

    def __init__(
        self,
        port: int,
        *,
        source: str = "127.0.0.1",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        name: str | None = None,
        receive_buffer: int = 0,
    ) -> None:
        sock = socket.socket()
        if receive_buffer:  # before connecting, or the window is already agreed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        if sock.getsockname() == sock.getpeername():  # nobody listens, and our own port happened to be that
            sock.close()
            raise ConnectionRefusedError(f"connected to itself at port {port}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(tls.wrap_socket(sock, server_hostname=name) if tls else sock)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def response(self, method: str = "GET") -> Response:
        """The next response, its body included."""
        response = read_response_head(self)
        response.body = b"".join(response_body(self, response, method))
        return response

    def ask(self, target: str, host: str, *lines: str, method: str = "GET", body: bytes = b"") -> Response:
        """One request with further header lines, and its response."""
        self.send(request(target, host, *lines, method=method, body=body))
        return self.response(method)

    def handed_over(self) -> Client:
        """The connection in other hands: this client has none any more."""
        other = Client.__new__(Client)
        Wire.__init__(other, self.sock)
        other.buffer = self.buffer
        self.sock = socket.socket()
        return other

    def closed(self, within: float = 5.0) -> bool:
        """Whether the peer closes, sending nothing more."""
        self.sock.settimeout(within)
        try:
            return self.rest() == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


class Leaving:
    """Connections whose peer has said that it closes them, looked at when all have had their time: a server that closes
    at once may destroy its own answer, so one may linger for a second.
    """

    def __init__(self) -> None:
        self._held: list[tuple[bytes, Client]] = []

    def expect(self, client: Client, response: Response, why: bytes) -> None:
        """Take the connection over after this response to `why`, which must announce its end."""
        assert (response.get("connection") or "").lower() == "close", response.raw_head
        self._held.append((why, client.handed_over()))

    def look(self) -> None:
        """Every connection has ended, with nothing more on it."""
        held, self._held = self._held, []
        stayed = [why for why, client in held if not client.closed()]
        for _, client in held:
            client.close()
        assert not stayed, f"announced its end and stayed open after {stayed}"


def request(target: str, host: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request's bytes. With a body there is a Content-Length, unless a line frames it."""
    framed = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)
    length = (f"Content-Length: {len(body)}",) if body and not framed else ()
    head = "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, *length, "", ""))
    return head.encode("latin-1") + body


def reply(status: int = 200, body: bytes = b"ok", *lines: str, reason: str = "Fine") -> bytes:
    """A response's bytes, with a Content-Length."""
    head = "\r\n".join((f"HTTP/1.1 {status} {reason}", *lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode("latin-1") + body
