"""Shapes of load: how traffic rose and fell somewhere, laid over any scenario, scaled to its length and its load.

A shape is read from a trace (an imported one too), from counts (CSV of period,count, as the World Cup's), from the
answer of Prometheus to a query, or from Mooncake's lines. By default a scenario gets the shape as rates, of which its
arrivals are drawn: the mean rate and the length stay the scenario's own. `exact` takes the arrivals as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.importers.base import Importer, ImportFailed, Options, Unusable, moment, opened
from replay.importers.datasets import Mooncake
from replay.importers.rates import Count, Counts, NginxPlus, Prometheus
from replay.reading import Reader, shown
from replay.scenario import Load, Scenario, ScenarioError
from replay.trace import TraceError, read

Floats = np.ndarray[Any, np.dtype[np.float64]]

STEPS = 1000  # of rates, at most: in a scenario of 300 s each is 0.3 s, less than any fault lasts
EACH = 50  # arrivals a step of what is given by its arrivals: a rate known to a seventh
KEYS = ("file", "from", "to", "exact")  # of a shape in a scenario's file
BAD = 0.5  # share of a file's lines from which on it is no such file


@dataclass(frozen=True, slots=True)
class Shape:
    """`counts` (n,) requests in equal spans of a whole of `seconds`; `due` (m,) the arrivals, where they are known."""

    source: str
    seconds: float
    counts: Floats
    due: Floats | None = None


def shape_of(path: Path, since: float = -math.inf, until: float = math.inf) -> Shape:
    """The shape in a file, between two moments of the wall clock. Raises ScenarioError, which names the file."""
    try:
        if path.is_dir() or path.suffix in (".parquet", ".arrows"):
            trace = read([path])
            times = np.sort(trace.rows["sent_at"][trace.rows["attempt"] == 1]) + trace.header.wall_offset
            return _of_arrivals(str(path), times, since, until)
        path.stat()
        importer = _importer(path, Options(window=(since, until)))
        return _of_file(path, importer, since, until)
    except (ImportFailed, TraceError) as error:
        raise ScenarioError(str(error)) from None
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror or error}") from None


def shaped(scenario: Scenario, shape: Shape, exact: bool = False) -> Scenario:
    """The scenario under this load. Raises ScenarioError where `exact` arrivals are not known, or none are in time."""
    load = scenario.load
    if exact:
        if shape.due is None:
            raise ScenarioError(f"{shape.source}: only counts are known, not the arrivals that `exact` asks for")
        due = shape.due[shape.due < scenario.seconds]
        if not len(due):
            raise ScenarioError(f"{shape.source}: nothing arrives in its first {scenario.seconds:g} s")
        return replace(scenario, load=Load(post_share=load.post_share, work=load.work, due=due.tolist()))
    n = len(shape.counts)
    wanted = mean_rate(scenario)
    rates = shape.counts / shape.counts.mean() * wanted
    steps = tuple((scenario.seconds * i / n, float(rate)) for i, rate in enumerate(rates))
    return replace(scenario, load=Load(rates=steps, post_share=load.post_share, work=load.work))


def asked_for(reader: Reader, scenario: Scenario, item: Any) -> Scenario:
    """The scenario under the shape that its file asks for, by `file` (beside it), `from`, `to` and `exact`.

    What is wrong is kept by the reader.
    """
    given = reader.mapping({"file": item} if isinstance(item, str) else item, "load.shape", KEYS)
    name = reader.text(given, "load.shape", "file", "", needed=isinstance(item, Mapping))
    window = [-math.inf, math.inf]
    for i, key in enumerate(("from", "to")):
        try:
            window[i] = moment(str(given[key]), key) if key in given else window[i]
        except Unusable as error:
            reader.wrong(f"load.shape.{key}", str(error))
    exact = given.get("exact", False)
    if not isinstance(exact, bool):
        reader.wrong("load.shape.exact", f"{shown(exact)} is not true or false")
    if reader.faults:
        return scenario
    try:
        return shaped(scenario, shape_of(Path(reader.where).parent / name, *window), exact)
    except ScenarioError as error:
        reader.wrong("load.shape", str(error))
        return scenario


def mean_rate(scenario: Scenario) -> float:
    """Requests a second that the scenario's own load has, bursts included."""
    load, seconds = scenario.load, scenario.seconds
    if load.due is not None:
        return len(load.due) / seconds
    starts = [min(start, seconds) for start, _ in load.rates]
    total = sum(
        rate * (end - start) for (_, rate), start, end in zip(load.rates, starts, [*starts[1:], seconds], strict=True)
    )
    factor, on, every = load.burst or (1.0, 0.0, 1.0)
    return total / seconds * (1.0 + (factor - 1.0) * on / every)


def _importer(path: Path, options: Options) -> Importer:
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return Counts(options)
    if name.endswith(".json"):
        return Prometheus(options)
    if name.endswith(".jsonl"):
        with opened(path) as file:
            return NginxPlus(options) if b'"upstreams"' in file.readline() else Mooncake(options)
    raise ImportFailed(f"{path}: no shape: a trace, .csv of period,count, .json of query_range or .jsonl is one")


def _of_file(path: Path, importer: Importer, since: float, until: float) -> Shape:
    spans: list[Count] = []
    times: list[float] = []
    bad = total = 0
    first = ""
    with opened(path) as file:
        for unit in importer.units(file, path):
            total += 1
            try:
                value = unit.usable()
                if isinstance(value, Count):
                    spans.append(value)
                else:
                    times += [one.sent_at for one in importer.parse(value)]
            except Unusable as error:
                bad += 1
                first = first or f"{path}: {importer.unit} {unit.place}: {error}"
    if bad > BAD * total:
        raise ImportFailed(f"{first}; with {bad} of {total} {importer.unit}s wrong it is no shape")
    if times:
        return _of_arrivals(str(path), np.sort(np.array(times)), since, until)
    return _of_spans(str(path), spans, since, until)


def _of_arrivals(source: str, times: Floats, since: float, until: float) -> Shape:
    times = times[(times >= since) & (times < until)]
    if len(times) < 2 or times[-1] <= times[0]:
        raise ImportFailed(f"{source}: {len(times)} arrivals are no shape")
    due = times - times[0]
    steps = int(min(max(len(due) // EACH, 1), STEPS))
    counts, _ = np.histogram(due, steps, (0.0, float(due[-1])))
    return Shape(source, float(due[-1]), counts.astype(np.float64), due)


def _of_spans(source: str, spans: list[Count], since: float, until: float) -> Shape:
    kept = [span for span in spans if span.end > since and span.start < until]
    if not kept or sum(span.requests for span in kept) <= 0.0:
        raise ImportFailed(f"{source}: no requests are counted in it" + (", in that time" if spans else ""))
    begin, end = max(since, min(s.start for s in kept)), min(until, max(s.end for s in kept))
    steps = int(min(len(kept), STEPS))
    edges = np.linspace(begin, end, steps + 1)
    counts = np.zeros(steps)
    starts, ends = np.array([s.start for s in kept]), np.array([s.end for s in kept])
    each = np.array([s.requests for s in kept]) / (ends - starts)
    for i in range(steps):
        counts[i] = float(
            (np.clip(np.minimum(ends, edges[i + 1]) - np.maximum(starts, edges[i]), 0.0, None) * each).sum()
        )
    return Shape(source, end - begin, counts)
