"""The bytes of a request that is sent again.

A recording holds no bodies: as many bytes are sent as were recorded, all the same letter, up to a bound. Its path is
the recorded one where the trace knows it (imported logs do) and it can be sent, else it is made from a template, in
which {route}, {cluster} and {number} stand for the request's own. What frames a message is ours to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from replay.player.plan import Recorded

BODY = 1 << 20  # bytes of a body at most: longer ones would measure this sender's memory
OURS = ("content-length", "transfer-encoding", "connection", "upgrade", "expect")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD = re.compile(r"\{(\w+)\}")
_PATH = re.compile(r"/[!-~]*")
_KNOWN = ("route", "cluster", "number")


class MessageError(ValueError):
    """A header or a template cannot be sent; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How requests are written. `fields` are (name, value) in order; "Host" is among them."""

    fields: tuple[tuple[str, str], ...]
    path: str = "/"
    _head: bytes = field(default=b"", compare=False)

    def message(self, requests: Recorded, index: int) -> bytes:
        """One request."""
        method, size = str(requests.method[index]), min(int(requests.size[index]), BODY)
        path = str(requests.path[index])
        if not _PATH.fullmatch(path):  # a log may hold anything
            path = self.expand(requests, index)
        length = f"content-length: {size}\r\n" if size or method in ("POST", "PUT", "PATCH") else ""
        return (
            f"{method} {path} HTTP/1.1\r\n".encode("latin-1", "replace")
            + self._head
            + f"{length}\r\n".encode()
            + b"x" * size
        )

    def expand(self, requests: Recorded, index: int) -> str:
        """The template's path for one request; always one that begins with a slash."""
        values = {
            "route": str(requests.route[index]).strip("/"),
            "cluster": str(requests.cluster[index]),
            "number": str(int(requests.number[index])),
        }
        made = _FIELD.sub(lambda found: values[found[1]], self.path)
        return "/" + re.sub(r"[^!-~]", "_", made.lstrip("/"))


def shape(host: str, headers: Sequence[str], path: str) -> Shape:
    """From `--header` texts: "Name: value" sets one, "Name:" takes one away. Raises MessageError."""
    for name in _FIELD.findall(path):
        if name not in _KNOWN:
            raise MessageError(f"the path {path!r}: {{{name}}} is none of {', '.join(f'{{{one}}}' for one in _KNOWN)}")
    if not _PATH.fullmatch(path):
        raise MessageError(f"the path {path!r}: must begin with / and hold no spaces")
    fields = {"host": ("Host", host), "user-agent": ("User-Agent", "adaptive-replay"), "accept": ("Accept", "*/*")}
    for text in headers:
        name, colon, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _TOKEN.fullmatch(name):
            raise MessageError(f"the header {text!r}: write 'Name: value', or 'Name:' to take it away")
        if name.lower() in OURS:
            raise MessageError(f"the header {text!r}: {name} is the sender's own to write, for it frames the message")
        if not re.fullmatch(r"[\t !-~\x80-\xff]*", value):
            raise MessageError(f"the header {text!r}: holds characters that no header can")
        fields.pop(name.lower(), None)
        if value:
            fields[name.lower()] = (name, value)
        elif name.lower() == "host":
            raise MessageError("the header 'Host:': a request of HTTP/1.1 needs its host")
    made = tuple(fields.values())
    return Shape(made, path, "".join(f"{name}: {value}\r\n" for name, value in made).encode("latin-1"))
