"""A scenario run live: its fleet, a gateway with one policy, its load. What the clients saw comes back as arrays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from adaptive import clock
from adaptive.bench.running import Gateway
from adaptive.demo.processes import Process, Processes
from replay import scenario_file
from replay.scenario import Scenario

LEAD = 1.0  # seconds between telling everybody when the scenario begins and its beginning


@dataclass(frozen=True, slots=True)
class Live:
    """One live run; rows as `adaptive.arena.load.ROW`, in the order in which they were due."""

    scenario: str
    policy: str
    seed: int
    warm: float
    timeout: float
    rows: np.ndarray[Any, Any]
    recording: Path  # directory of the recorder
    random_picks: float = 0.0

    def judged(self) -> np.ndarray[Any, Any]:
        """The rows that count."""
        return self.rows[self.rows["due"] >= self.warm]

    def seen(self) -> np.ndarray[Any, Any]:
        """Latencies in seconds, ascending; a failed request counts as the clients' time-out."""
        rows = self.judged()
        return np.sort(np.where(_failed(rows), self.timeout, rows["latency"]))

    def failures(self) -> int:
        """Judged requests that failed."""
        return int(_failed(self.judged()).sum())

    def quantile(self, q: float) -> float:
        """Seconds, by rank."""
        seen = self.seen()
        return float(seen[min(len(seen) - 1, int(q * len(seen)))])


def _failed(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (rows["status"] < 200) | (rows["status"] >= 300)


def settings(scenario: Scenario, policy: str, random_picks: float, ports: list[int], folder: Path) -> dict[str, Any]:
    """The configuration of a gateway that keeps the scenario's rules."""
    rules = scenario.rules
    cluster: dict[str, Any] = {
        "endpoints": [
            {"host": "127.0.0.1", "port": port, "weight": i.weight, "zone": i.zone, "priority": i.priority}
            for port, i in zip(ports, scenario.instances, strict=True)
        ],
        "policy": policy,
        "timeouts": {"connect": f"{rules.connect_timeout}s"},
        "retry_budget": {"ratio": rules.budget[0], "minimum": rules.budget[1], "window": f"{rules.budget[2]}s"},
    }
    if random_picks:
        cluster["random_picks"] = random_picks
    if rules.check_interval:
        cluster["health_check"] = {
            "path": "/health",
            "interval": f"{rules.check_interval}s",
            "timeout": f"{rules.check_timeout}s",
        }
    route = {
        "prefix": "/",
        "cluster": "fleet",
        "timeout": f"{rules.route_timeout}s",
        "attempt_timeout": f"{rules.attempt_timeout}s",
        "retries": rules.retries,
        "retry_statuses": sorted(rules.retry_statuses),
    }
    return {
        "workers": scenario.workers,
        "clusters": {"fleet": cluster},
        "routes": [route],
        "recorder": {"directory": str(folder / "recording")},
    }


async def run(
    scenario: Scenario, policy: str, seed: int, folder: Path, *, random_picks: float = 0.0, **more: Any
) -> Live:
    """Runs one scenario in real time. `more` are keys at the top level of the gateway's configuration.

    Raises NotStarted or Failed where a process does not do its part.
    """
    (found,) = await together(scenario, [(policy, random_picks)], seed, folder, **more)
    return found


async def together(
    scenario: Scenario,
    policies: Sequence[tuple[str, float]],
    seed: int,
    folder: Path,
    first: int = 0,
    luck: int = 0,
    **more: Any,
) -> list[Live]:
    """The same for several policies, each with its share of random picks: side by side, each with a fleet, a gateway
    and a load of its own, all of which begin at the same moment. Their places in the folder count from `first`; another
    `luck` is another chance of what instances do by chance.
    """
    async with AsyncExitStack() as stack:
        stages = []
        for i, (policy, share) in enumerate(policies, first):
            folder_of_its_own = _folder(folder, i, policy)

            def gateway(
                ports: list[int],
                number: int,
                where: Path = folder_of_its_own,
                policy: str = policy,
                share: float = share,
            ) -> Gateway:
                own = of_number(where, number)
                return Gateway(own, {**settings(scenario, policy, share, ports, own), **more})

            stages.append(await stack.enter_async_context(Stage(scenario, gateway, seed, folder_of_its_own, luck)))
        await begin(stages)
        await asyncio.gather(*(stage.load.line() for stage in stages))
    return [left(scenario, side, seed, folder, i) for i, side in enumerate(policies, first)]


async def begin(stages: Sequence[Stage], apart: float = 0.0) -> list[float]:
    """Tells fleets and loads, once all gateways decide, when the scenario begins: each stage's so many seconds after
    the one before. Those times (monotonic).
    """
    await asyncio.gather(*(gateway.deciding() for stage in stages for gateway in stage.gateways))
    now = clock.monotonic() + LEAD
    zeros = [now + apart * i for i in range(len(stages))]
    await asyncio.gather(
        *(one.tell(str(zero)) for stage, zero in zip(stages, zeros, strict=True) for one in (stage.fleet, stage.load))
    )
    return zeros


def of_number(folder: Path, number: int) -> Path:
    """The folder of the gateway of this number; made. The first one's is that of all."""
    own = folder / f"gateway-{number}" if number else folder
    own.mkdir(exist_ok=True)
    return own


class Front(Protocol):
    """A gateway before a fleet, whoever's: an async context manager, within which it listens."""

    @property
    def port(self) -> int:
        """That it listens on."""

    @property
    def pid(self) -> int:
        """Of its first process."""

    async def deciding(self) -> None:
        """Waits until it decides as it will."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Stage:
    """A fleet, the scenario's number of gateways, and a load, ready to begin. An async context manager.

    `front` makes a gateway when the fleet's ports are known: from those, and from its number among them.
    """

    def __init__(
        self, scenario: Scenario, front: Callable[[list[int], int], Front], seed: int, folder: Path, luck: int = 0
    ) -> None:
        self.scenario, self.front, self.seed, self.folder, self.luck = scenario, front, seed, folder, luck
        self.ports: list[int] = []
        self.fleet: Process
        self.load: Process
        self.gateways: list[Front] = []

    @property
    def rows(self) -> Path:
        """Where the load leaves its rows."""
        return self.folder / "rows.npy"

    async def __aenter__(self) -> Self:
        scenario, folder = self.scenario, self.folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "scenario.json"
        path.write_text(json.dumps(scenario_file.to_json(scenario)), encoding="utf-8")
        processes = Processes(folder)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(processes.stop)
            spec = {"scenario": str(path), "seed": self.seed, "luck": self.luck}
            self.fleet = await processes.start("fleet", "adaptive.arena.fleet", spec)
            self.ports = (await self.fleet.line())["ports"]
            for number in range(scenario.gateways):
                self.gateways.append(await stack.enter_async_context(self.front(self.ports, number)))
            spec = {**spec, "ports": [one.port for one in self.gateways], "out": str(self.rows)}
            self.load = await processes.start("load", "adaptive.arena.load", spec)
            await self.load.line()
            self.stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stack.aclose()


def left(scenario: Scenario, side: tuple[str, float], seed: int, folder: Path, place: int) -> Live:
    """What a call of `together` has left in its folder of the policy that stood at this place."""
    policy, share = side
    own = _folder(folder, place, policy)
    rows = np.load(own / "rows.npy", allow_pickle=False)
    timeout = scenario.clients.timeout
    return Live(scenario.name, policy, seed, scenario.warm, timeout, rows, own / "recording", share)


def _folder(folder: Path, place: int, policy: str) -> Path:
    return folder / f"{place}-{policy}"
