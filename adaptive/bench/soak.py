"""A soak: load, faults and reloads for as long as wanted, while every process of the gateway is looked at each second.

Faults follow one another all the time: an instance fails half its requests, is slow, crashes and comes back, restarts
gracefully; and every RELOAD seconds the configuration changes and is reloaded. Memory counts as PSS where the kernel
tells, because the shared pages of rings and board are then not counted anew in each process that touches them; as RSS
otherwise. Tasks of a process's event loop are not visible from outside; connections, which are what tasks are about
here, are: as descriptors, and as the gateway's own gauges, which must come back to where they were.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adaptive import clock
from adaptive.bench import flat
from adaptive.bench.load import OpenLoop, Result, half_posts
from adaptive.bench.processes import Usage, usages
from adaptive.bench.running import Fleet, Gateway, Origin, ask, configuration

INSTANCES = 5
RELOAD = 10.0
# Of a pooled connection, so that what is open is what is in use, and not the most that was in use in the last minute.
IDLE = {"idle": "1s"}
FAULT = 4.0  # seconds that a fault lasts, and as many of rest
# Seconds in which pools, windows and the model's memory fill, and the ring goes round for the first time, whose pages
# count as they come into use: 33 s at 2,000 a second. A third of a short soak at most.
WARM_UP = 60.0
HEALTH = {"path": "/health", "interval": "500ms", "timeout": "300ms"}
Say = Callable[[str], None]


@dataclass
class Series:
    """Samples of one process, by second of the soak."""

    role: str
    at: array[float] = field(default_factory=lambda: array("d"))
    memory: array[float] = field(default_factory=lambda: array("d"))
    fds: array[float] = field(default_factory=lambda: array("d"))
    threads: array[float] = field(default_factory=lambda: array("d"))

    def add(self, at: float, one: Usage) -> None:
        """Takes one sample."""
        self.at.append(at)
        self.memory.append(one.pss if one.pss is not None else one.rss)
        self.fds.append(one.fds)
        self.threads.append(one.threads)


@dataclass
class Soaked:
    """What was seen. `grown` names what did; `ended` counts processes of the gateway that died, which none may."""

    seconds: float
    load: Result
    series: dict[int, Series]
    judged: dict[tuple[str, int, str], flat.Judged]
    reloads: int
    faults: int
    ended: int
    refused: list[str]

    @property
    def grown(self) -> list[str]:
        """Series that are not flat."""
        return [f"{role} ({pid}): {what}" for (role, pid, what), one in self.judged.items() if not one.flat]

    @property
    def passed(self) -> bool:
        """Whether nothing grew, died or was refused."""
        return not self.grown and not self.ended and not self.refused and bool(self.judged)


async def soak(seconds: float, rate: float, say: Say, warm_up: float | None = None) -> Soaked:
    """Runs it; `say` takes a line now and then."""
    warm_up = min(WARM_UP, seconds / 3) if warm_up is None else warm_up
    with tempfile.TemporaryDirectory(prefix="adaptive-soak-") as name:
        folder = Path(name)
        async with Fleet(INSTANCES) as fleet:
            # Short segments and a small bound, so that rotation and deletion are part of the soak, from its warm-up on.
            recorder = {
                "directory": str(folder / "recordings"), "segment_bytes": "4MiB", "max_bytes": "64MiB",
                "segment_seconds": 5,
            }  # fmt: skip
            settings = configuration(fleet.addresses, recorder=recorder)
            settings["clusters"]["api"]["timeouts"] = IDLE
            async with Gateway(folder, settings) as gateway:
                await gateway.deciding()
                return await _Soak(gateway, fleet, seconds, rate, say).run(warm_up)


class _Soak:
    def __init__(self, gateway: Gateway, fleet: Fleet, seconds: float, rate: float, say: Say) -> None:
        self.gateway, self.fleet, self.seconds, self.say = gateway, fleet, seconds, say
        self.load = OpenLoop(gateway.port, half_posts, rate)
        self.series: dict[int, Series] = {}
        self.reloads = self.faults = 0
        self.refused: list[str] = []
        self.rng = random.Random(0)

    async def run(self, warm_up: float) -> Soaked:
        self.began = clock.monotonic()
        self.load.start()
        jobs = [asyncio.create_task(job()) for job in (self._sample, self._reload, self._break)]
        await asyncio.wait(jobs, timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION)
        for job in jobs:
            job.cancel()
        found = await asyncio.gather(*jobs, return_exceptions=True)
        alive = {one.pid for one in usages(self.gateway.pid, detailed=False)}
        result = await self.load.stop()
        for one in found:
            if isinstance(one, Exception):
                raise one
        return Soaked(
            self.seconds, result, self.series, self._judge(warm_up), self.reloads, self.faults,
            sum(pid not in alive for pid in self.series), self.refused,
        )  # fmt: skip

    def _judge(self, warm_up: float) -> dict[tuple[str, int, str], flat.Judged]:
        judged = {}
        for pid, series in self.series.items():
            first = sum(at < warm_up for at in series.at)
            times = series.at[first:]
            if len(times) < 5:
                continue
            for what, values, bound in (
                ("memory", series.memory, flat.BRAIN_MEMORY if series.role == "brain" else flat.MEMORY),
                ("descriptors", series.fds, flat.DESCRIPTORS),
                ("threads", series.threads, flat.THREADS),
            ):
                judged[series.role, pid, what] = flat.judge(times, values[first:], bound)
        return judged

    async def _sample(self) -> None:
        """Each second, at its own pace."""
        second = 0
        while True:
            second += 1
            await asyncio.sleep(max(0.0, self.began + second - clock.monotonic()))
            at = clock.monotonic() - self.began
            found = usages(self.gateway.pid)
            for one in found:
                self.series.setdefault(one.pid, Series(one.role)).add(at, one)
            if second % 30 == 0:
                result = self.load.result
                sizes = ", ".join(f"{one.role} {one.rss / 2**20:.0f} MiB" for one in found)
                self.say(f"{second} s: {result.done} answered, {result.bad} failed; RSS {sizes}")

    async def _reload(self) -> None:
        """Another weight, time-out and number of routes each time."""
        while True:
            await asyncio.sleep(RELOAD)
            self.reloads += 1
            n = self.reloads
            clusters = {
                "api": {
                    "endpoints": [
                        {"address": address, "weight": 1.0 + (n + i) % 2}
                        for i, address in enumerate(self.fleet.addresses)
                    ],
                    "health_check": HEALTH,
                    "timeouts": IDLE,
                }
            }
            routes = [{"prefix": f"/other/{i}", "cluster": "api"} for i in range(n % 5)]
            self.gateway.write(
                clusters=clusters, routes=[*routes, {"prefix": "/", "cluster": "api", "timeout": f"{2 + n % 2}s"}]
            )
            status, body = await ask(self.gateway.admin, "/-/reload", "POST", seconds=20.0)
            if status >= 300:
                self.refused.append(f"reload {n}: {status} {body[:200].decode(errors='replace')}")

    async def _break(self) -> None:
        """One fault after the other, each on another instance."""
        while True:
            for fault in (self._errors, self._slow, self._crash, self._restart):
                await asyncio.sleep(FAULT)
                self.faults += 1
                await fault(self.rng.choice(self.fleet.origins))

    async def _errors(self, origin: Origin) -> None:
        origin.behave(errors=0.5)
        await asyncio.sleep(FAULT)
        origin.behave()

    async def _slow(self, origin: Origin) -> None:
        origin.behave(delay=0.2, spread=0.2)
        await asyncio.sleep(FAULT)
        origin.behave()

    async def _crash(self, origin: Origin) -> None:
        await origin.kill()
        await asyncio.sleep(FAULT / 2)
        await origin.start()

    async def _restart(self, origin: Origin) -> None:
        await origin.leave()
        await origin.start()


def table(result: Soaked) -> list[str]:
    """The outcome, a line each. Memory in MiB."""
    load = result.load
    lines = [
        f"{result.seconds:.0f} s, {load.sent} requests, {load.bad} failed ({dict(load.failed)}), "
        f"p50 {1e3 * load.quantile(0.5):.1f} ms, p99 {1e3 * load.quantile(0.99):.1f} ms; "
        f"{result.faults} faults, {result.reloads} reloads",
        f"{'process':20}{'what':14}{'first':>9}{'last':>9}{'highest':>9}{'growth':>9}{'bound':>9}",
    ]
    for (role, pid, what), one in result.judged.items():
        unit = 2**20 if what == "memory" else 1
        numbers = "".join(
            f"{number / unit:>9.1f}" for number in (one.first, one.last, one.highest, one.growth, one.bound)
        )
        lines.append(f"{f'{role} ({pid})':20}{what:14}{numbers}{'' if one.flat else '  grows'}")
    if result.ended:
        lines.append(f"{result.ended} processes of the gateway ended")
    lines += result.refused
    return lines
