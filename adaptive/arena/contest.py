"""Several gateways in one scenario at the same time, each with a fleet and a load of its own.

All meet the same requests with the same work, and the same faults at the same moments of their own time, which begins
a fraction of a second later for each; a noisy machine is noisy for all of them. What the machine itself added is
measured: by how much the loads sent and the fleets answered late, and how busy the processors were.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from adaptive import clock
from adaptive.arena import lateness
from adaptive.arena.live import Front, Stage, begin, of_number
from adaptive.bench.processes import busy, cpu_by_role, spent, usages
from adaptive.bench.running import Gateway
from adaptive.demo.figures import Move
from adaptive.demo.watch import Watch
from replay import scenario_file
from replay.scenario import Scenario

Column = np.ndarray[Any, Any]
CLUSTER = "fleet"
# Seconds between the beginnings of two stages. Were they to begin at once, a request would be due in all of them at the
# same moment, and they would wait for each other's processors each time; so they meet at random.
APART = 0.137
EVERY = 0.5  # seconds between two looks at the gateway's own account of itself
WINDOW = 5  # seconds over which the load that a gateway adds is looked at


@dataclass(frozen=True, slots=True)
class Contender:
    """One gateway of a contest. `make`: from the scenario, its fleet's ports and its folder to the gateway."""

    name: str
    make: Callable[[Scenario, list[int], Path], Front]
    watched: bool = False  # it is ours, and tells of itself


@dataclass
class Watched:
    """What a gateway of ours said of itself; `weights` and `states` have a row for each of `at`."""

    at: list[float] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    states: list[list[str]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shown:
    """One gateway in one scenario. Columns of judged requests, (n,): `due`, `seen` (a failed one counts as the
    time-out) in seconds, `failed`, `status`.
    """

    scenario: str
    name: str
    due: Column
    seen: Column
    failed: Column
    status: Column
    late: float  # how late load or fleet were, whichever was worse (`lateness.worst`), seconds
    busy: float  # share of the processors that was used meanwhile, by everybody
    cpu: Mapping[str, float]  # seconds that the gateway used, by its processes' roles; another's are all "supervisor"
    first: Column  # attempts by second at requests that the fleet had not seen, and further ones
    again: Column
    watched: Sequence[Watched]  # one each gateway of ours; empty for another's

    @property
    def invalid(self) -> str:
        """Why the run does not count; "" where it does."""
        if self.late > lateness.MOST:
            return f"load or fleet were {1e3 * self.late:.1f} ms late at p99, above {1e3 * lateness.MOST:g}"
        return ""

    @property
    def added(self) -> float:
        """Further attempts at the same requests, as a share of the requests."""
        return float(self.again.sum() / max(1, self.first.sum()))

    @property
    def most_added(self) -> float:
        """The same in the worst WINDOW seconds."""
        ones = np.ones(min(WINDOW, len(self.first)))
        first, again = (np.convolve(column, ones, "valid") for column in (self.first, self.again))
        enough = first >= 0.1 * first.max(initial=1.0)  # not of the few seconds in which nothing came
        return float((again[enough] / first[enough]).max(initial=0.0))

    @property
    def each(self) -> float:
        """CPU time of the whole gateway, seconds a request."""
        return sum(self.cpu.values()) / max(1.0, float(self.first.sum()))

    def statuses(self) -> dict[str, int]:
        """Failed requests by what the client got."""
        values, counts = np.unique(self.status[self.failed], return_counts=True)
        return {str(v) if v else "no answer": int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)}

    def attempts(self) -> float:
        """Attempts that reached an instance, a request."""
        return 1.0 + self.added

    def quantile(self, q: float) -> float:
        """Seconds, by rank."""
        return float(np.sort(self.seen)[min(len(self.seen) - 1, int(q * len(self.seen)))])


