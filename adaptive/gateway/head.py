"""Request heads: llhttp judges the syntax, the guards below close what it leaves open, and equal blocks are read once.

A head is cut at its first blank line and given to llhttp whole. What llhttp accepts is split by line, checked by the
guards (one Host, one reading of the length, limits, no dot segments), and turned into a Block: all that follows from
the header fields alone. Clients send the same fields again and again on a connection, so Blocks are kept by their exact
bytes; a repeated block costs one comparison, and only the request line is read anew, by a pattern stricter than llhttp.

The guards answer the measured gaps of llhttp (a missing or doubled Host, HTTP/1.0 with Transfer-Encoding, no limits).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from adaptive.gateway.fields import HOP_BY_HOP, FieldReader, Fields, content_length, dropped_names, tokens
from adaptive.gateway.memo import Memo

CHUNKED = -1  # Block.length of a chunked body

# A block longer than this is read each time: memory stays bounded by entries × bytes, 4 MiB a worker.
CACHED_BLOCK_BYTES = 4096
CACHED_BLOCKS = 1024

METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE "
    b"PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT PURGE".split()
)
# RFC 9110 9.2.2.
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})

_LINE = re.compile(rb"([A-Z]{3,20}) (/[!-\"$-\[\]-~]*) HTTP/1\.[01]\r\n")
_ANY_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/(\d)\.(\d)\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/?[^#]*)", re.IGNORECASE)
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z](?:[0-9A-Za-z._-]{0,253}[0-9A-Za-z.])?|[_0-9A-Za-z.-]{1,255})(?::\d{0,5})?"
)
_UNSAFE_PATH = re.compile(rb"(?:/|%2f)(?:\.|%2e){1,2}(?:/|%2f|$)|\\|%5c|%00", re.IGNORECASE)
# W3C Trace Context: version 00 ends with the flags, later ones may say more.
_TRACE_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rb"00" + _TRACE_IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _TRACE_IDS + rb"(?:-[!-~]*)?")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"})
# Fields that Connection may take away although this hop reads them.
_LISTABLE = _FORWARDED | {b"x-request-id", b"traceparent", b"tracestate"}
# Fields that this hop reads, and writes anew for the endpoint or not at all.
SPECIAL = HOP_BY_HOP | _LISTABLE | {b"host", b"content-length", b"expect"}
_ZERO = ord("0")
_NONE: list[bytes] = []
_KEEP_ALIVE = [b"keep-alive"]
_NOTHING: dict[bytes, bytes] = {}


class Rejected(Exception):
    """A request that goes no further: the status it deserves, the counter it falls under, and what was wrong."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


class HeadLimits(NamedTuple):
    """Bounds of a head."""

    header_bytes: int = 65536
    headers: int = 100
    uri_bytes: int = 8192


class Block:
    """What follows from a request's header fields alone, whatever its request line says."""

    __slots__ = (
        "_values", "close", "expect", "forwarded", "has_length", "host", "kept", "length", "minor", "request_id",
        "special", "upgrade",
    )  # fmt: skip

    def __init__(self, minor: int, special: Fields, plain: Fields) -> None:
        self.minor, self.special, self.kept = minor, special, plain
        self._values: dict[bytes, bytes] | None = None
        self.length = 0
        self.expect = False
        self.upgrade = self.request_id = b""
        self.forwarded: dict[bytes, bytes] = _NOTHING
        values: dict[bytes, list[bytes]] = {}
        for name, value, _ in special:
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
        hosts = values.pop(b"host", _NONE)
        if len(hosts) > 1 or (minor == 1 and not hosts):
            raise Rejected(400, "bad_request", "there must be exactly one Host")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Rejected(400, "bad_request", "Host is malformed")
        self.host = hosts[0].lower() if hosts else b""
        self.has_length = b"content-length" in values
        connection = values.pop(b"connection", _NONE)
        if not connection or (minor == 1 and connection == _KEEP_ALIVE):
            self.close = minor == 0
        else:
            self._connection(tokens(connection), values)
        if values:
            self._others(values)

    def _connection(self, connection: list[bytes], values: dict[bytes, list[bytes]]) -> None:
        self.close = b"close" in connection or (self.minor == 0 and b"keep-alive" not in connection)
        if self.minor == 1 and b"upgrade" in connection and b"upgrade" in values:
            asked = tokens(values[b"upgrade"])
            # An endpoint that took up h2c would read requests past every check made here.
            if not any(protocol.startswith((b"h2c", b"http")) for protocol in asked):
                self.upgrade = b", ".join(values[b"upgrade"])
        gone = dropped_names(connection)
        self.kept = [field for field in self.kept if field[0] not in gone]
        for name in connection:
            if name in _LISTABLE:
                values.pop(name, None)

    def _others(self, values: dict[bytes, list[bytes]]) -> None:
        self.length = _length(values, self.minor)
        self.expect = _expect(values.get(b"expect", _NONE), self.minor)
        if self.upgrade and self.length:
            raise Rejected(400, "bad_request", "a request for an upgrade has a body")
        trace = values.get(b"traceparent", _NONE)
        if len(trace) == 1 and _TRACEPARENT.fullmatch(trace[0]):
            self.kept = self.kept + [field for field in self.special if field[0] in (b"traceparent", b"tracestate")]
        self.forwarded = {name: b", ".join(values[name]) for name in _FORWARDED if name in values}
        ids = values.get(b"x-request-id", _NONE)
        if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]):
            self.request_id = ids[0]

    @property
    def values(self) -> dict[bytes, bytes]:
        """All fields as they came, by lower-case name; several of a name are joined as the list they stand for."""
        if self._values is None:
            found: dict[bytes, bytes] = {}
            for name, value, _ in (*self.special, *self.kept):
                joint = b"; " if name == b"cookie" else b", "
                found[name] = found[name] + joint + value if name in found else value
            self._values = found
        return self._values

    def get(self, name: str) -> str | None:
        """A field's value by its name in lower case."""
        value = self.values.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")


