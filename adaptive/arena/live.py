"""A scenario run live: its fleet, a gateway with one policy, its load. What the clients saw comes back as arrays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptive import clock
from adaptive.bench.running import Gateway
from adaptive.demo.processes import Processes
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
    report: Mapping[str, Any]  # of the gateway, at the end

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
    folder.mkdir(parents=True, exist_ok=True)
    path, out = folder / "scenario.json", folder / "rows.npy"
    path.write_text(json.dumps(scenario_file.to_json(scenario)), encoding="utf-8")
    processes = Processes(folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(processes.stop)
        fleet = await processes.start("fleet", "adaptive.arena.fleet", {"scenario": str(path), "seed": seed})
        ports = (await fleet.line())["ports"]
        gateway = Gateway(folder, {**settings(scenario, policy, random_picks, ports, folder), **more})
        await stack.enter_async_context(gateway)
        await gateway.deciding()
        spec = {"scenario": str(path), "seed": seed, "port": gateway.port, "out": str(out)}
        load = await processes.start("load", "adaptive.arena.load", spec)
        await load.line()
        zero = str(clock.monotonic() + LEAD)
        await asyncio.gather(fleet.tell(zero), load.tell(zero))
        await load.line()
        report = await gateway.report()
    rows = np.load(out, allow_pickle=False)
    return Live(
        scenario.name, policy, seed, scenario.warm, scenario.clients.timeout, rows, folder / "recording", report
    )