def configuration(
    scenario: Scenario, ports: Sequence[int], folder: Path, without: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The smallest configuration that a user would write; `without` are switches of its cluster."""
    endpoints = [
        {"host": "127.0.0.1", "port": port, "weight": one.weight, "zone": one.zone, "priority": one.priority}
        for port, one in zip(ports, scenario.instances, strict=True)
    ]
    check = {"path": "/health", "interval": "500ms", "timeout": "300ms"}
    return {
        "clusters": {CLUSTER: {"endpoints": endpoints, "health_check": check, **(without or {})}},
        "routes": [{"prefix": "/", "cluster": CLUSTER, "timeout": f"{scenario.clients.timeout:g}s"}],
        "recorder": {"directory": str(folder / "recording")},
    }


async def run(scenario: Scenario, contenders: Sequence[Contender], seed: int, folder: Path) -> list[Shown]:
    """All contenders in one scenario. Raises NotStarted or Failed where a process does not do its part."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.json").write_text(json.dumps(scenario_file.to_json(scenario)), encoding="utf-8")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        stages = []
        for one in contenders:
            own = folder / one.name.replace(" ", "-").replace("/", "-")

            def front(ports: list[int], number: int, one: Contender = one, own: Path = own) -> Front:
                return one.make(scenario, ports, of_number(own, number))

            stages.append(await stack.enter_async_context(Stage(scenario, front, seed, own)))
        zeros = await begin(stages, APART)
        watching = [
            [asyncio.create_task(_watch(session, each, stage.ports, zero)) for each in stage.gateways if one.watched]
            for one, stage, zero in zip(contenders, stages, zeros, strict=True)
        ]
        await asyncio.sleep(max(0.0, zeros[0] - clock.monotonic()))
        before, idle = [_cpu(stage) for stage in stages], busy()
        await asyncio.gather(*(stage.load.line() for stage in stages))
        used_by = [spent(was, _cpu(stage)) for stage, was in zip(stages, before, strict=True)]
        used = busy() - idle
        share = used.busy / max(1e-9, used.total)
        watched = [[await _ended(task) for task in tasks] for tasks in watching]
        counted = await asyncio.gather(*(stage.fleet.last() for stage in stages))
        return [
            _shown(scenario, one.name, np.load(stage.rows, allow_pickle=False), told, cpu, share, account)
            for one, stage, told, cpu, account in zip(contenders, stages, counted, used_by, watched, strict=True)
        ]


def _shown(
    scenario: Scenario,
    name: str,
    rows: Column,
    told: Mapping[str, Any],
    cpu: Mapping[str, float],
    share: float,
    watched: Sequence[Watched],
) -> Shown:
    judged = rows[rows["due"] >= scenario.warm]
    failed = (judged["status"] < 200) | (judged["status"] >= 300)
    return Shown(
        scenario.name,
        name,
        judged["due"],
        np.where(failed, scenario.clients.timeout, judged["latency"]),
        failed,
        judged["status"],
        max(lateness.worst(judged["due"], judged["late"]), float(told["late"])),
        share,
        cpu,
        np.asarray(told["first"], dtype=float),
        np.asarray(told["again"], dtype=float),
        watched,
    )


def _cpu(stage: Stage) -> dict[str, float]:
    return cpu_by_role(found for gateway in stage.gateways for found in usages(gateway.pid, detailed=False))


async def _watch(session: aiohttp.ClientSession, gateway: Front, ports: list[int], zero: float) -> Watched:
    """Looks again and again, until it is cancelled; then what it saw."""
    assert isinstance(gateway, Gateway)
    watch = Watch(session, gateway.admin, ports, CLUSTER)
    watch.begin = zero
    found = Watched()
    try:
        while True:
            try:
                await watch.look()
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass  # the next look may succeed
            else:
                found.at.append(clock.monotonic() - zero)
                found.weights.append([float(one["weight"]) for one in watch.endpoints])
                found.states.append([str(one["health"]).upper() for one in watch.endpoints])
            await asyncio.sleep(EVERY)
    except asyncio.CancelledError:
        found.moves = list(watch.moves)
        return found


async def _ended(task: asyncio.Task[Watched]) -> Watched:
    task.cancel()
    return await task
