"""Header fields as both directions of the data plane treat them: splitting, hop-by-hop names, framing.

Only text that llhttp has accepted in its strict mode comes here, so lines end in CRLF, names are tokens, and there is
neither folding nor a bare CR, LF or NUL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from adaptive.gateway.memo import Memo

Field = tuple[bytes, bytes, bytes]  # (lower-case name, value, the line as it came, without CRLF)
Fields = list[Field]

# RFC 9110 7.6.1, and names that older software treats so.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
# Fields that Connection may not take away: without them the message would mean something else.
_KEPT_ANYWAY = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"cookie", b"expect"})
# Fields that may not stand in a trailer (RFC 9110 6.5.1): framing, routing, authentication, controls.
NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"content-length",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"host",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"cache-control",
    b"expect",
    b"max-forwards",
    b"te",
    b"trailer",
    b"age",
    b"date",
    b"location",
    b"retry-after",
    b"vary",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-request-id",
}
_LENGTH = re.compile(rb"\d{1,18}")


# Lines seen before, of at most this length and number: clients and endpoints repeat most of theirs.
_LINE_BYTES = 512
_LINES = 4096


class FieldReader:
    """Splits header blocks into those fields that mean something to this hop, and the others.

    `special` names are looked at one by one; every other line goes on as it came. Lines are remembered by their bytes,
    so that only those that differ from message to message are read anew.
    """

    def __init__(self, special: frozenset[bytes]) -> None:
        self._special = special
        self._known: Memo[Field] = Memo(_LINES, _LINE_BYTES)
        self._odd: Memo[Field] = Memo(_LINES, _LINE_BYTES)

    def split(self, block: bytes) -> tuple[Fields, Fields]:
        """(fields of special names, all others) of a block without its first line, its blank line included."""
        special: Fields = []
        plain: Fields = []
        known, odd = self._known, self._odd
        for line in block[:-4].split(b"\r\n"):
            field = known.get(line)
            if field is not None:
                plain.append(field)
                continue
            field = odd.get(line)
            if field is None:
                name, colon, value = line.partition(b":")
                if not colon:
                    continue
                name = name.lower()
                field = (name, value.strip(b" \t"), line)
                if name not in self._special:
                    known.offer(line, field)
                    plain.append(field)
                    continue
                odd.offer(line, field)
            special.append(field)
        return special, plain


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """The lower-case members of a comma-separated list field."""
    return [token.strip(b" \t").lower() for value in values for token in value.split(b",") if token.strip(b" \t")]


def dropped_names(connection: list[bytes]) -> frozenset[bytes]:
    """Names that end at this hop, given the members of Connection."""
    return HOP_BY_HOP.union(name for name in connection if name not in _KEPT_ANYWAY)


def content_length(values: list[bytes]) -> int | None:
    """The one Content-Length; None where there is none. Raises ValueError for several, or for what is no length."""
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise ValueError("Content-Length is not one number")
    return int(values[0])


def changed(lines: Fields, remove: frozenset[bytes], replace: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The lines that stay when a route removes some names and sets others."""
    gone = remove.union(name.lower() for name, _ in replace)
    return [line for name, _, line in lines if name not in gone]
