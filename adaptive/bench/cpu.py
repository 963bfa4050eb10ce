"""CPU time per proxied request, of the gateway as a whole and of Envoy and nginx on the same work.

With Envoy as the gateway's data plane, started by it or (xds) by this command, what that Envoy costs is set beside
Envoy alone as well, and how long a decision takes until Envoy has acknowledged it is measured.

Every candidate runs all the time; in each pair each of them in turn gets the same closed-loop load from this process,
in an order that is turned round from pair to pair, so that a machine that warms up or slows down favours nobody. What
counts is user and system time of the candidate's whole tree of processes, from /proc, whose resolution of 10 ms is
1 % of what 30,000 requests cost. The quotients are those of one pair, and their median is robust against one disturbed
pair; the times by themselves depend on the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from adaptive.bench.acks import Acks, acknowledged
from adaptive.bench.load import ClosedLoop, Request, browser, varied
from adaptive.bench.peers import Edge, Envoy, Nginx, Peer
from adaptive.bench.processes import cpu_by_role, spent, usages
from adaptive.bench.running import Gateway, Origin, configuration, free_port

CONNECTIONS = 32
WARM_UP = 2000  # requests that open the connections and fill the caches, for each candidate
# Seconds after the first outcomes at which the brain has learned for the first time: its labels
# come one horizon (2 s) later. The start is not what a request costs.
SETTLE = 5.0
HEADERS: dict[str, Request] = {"same": browser, "varied": varied}
# Seconds of rest after each turn: what the candidate does a little later, such as the brain's next ticks and the
# recorder's next second, is on its account as well.
REST = 1.2
Say = Callable[[str], None]


@dataclass
class Measured:
    """CPU microseconds per request, one number a pair; and the shares of the gateway's own processes."""

    costs: dict[str, list[float]] = field(default_factory=dict)
    roles: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)  # requests, by candidate
    failures: dict[str, str] = field(default_factory=dict)  # the first of each
    acks: Acks | None = None

    def median(self, name: str) -> float:
        """Microseconds."""
        return statistics.median(self.costs[name])

    def ratio(self, name: str) -> float:
        """The gateway's cost over a peer's: the median of the pairs' quotients."""
        pairs = zip(self.costs["adaptive"], self.costs[name], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def steered(self) -> float:
        """The cost of the Envoy that is steered over that of Envoy alone, likewise."""
        pairs = zip(self.roles["envoy"], self.costs["envoy"], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


async def measure(pairs: int, requests: int, headers: str, say: Say, data_plane: str = "embedded") -> Measured:
    """Runs the comparison; `say` takes a line for each pair."""
    result = Measured()
    make = HEADERS[headers]
    with tempfile.TemporaryDirectory(prefix="adaptive-bench-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            origin = Origin(2)
            stack.push_async_callback(origin.kill)
            await origin.start()
            candidates: dict[str, Gateway | Peer] = {}
            settings = configuration(origin.addresses, recorder={"directory": str(folder / "recordings")})
            if data_plane == "xds":
                settings["envoy"] = {"service": f"127.0.0.1:{free_port()}"}
            gateway = Gateway(folder, settings, ("--data-plane", data_plane))
            candidates["adaptive"] = await stack.enter_async_context(gateway)
            edge = await stack.enter_async_context(Edge(folder, gateway)) if data_plane == "xds" else None
            for kind in (Envoy, Nginx):
                peer = kind(folder, origin.addresses)
                if why := peer.missing():
                    result.skipped[peer.name] = why
                else:
                    candidates[peer.name] = await stack.enter_async_context(peer)
            await gateway.deciding()
            trees = {name: [candidate.pid] for name, candidate in candidates.items()}
            if edge is not None:
                trees["adaptive"].append(edge.pid)
            for rest in (SETTLE, 0.0):
                for candidate in candidates.values():
                    await ClosedLoop(candidate.port, make, WARM_UP, CONNECTIONS).run()
                await asyncio.sleep(rest)
            for pair in range(pairs):
                order = list(candidates)
                if pair % 2:
                    order.reverse()
                for who in order:
                    await _turn(who, candidates[who].port, trees[who], make, requests, result)
                say(_line(pair + 1, result, order))
            if data_plane != "embedded":
                result.acks = await acknowledged(gateway, origin.addresses)
    return result


async def _turn(name: str, port: int, trees: list[int], make: Request, requests: int, result: Measured) -> None:
    """One candidate's share of one pair: what is spent by all that descends from these processes."""

    def used() -> dict[str, float]:
        return cpu_by_role(one for pid in trees for one in usages(pid, detailed=False))

    before = used()
    done = await ClosedLoop(port, make, requests, CONNECTIONS).run()
    await asyncio.sleep(REST)
    if done.bad:
        result.failed[name] = result.failed.get(name, 0) + done.bad
        result.failures.setdefault(name, done.failures[0])
    micro = {role: 1e6 * seconds / requests for role, seconds in spent(before, used()).items()}
    result.costs.setdefault(name, []).append(sum(micro.values()))
    if name == "adaptive":
        for role, cost in micro.items():
            result.roles.setdefault(role, []).append(cost)


def _line(pair: int, result: Measured, order: list[str]) -> str:
    latest = {name: costs[-1] for name, costs in result.costs.items()}
    parts = [f"{name} {latest[name]:.1f}" for name in result.costs]
    ratios = [f"x{latest['adaptive'] / latest[name]:.2f} of {name}" for name in latest if name != "adaptive"]
    return f"pair {pair}: µs of CPU per request: {', '.join(parts + ratios)} (order {' '.join(order)})"


def table(result: Measured) -> list[str]:
    """The outcome, a line each."""
    lines = [f"{'':12}{'µs/request':>12}{'adaptive / it':>16}"]
    for name in result.costs:
        ratio = "" if name == "adaptive" else f"{result.ratio(name):.2f}"
        lines.append(f"{name:12}{result.median(name):>12.1f}{ratio:>16}")
    whole = result.median("adaptive")
    shares = [
        f"{role} {statistics.median(costs):.1f} ({statistics.median(costs) / whole:.0%})"
        for role, costs in result.roles.items()
    ]
    lines.append(f"of adaptive: {', '.join(shares)}")
    if "envoy" in result.roles and "envoy" in result.costs:
        lines.append(f"the Envoy that is steered / Envoy alone: {result.steered():.2f}")
    if result.acks is not None:
        lines.append(str(result.acks))
    lines += [f"{name} was skipped: {why}" for name, why in result.skipped.items()]
    for name, count in result.failed.items():
        lines.append(f"{count} requests through {name} failed, and these figures are worth nothing:")
        lines.append(f"  {result.failures[name]}")
    return lines