# A request's head, checked: the method, the target in origin form (or `*`), and what follows from the fields.
RequestHead = tuple[bytes, bytes, Block]


class _Probe:
    """Lets llhttp judge a head, and takes nothing from it."""


_PROBE = _Probe()


class HeadReader:
    """Reads request heads within limits, and remembers blocks by their bytes."""

    def __init__(self, limits: HeadLimits) -> None:
        self.limits = limits
        self._fields = FieldReader(SPECIAL)
        self._blocks: Memo[Block] = Memo(CACHED_BLOCKS, CACHED_BLOCK_BYTES)

    def read(self, head: bytes) -> RequestHead:
        """Checks one head, its closing blank line included. Raises Rejected."""
        line = _LINE.match(head)
        if line is None:
            return self._read_other_form(head)
        method, target = line.group(1, 2)
        if method not in METHODS:
            raise Rejected(501, "bad_request", "the method is not supported")
        start = line.end()
        rest = head[start - 10 :]
        block = self._blocks.get(rest)
        if block is None:
            self._check_size(head, target)
            block = self._judge(head, start, head[start - 3] - _ZERO)
            self._blocks.offer(rest, block)
        if len(target) > self.limits.uri_bytes or b"/." in target or b"%" in target:
            self._check_target(target)
        return method, target, block

    def _read_other_form(self, head: bytes) -> RequestHead:
        """A request line that is not in origin form, or is none."""
        line = _ANY_LINE.match(head)
        if line is None:
            raise Rejected(400, "bad_request", "the request line is malformed")
        method, target, major, minor = line.groups()
        if major != b"1" or minor not in b"01":
            raise Rejected(505, "bad_request", "only HTTP/1.0 and HTTP/1.1 are spoken here")
        self._check_size(head, target)
        if method not in METHODS:
            raise Rejected(501, "bad_request", "the method is not supported")
        block = self._judge(head, line.end(), int(minor))
        if not target.startswith(b"/"):
            target, host = _other_form(method, target)
            if host:  # RFC 9112 3.2.2: the target's authority replaces Host
                rest = [field for field in block.special if field[0] != b"host"]
                block = Block(block.minor, [(b"host", host, b"host: " + host), *rest], block.kept)
        self._check_target(target)
        return method, target, block

    def _check_size(self, head: bytes, target: bytes) -> None:
        if len(head) - len(target) > self.limits.header_bytes:
            raise Rejected(431, "header_too_large", f"the header fields exceed {self.limits.header_bytes} bytes")
        if len(target) > self.limits.uri_bytes:
            raise Rejected(414, "uri_too_long", f"the target exceeds {self.limits.uri_bytes} bytes")

    def _judge(self, head: bytes, start: int, minor: int) -> Block:
        try:
            httptools.HttpRequestParser(_PROBE).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise Rejected(400, "bad_request", f"not HTTP: {error}") from None
        special, plain = self._fields.split(head[start:])
        if len(special) + len(plain) > self.limits.headers:
            raise Rejected(431, "header_too_large", f"more than {self.limits.headers} header fields")
        return Block(minor, special, plain)

    def _check_target(self, target: bytes) -> None:
        if len(target) > self.limits.uri_bytes:
            raise Rejected(414, "uri_too_long", f"the target exceeds {self.limits.uri_bytes} bytes")
        if b"#" in target:
            raise Rejected(400, "bad_request", "the target has a fragment")
        if _UNSAFE_PATH.search(target.partition(b"?")[0]):
            raise Rejected(400, "bad_request", "the path has dot segments, a backslash or a NUL")


def _other_form(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Origin form and host of a target in absolute or asterisk form."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute.group(1)):
        raise Rejected(400, "bad_request", "the target is malformed")
    path = absolute.group(2)
    return (path if path.startswith(b"/") else b"/" + path), absolute.group(1).lower()


def _length(values: dict[bytes, list[bytes]], minor: int) -> int:
    codings = values.get(b"transfer-encoding")
    if codings is None:
        try:
            return content_length(values.get(b"content-length", [])) or 0
        except ValueError as error:
            raise Rejected(400, "bad_request", str(error)) from None
    if minor == 0 or b"content-length" in values:
        raise Rejected(400, "bad_request", "Transfer-Encoding with HTTP/1.0 or with Content-Length")
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        raise Rejected(501, "bad_request", "the only transfer coding understood is chunked")
    return CHUNKED


def _expect(values: list[bytes], minor: int) -> bool:
    if not values or minor == 0:
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise Rejected(417, "bad_request", "the only expectation understood is 100-continue")
    return True
