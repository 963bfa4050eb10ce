"""Response heads: read once, framed anew for the client.

llhttp judges each head that has not been seen byte for byte before; the guards decide how the body ends (RFC 9112 6.3)
and which fields go on. A ReplyHead is independent of the request, but for HEAD, which its reader asks about.
"""

from __future__ import annotations

import math
import re

import httptools

from adaptive import announcement
from adaptive.gateway.fields import HOP_BY_HOP, FieldReader, Fields, content_length, dropped_names, tokens
from adaptive.gateway.memo import Memo
from adaptive.telemetry.load_report import load_report

CHUNKED = -1
UNTIL_CLOSE = -2

CACHED_HEAD_BYTES = 2048
CACHED_HEADS = 512

# HTTP/1.1 responses are what we forward; an endpoint may answer in 1.0.
_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)( [\t -~\x80-\xff]*)?\r\n")
# Fields that this hop reads; load reports and announcements are for the gateway, and are not told on.
_SPECIAL = HOP_BY_HOP | {
    announcement.HEADER, b"endpoint-load-metrics", b"endpoint-load-metrics-bin", b"content-length", b"x-request-id",
}  # fmt: skip
_NONE: list[bytes] = []


class _Probe:
    """Lets llhttp judge a head, and takes nothing from it."""


_PROBE = _Probe()


class BadReply(Exception):
    """What came from an endpoint is no HTTP response that could be passed on safely."""


class ReplyHead:
    """A response's head: status, how its body ends, and the lines that go on to the client."""

    __slots__ = (
        "announced",
        "close",
        "kept",
        "length",
        "lines",
        "load_app",
        "load_cpu",
        "minor",
        "prefix",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, minor: int, status: int, reason: bytes, special: Fields, plain: Fields) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value, _ in special:
            values.setdefault(name, []).append(value)
        self.minor, self.status, self.reason = minor, status, reason
        connection = values.get(b"connection", _NONE)
        self.close = minor == 0
        if connection:
            listed = tokens(connection)
            self.close = b"close" in listed or (minor == 0 and b"keep-alive" not in listed)
            gone = dropped_names(listed)
            plain = [field for field in plain if field[0] not in gone]
        self.length = _length(values, minor)
        self.upgrade = b", ".join(values.get(b"upgrade", _NONE)) if status == 101 else b""
        self.kept = plain
        self.lines = b"".join([line + b"\r\n" for _, _, line in plain])
        self.load_cpu = self.load_app = math.nan
        if b"endpoint-load-metrics" in values:
            self.load_cpu, self.load_app = load_report(values[b"endpoint-load-metrics"])
        said = values.get(announcement.HEADER, _NONE)
        self.announced = announcement.parse(b" ".join(said).decode("latin-1")) if said else None
        self.prefix = b""  # what `lines.reply_head` made of it

    def bodiless(self, head_request: bool) -> bool:
        """Whether no body follows, whatever the fields say (RFC 9110 6.4.1)."""
        return head_request or self.status in (204, 304) or self.status < 200


class ReplyReader:
    """Reads response heads within a limit, and remembers them by their bytes."""

    def __init__(self, header_bytes: int = 65536, headers: int = 200) -> None:
        self.header_bytes, self.headers = header_bytes, headers
        self._fields = FieldReader(_SPECIAL)
        self._heads: Memo[ReplyHead] = Memo(CACHED_HEADS, CACHED_HEAD_BYTES)

    def read(self, head: bytes) -> ReplyHead:
        """Checks one head, its closing blank line included. Raises BadReply."""
        known = self._heads.get(head)
        if known is not None:
            return known
        found = self._read_anew(head)
        self._heads.offer(head, found)
        return found

    def _read_anew(self, head: bytes) -> ReplyHead:
        line = _LINE.match(head)
        if line is None:
            raise BadReply("the status line is malformed")
        if len(head) > self.header_bytes:
            raise BadReply(f"the head exceeds {self.header_bytes} bytes")
        try:
            httptools.HttpResponseParser(_PROBE).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise BadReply(f"not HTTP: {error}") from None
        special, plain = self._fields.split(head[line.end() :])
        if len(special) + len(plain) > self.headers:
            raise BadReply(f"more than {self.headers} header fields")
        minor, status, reason = line.groups()
        return ReplyHead(int(minor), int(status), reason or b" ", special, plain)


def _length(values: dict[bytes, list[bytes]], minor: int) -> int:
    codings = values.get(b"transfer-encoding")
    if codings is not None:
        if minor == 0 or b"content-length" in values or [c.lower() for c in codings] != [b"chunked"]:
            raise BadReply("the body's framing is ambiguous")
        return CHUNKED
    try:
        length = content_length(values.get(b"content-length", []))
    except ValueError as error:
        raise BadReply(str(error)) from None
    return UNTIL_CLOSE if length is None else length
