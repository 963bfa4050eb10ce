"""Public recordings in forms of their own: the edges of Nezha's testbed days, and Mooncake's requests of an hour."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from adaptive.types import Cause
from replay.importers.base import Attempt, Importer, ImportFailed, Options, Unit, Unusable, shown, text, whole

_EDGES = ("trace", "start_ns", "caller", "callee", "op", "client_us", "server_us", "ok")


class Nezha(Importer):
    """One row an upstream call: the callee's pod is the endpoint, its service the cluster, client_us the latency.

    What the callee itself says that it took stands in `server_seconds`, the operation in `path`, the caller's service
    is the route. There is no status; a span that is not ok counts as a reset.
    """

    name = "nezha"
    unit = "row"
    lacks = frozenset({"propensity", "connect", "first_byte", "status"})

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Rows under the heading."""
        reader = csv.reader(text(file))
        if tuple(next(reader, ())) != _EDGES:
            raise ImportFailed(f"{path}: the heading of Nezha's edges is {','.join(_EDGES)}")
        for place, row in enumerate(reader, 2):
            yield Unit(place, ",".join(row) + "\n", row)

    def parse(self, value: list[str]) -> Iterator[Attempt]:
        """One call."""
        if len(value) != len(_EDGES):
            raise Unusable(f"has {len(value)} cells, the heading {len(_EDGES)}")
        _, start, caller, callee, op, client, server, ok = value
        at = whole(start, "start_ns") / 1e9
        if not callee:
            raise Unusable("no callee stands in it")
        yield Attempt(
            at,
            at + whole(client, "client_us") / 1e6,
            callee,
            self.options.cluster or service(callee),
            cause=Cause.RESPONSE if ok == "1" else Cause.RESET,
            path=op,
            route=service(caller),
            server_seconds=whole(server, "server_us") / 1e6,
        )


class Mooncake(Importer):
    """A JSON object a line with `timestamp` in milliseconds, which moves in steps of 3 s: arrivals only."""

    name = "mooncake"
    lacks = frozenset({"propensity", "connect", "first_byte", "done"})
    resolution = 3.0

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.notes.append("the recording holds arrivals only: no instance, no latency")

    def parse(self, value: str) -> Iterator[Attempt]:
        """One arrival."""
        try:
            at = json.loads(value)["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Unusable("is no JSON object with a timestamp") from None
        if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at < 1e15:
            raise Unusable(f"timestamp {shown(str(at))} is not a number of milliseconds")
        yield Attempt(at / 1e3, cluster=self.cluster, method="POST")


def service(pod: str) -> str:
    """A pod's service: its name without the hash of its template and its own."""
    parts = pod.rsplit("-", 2)
    return parts[0] if len(parts) == 3 else pod
