"""All that is measured as one Prometheus exposition, in the supervisor.

The workers' counters are read where they lie; of the brain's report and the supervisor's facts the last one handed in
counts. `render` takes milliseconds to hundreds of them: call it in a thread (`asyncio.to_thread`). Everything it needs
is read through references that are replaced as wholes, so no lock is needed.

Labels are bounded: routes by the counters' bound, endpoints by `endpoints`; what is beyond is added up under "other".
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from adaptive.telemetry import brain_metrics, envoy_metrics
from adaptive.telemetry.brain_metrics import Report
from adaptive.telemetry.counters import BLOCK, BOUNDS, COUNTERS, DURATION_SUM, DURATIONS, REQUESTS, Counters
from adaptive.telemetry.families import OTHER, Families
from adaptive.version import __version__

# An endpoint costs some 30 series: 1,000 of them are what one Prometheus target may well have.
ENDPOINTS = 1000
NO_ROUTE = "none"
_CLASSES = ("client_gone", "1xx", "2xx", "3xx", "4xx", "5xx")


@dataclass(frozen=True, slots=True)
class Process:
    """One child of the supervisor."""

    name: str  # "brain", "worker-0"
    up: bool
    restarts: int = 0
    lag: float | None = None  # seconds by which its loop ran late, summed


@dataclass(frozen=True, slots=True)
class Facts:
    """What the supervisor itself knows. Times are wall-clock seconds."""

    processes: Sequence[Process] = ()
    ready: bool = False
    draining: bool = False
    started_at: float = math.nan
    reloads: Mapping[str, int] = field(default_factory=dict)  # by result: "success", "failure"
    last_reload_ok: bool = True
    last_success_at: float = math.nan


class _Epoch(NamedTuple):
    """Since when route indices have had their present meaning; replaced as a whole."""

    routes: tuple[str, ...]
    since: list[list[int]]  # each block's words at that moment
    earned: dict[str, list[int]]  # by name, what a route had counted before


class Metrics(Collector):
    """Collects on demand; `configure`, `brain` and `supervisor` say what to collect."""

    def __init__(self, counters: Counters, endpoints: int = ENDPOINTS) -> None:
        self._counters = counters
        self._endpoints = endpoints
        self._epoch = _Epoch((), [[0] * BLOCK for _ in range(counters.routes + 2)], {})
        self._report: Report | None = None
        self._elsewhere: Report | None = None
        self._facts = Facts()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def configure(self, routes: Sequence[str]) -> None:
        """The names of the routes, by index. A route that moves to another index takes its counts along."""
        names = tuple(routes)
        if names == self._epoch.routes:
            return
        blocks = self._blocks()
        keep = {*names[: self._counters.routes], OTHER, NO_ROUTE}
        earned = {name: words for name, words in self._by_route(blocks).items() if name in keep}
        self._epoch = _Epoch(names, blocks, earned)

    def brain(self, report: Report | None) -> None:
        """The brain's last report; None: there is no brain, and what it measures is left out."""
        self._report = report

    def elsewhere(self, report: Report) -> None:
        """What is known of another data plane in the place of our workers."""
        self._elsewhere = report

    def supervisor(self, facts: Facts) -> None:
        """The supervisor's own state."""
        self._facts = facts

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """(body, content type) for an Accept header: OpenMetrics where it is asked for, else Prometheus text."""
        try:
            encode, content_type = choose_encoder(accept or "")
        except (ValueError, TypeError):  # a version that is no version
            encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All families; called by the registry."""
        out = Families()
        _process(out, self._facts)
        self._workers(out)
        out.gauge("brain_reporting", "1 while the brain answers.", self._report is not None)
        if self._report is not None:
            brain_metrics.add(out, self._report, self._endpoints)
        if self._elsewhere is not None:
            envoy_metrics.add(out, self._elsewhere)
        yield from out

    def _workers(self, out: Families) -> None:
        for counter, value in zip(COUNTERS, self._counters.totals(), strict=False):
            (out.gauge if counter.gauge else out.counter)(counter.metric, counter.help, value, **dict(counter.labels))
        for name, words in self._by_route(self._blocks()).items():
            for kind, count in zip(_CLASSES, words[REQUESTS:DURATIONS], strict=True):
                out.counter(
                    "requests", "Requests finished, by class of the answer.", count, route=name, code_class=kind
                )
            counts, running = [], 0
            for count in words[DURATIONS:DURATION_SUM]:
                running += count
                counts.append(running)
            text = "Seconds from a request's first byte to the answer's last."
            out.histogram("request_duration_seconds", text, BOUNDS, counts, words[DURATION_SUM] / 1e6, route=name)

    def _blocks(self) -> list[list[int]]:
        totals = self._counters.totals()
        starts = range(len(COUNTERS), len(COUNTERS) + (self._counters.routes + 2) * BLOCK, BLOCK)
        return [totals[start : start + BLOCK] for start in starts]

    def _by_route(self, blocks: list[list[int]]) -> dict[str, list[int]]:
        """Each route's words: what it earned at earlier indices, and at its own since it has it."""
        epoch, bound = self._epoch, self._counters.routes
        named = epoch.routes[:bound]
        names = [*named, *[OTHER] * (bound - len(named) + 1), NO_ROUTE]
        sums: dict[str, list[int]] = {}
        for name, now, since in zip(names, blocks, epoch.since, strict=True):
            base = sums.get(name) or epoch.earned.get(name) or [0] * BLOCK
            sums[name] = [b + n - s for b, n, s in zip(base, now, since, strict=True)]
        return sums


def _process(out: Families, facts: Facts) -> None:
    out.gauge("build_info", "This build.", 1, version=__version__, python=platform.python_version())
    out.gauge("ready", "1 while the gateway takes traffic.", facts.ready)
    out.gauge("draining", "1 while the gateway finishes what it has.", facts.draining)
    if not math.isnan(facts.started_at):
        out.gauge("start_time_seconds", "When the gateway started, since the epoch.", facts.started_at)
    for process in facts.processes:
        out.gauge("process_up", "1 while a process runs.", process.up, process=process.name)
        text = "Times that a process was replaced because it died."
        out.counter("process_restarts", text, process.restarts, process=process.name)
        if process.lag is not None:
            text = "Seconds by which a process's event loop ran late."
            out.counter("process_loop_lag_seconds", text, process.lag, process=process.name)
    for result in ("success", "failure"):
        out.counter("config_reloads", "Reloads of the configuration.", facts.reloads.get(result, 0), result=result)
    out.gauge("config_last_reload_successful", "1 where the last reload succeeded.", facts.last_reload_ok)
    if not math.isnan(facts.last_success_at):
        text = "When a configuration was last taken over, since the epoch."
        out.gauge("config_last_reload_success_timestamp_seconds", text, facts.last_success_at)
