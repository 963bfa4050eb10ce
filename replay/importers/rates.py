"""Arrivals out of counts: how many requests came in each span of time, and no more than that.

Within a span they are independent of each other, as Poisson arrivals of a known number are: uniform, drawn from the
seed. So bursts shorter than a span are lost, and regularity is not made up.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from replay.importers.base import (
    UNKNOWN,
    Attempt,
    Importer,
    ImportFailed,
    Options,
    Unit,
    Unusable,
    finite,
    lines,
    moment,
    number,
    shown,
    text,
)

MOST = 5_000_000  # arrivals of one import: as a trace they take 1 GB of memory


class Count(NamedTuple):
    """`requests` from `start` to `end`, seconds of the wall clock."""

    start: float
    end: float
    requests: float
    cluster: str
    endpoint: str


class Rates(Importer):
    """What the importers of counts share: a unit is a Count."""

    unit = "sample"
    lacks = frozenset({"propensity", "connect", "first_byte", "done"})

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._rng = random.Random(f"{options.seed}/arrivals")
        self._made = 0
        self.notes.append("counts hold arrivals only, which were drawn within each span of time: no latency")

    def parse(self, value: Count) -> Iterator[Attempt]:
        """The arrivals of one span. Fractions of a request are settled by chance."""
        first, last = self.options.window
        if value.end <= first or value.start >= last:
            return
        if math.isnan(finite(value.requests)):
            raise Unusable(f"{value.requests} is no number of requests")
        count = int(value.requests) + (self._rng.random() < value.requests % 1.0)
        self._made += count
        if self._made > MOST:
            raise ImportFailed(f"over {MOST:,} arrivals: take a part of them with --from and --to")
        for at in sorted(value.start + self._rng.random() * (value.end - value.start) for _ in range(count)):
            yield Attempt(at, endpoint=value.endpoint, cluster=value.cluster)


class Prometheus(Rates):
    """The answer of `/api/v1/query_range` to a query of counters (or of rates, with --rates): a series an endpoint.

    Its label `instance`, or `pod`, names the endpoint, `job` or `service` the cluster.
    """

    name = "prometheus"

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Two samples in a row of one series. A counter that falls began anew."""
        try:
            answer = json.load(file)
            series = answer["data"]["result"]
        except (ValueError, RecursionError) as error:
            raise ImportFailed(f"{path}: not JSON: {error}") from None
        except (KeyError, TypeError):
            raise ImportFailed(f"{path}: no answer of query_range: it has no data.result") from None
        if answer.get("status") != "success" or not isinstance(series, list):
            raise ImportFailed(f"{path}: the query did not succeed: {shown(str(answer.get('error', '')))}")
        place = 0
        for one in series:
            if not (isinstance(one, dict) and isinstance(one.get("values"), list)):
                yield Unit(place + 1, json.dumps(one) + "\n", Unusable("is no series with values"))
                continue
            labels: Mapping[str, Any] = one["metric"] if isinstance(one.get("metric"), dict) else {}
            endpoint = str(labels.get("instance") or labels.get("pod") or UNKNOWN)
            cluster = self.options.cluster or str(labels.get("job") or labels.get("service") or self.name)
            before: tuple[float, float] | None = None
            for sample in one["values"]:
                place += 1
                at, value = map(finite, sample) if isinstance(sample, list) and len(sample) == 2 else (math.nan,) * 2
                if math.isnan(at) or math.isnan(value) or value < 0.0:
                    yield Unit(
                        place, json.dumps(sample) + "\n", Unusable(f"{shown(str(sample))} is no sample of a counter")
                    )
                    continue
                if before is not None and at > before[0]:
                    seconds = at - before[0]
                    grown = before[1] * seconds if self.options.rates else value - before[1]
                    count = value if grown < 0.0 else grown
                    yield Unit(place, json.dumps(sample) + "\n", Count(before[0], at, count, cluster, endpoint))
                before = at, value


class Counts(Rates):
    """CSV of `period,count`: the beginning of each span, and how many requests came in it."""

    name = "counts"
    unit = "line"

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Lines; a span lasts until the next one begins, the last one as long as the one before it."""
        held: tuple[int, str, float, float] | None = None
        last = math.nan
        for place, raw, line in lines(text(file)):
            period, _, count = line.rpartition(",")
            try:
                at, value = moment(period.strip(), "period"), number(count, "count")
            except Unusable:
                if place > 1:
                    yield Unit(place, raw, Unusable(f"{shown(line)} is not `period,count`"))
                continue
            if value < 0.0 or (held and at <= held[2]):
                why = "its count is below 0" if value < 0.0 else "its period is not after the one above"
                yield Unit(place, raw, Unusable(why))
                continue
            if held is not None:
                last = at - held[2]
                yield Unit(held[0], held[1], Count(held[2], at, held[3], self.cluster, UNKNOWN))
            held = place, raw, at, value
        if held is not None and math.isfinite(last):
            yield Unit(held[0], held[1], Count(held[2], held[2] + last, held[3], self.cluster, UNKNOWN))


class NginxPlus(Rates):
    """Snapshots of NGINX Plus's status API, a JSON object a line: each peer's counter of requests."""

    name = "nginxplus"
    unit = "line"

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """Two snapshots in a row of one peer."""
        before: dict[tuple[str, str], tuple[float, float]] = {}
        for place, raw, line in lines(text(file)):
            try:
                found = json.loads(line)
                at = float(found["timestamp"]) / 1e3
                counts = {
                    (str(name), str(peer["server"])): float(peer["requests"])
                    for name, group in found["upstreams"].items()
                    for peer in (group["peers"] if isinstance(group, dict) else group)
                }
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
                yield Unit(place, raw, Unusable("is no snapshot of the status API"))
                continue
            for key, value in counts.items():
                start, old = before.get(key, (at, value))
                if at > start:
                    cluster = self.options.cluster or key[0]
                    yield Unit(place, raw, Count(start, at, value - old if value >= old else value, cluster, key[1]))
                before[key] = at, value
