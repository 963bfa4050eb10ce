"""GoReplay's files (.gor): payloads with a header line each, between separators.

A header is `type id timestamp [latency]`: 1 a request, 2 its response, 3 a replayed response; times are nanoseconds.
What the capture was in front of is not said; the Host of each request names its endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from replay.importers.base import Attempt, Importer, Unit, Unusable, request_line, shown, status_of

SEPARATOR = "\n\U0001f435\U0001f648\U0001f649\n".encode()
CHUNK = 1 << 20
PAYLOAD = 64 << 20  # bytes; GoReplay itself cuts bodies at 5 MB
WAITING = 100_000  # requests that wait for their response; the oldest goes on without one
_HEADER = re.compile(rb"([123]) ([0-9a-fA-F-]{1,64}) (\d{1,19})(?: (\d{1,19}))?\s*$")
_HOST = re.compile(rb"^host:[ \t]*([^\s]+)", re.IGNORECASE | re.MULTILINE)


class _Exchange(NamedTuple):
    request: tuple[int, bytes]  # nanoseconds, payload
    response: tuple[int, int, bytes] | None  # nanoseconds, latency, payload


class Goreplay(Importer):
    """Requests with the responses that the capture has of them."""

    name = "gor"
    unit = "payload"
    lacks = frozenset({"propensity", "connect", "first_byte"})

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Each request with its response, when that comes or no longer can."""
        waiting: dict[bytes, tuple[int, bytes, int, bytes]] = {}
        for place, raw in enumerate(_payloads(file), 1):
            head, _, payload = raw.partition(b"\n")
            match = _HEADER.match(head)
            if match is None:
                yield Unit(place, _text(raw), Unusable(f"its header {shown(_text(head))} is not `type id timestamp`"))
                continue
            kind, key, at = match[1], match[2], int(match[3])
            if kind == b"1":
                if key in waiting:
                    yield _unanswered(waiting.pop(key))
                waiting[key] = (place, raw, at, payload)
                if len(waiting) > WAITING:
                    yield _unanswered(waiting.pop(next(iter(waiting))))
            elif kind == b"2" and key in waiting:
                first, sent, begun, asked = waiting.pop(key)
                response = (at, int(match[4] or 0), payload)
                yield Unit(first, _text(sent + SEPARATOR + raw), _Exchange((begun, asked), response))
            elif kind == b"2":
                yield Unit(place, _text(raw), Unusable("a response whose request is not in the capture"))
        for left in waiting.values():
            yield _unanswered(left)

    def parse(self, value: _Exchange) -> Iterator[Attempt]:
        """One request."""
        at, payload = value.request
        method, path = request_line(_text(payload.partition(b"\n")[0].rstrip(b"\r")))
        if method is None:
            raise Unusable("its payload is no request of HTTP/1")
        host = _HOST.search(payload)
        one = Attempt(
            at / 1e9,
            endpoint=_text(host[1]) if host else self.name,
            cluster=self.cluster,
            up=len(payload.partition(b"\r\n\r\n")[2]),
            method=method,
            path=path,
        )
        if value.response is not None:
            ended, latency, answer = value.response
            words = _text(answer.partition(b"\n")[0]).split(" ")
            if len(words) < 2 or not words[0].startswith("HTTP/"):
                raise Unusable("its response is none of HTTP/1")
            took = latency or max(ended - at, 0)
            one = one._replace(
                done=(at + took) / 1e9, status=status_of(words[1]), down=len(answer.partition(b"\r\n\r\n")[2])
            )
        yield one


def _payloads(file: IO[bytes]) -> Iterator[bytes]:
    """What stands between separators."""
    held = b""
    while chunk := file.read(CHUNK):
        held += chunk
        *whole, held = held.split(SEPARATOR)
        yield from (part for part in whole if part.strip())
        if len(held) > PAYLOAD:
            yield held
            held = b""
    if held.strip():
        yield held


def _unanswered(left: tuple[int, bytes, int, bytes]) -> Unit:
    place, raw, at, payload = left
    return Unit(place, _text(raw), _Exchange((at, payload), None))


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
