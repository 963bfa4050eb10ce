"""Apache's common and combined logs. They know nothing of instances or latencies: the trace holds arrivals only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from replay.importers.base import Attempt, Importer, Options, Unusable, moment, request_line, status_of

_LINE = re.compile(
    r'\S+ \S+ .*?\[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*")?.*'
)


class Apache(Importer):
    """Lines of `common` or `combined`; the time is that at which the request came, in whole seconds."""

    name = "apache"
    resolution = 1.0
    lacks = frozenset({"propensity", "connect", "first_byte", "done"})

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.notes.append("a combined log holds arrivals only: no instance, no latency")

    def parse(self, value: str) -> Iterator[Attempt]:
        """One arrival."""
        match = _LINE.fullmatch(value)
        if match is None:
            raise Unusable("does not have the form of a combined log")
        method, path = request_line(match[2])
        down = int(match[4]) if match[4] != "-" else 0
        yield Attempt(
            moment(match[1], "time"),
            cluster=self.cluster,
            status=status_of(match[3]),
            down=down,
            method=method,
            path=path,
        )
