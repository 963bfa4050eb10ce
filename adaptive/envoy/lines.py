"""Lines of the log of attempts, as columns and as entries: an Envoy that was started here writes them into our pipe,
one elsewhere sends them.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from adaptive.envoy.entry import FLAGS, Entry
from adaptive.envoy.translate.logs import NONE, REPORTED, SEPARATOR, WITHIN
from adaptive.types import Cause

_UNDER_WAY = frozenset(("UpstreamPoolReady", "UpstreamPeriodic"))
# The last field of an attempt at whose connection nothing failed and whose endpoint reports nothing.
NOTHING_SAID = WITHIN.join((NONE, *(NONE for _ in REPORTED)))
# A line is some 150 bytes. What is longer than this without an end is none of Envoy's.
LONGEST = 1 << 20


class Table(NamedTuple):
    """Lines as columns, one a field in the order of `logs.FIELDS`."""

    endpoint: Sequence[str]
    kind: Sequence[str]
    numbers: Sequence[str]
    request: Sequence[str]
    said: Sequence[str]


class Kind(NamedTuple):
    """What a line says of its attempt of which there are few: one field, known again as a whole."""

    method: str
    status: int
    flagged: bool
    cause: Cause | None
    under_way: bool
    route: str


class Lines:
    """Cuts what is read from the pipe into lines; the rest of a read waits for the next."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> str:
        """The lines that are whole by now, each with its end."""
        data = self._rest + data if self._rest else data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:] if len(data) - end <= LONGEST else b""
        return data[:end].decode("latin-1")


def table(text: str) -> Table | None:
    """The columns of whole lines; None where one has more or fewer fields than it should."""
    width = len(Table._fields) + 1  # with a line's end as a field of its own
    fields = text.replace("\n", f"{SEPARATOR}\n{SEPARATOR}").split(SEPARATOR)
    del fields[-1]
    ends = fields[width - 1 :: width]
    if len(fields) % width or ends.count("\n") != len(ends) or text.count("\n") != len(ends):
        return None
    return Table(*(fields[number::width] for number in range(width - 1)))


def read(line: str) -> Entry:
    """The entry in a line. Raises ValueError where it is broken, as the first is after its reader was killed."""
    return entry(line.split(SEPARATOR))


def entry(fields: Sequence[str]) -> Entry:
    """The entry in the fields of a line, of which a separator in the last ones has made more. Raises ValueError."""
    endpoint, text, numbers, request, *rest = fields
    began, first, lasted, rounded, sent, received, waited = numbers.split(" ")
    reason, load, announced, *_ = (*SEPARATOR.join(rest).split(WITHIN), NONE, NONE)
    found = kind(text)
    return Entry(
        endpoint,
        found.route,
        request,
        found.method,
        found.under_way,
        int(began) * 1e-6,
        # To the microsecond where its response has ended, else to the millisecond.
        int(lasted) * 1e-6 if lasted != NONE else int(rounded) * 1e-3 if rounded != NONE else 0.0,
        int(first) * 1e-6 if first != NONE else 0.0,
        int(waited) * 1e-3 if waited != NONE else 0.0,
        found.status,
        found.flagged,
        found.cause,
        reason,
        int(sent),
        int(received),
        load if load != NONE else "",
        announced if announced != NONE else "",
    )


@lru_cache(maxsize=4096)  # a client can make up methods
def kind(text: str) -> Kind:
    """What the field of a line's kind says. Raises ValueError."""
    method, status, flags, logged, route = text.split(" ", 4)
    flagged = flags != NONE
    return Kind(method, int(status), flagged, meaning(flags) if flagged else None, logged in _UNDER_WAY, route)


def meaning(flags: str) -> Cause | None:
    """What short response flags, with commas between them, mean."""
    found = flags.split(",")
    return next((cause for flag, cause in FLAGS if flag in found), None)
