"""What the gateway under test says of itself, read from its admin API."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp

from adaptive import clock
from adaptive.demo.figures import Move
from adaptive.demo.gateways import CLUSTER

EVERY = 0.5  # seconds between two looks
REMEMBERED = 500  # moves, most, and changes of trust; a demo has some thirty
SHIFT = 0.3  # seconds by which `since` must shift to tell of a move: it is as old as the answer that brings it
SAME = 2.0  # seconds within which the same move for the same reason is told again, not made again


class Watch:
    """Polls /clusters, and /explain for an endpoint that moved. `begin` is the monotonic time of the load's zero."""

    def __init__(self, session: aiohttp.ClientSession, port: int, endpoints: list[int], name: str = CLUSTER) -> None:
        self.name = name  # the cluster's
        self.session, self.base = session, f"http://127.0.0.1:{port}"
        self.index = {f"127.0.0.1:{number}": i for i, number in enumerate(endpoints)}
        self.begin = math.inf
        self.cluster: dict[str, Any] = {}
        self.endpoints: list[dict[str, Any]] = []  # in the order of the instances
        self.moves: list[Move] = []
        # (when, "model" or "fallback", why) whenever one of these changes
        self.trust: list[tuple[float, str, str]] = []
        self.predictions: list[list[tuple[float, float]]] = [[] for _ in endpoints]
        self._since: dict[str, float] = {}

    async def ready(self) -> bool:
        """Whether workers and brain are up."""
        try:
            async with self.session.get(f"{self.base}/readyz?verbose") as response:
                return response.status == 200 and "[+]brain" in await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.look()
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass  # the next look may succeed; the picture shows the last
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """One look."""
        report = await self._get("/clusters")
        if report.get("source") != "brain":
            return
        at = clock.monotonic()
        cluster = next(c for c in report["clusters"] if c["name"] == self.name)
        mode, why = str(cluster["mode"]), str(cluster["reason"])
        if not self.trust or self.trust[-1][1:] != (mode, why):
            self.trust = [*self.trust, (at - self.begin, mode, why)][-REMEMBERED:]
        found = {e["address"]: e for e in cluster["endpoints"] if e["address"] in self.index}
        self.cluster = cluster
        self.endpoints = [found[address] for address in self.index]
        for address, endpoint in found.items():
            probability = endpoint["probability"]  # None: the model abstains, or is not trusted yet
            if probability is not None:
                self.predictions[self.index[address]].append((at - self.begin, float(probability)))
            began = at - endpoint["since"]
            if began > self._since.setdefault(address, began) + SHIFT:
                self._since[address] = began
                await self._history(address)

    @property
    def modes(self) -> list[tuple[float, str, str]]:
        """`trust`, but only where the mode changes; the first entry is where it began."""
        return [entry for i, entry in enumerate(self.trust) if i == 0 or entry[1] != self.trust[i - 1][1]]

    def distrust(self, at: float) -> str:
        """Why the model did not decide at a moment; empty where it did."""
        _, mode, why = next(
            (entry for entry in reversed(self.trust) if entry[0] <= at), (0.0, "fallback", "no data yet")
        )
        return "" if mode == "model" else why

    async def _history(self, address: str) -> None:
        """Notes the moves of one endpoint that are new."""
        index = self.index[address]
        found = await self._get("/explain", cluster=self.name, endpoint=address)
        at = clock.monotonic() - self.begin
        for entry in found["history"]:
            move = Move(at - entry["seconds_ago"], index, entry["from"], entry["to"], entry["reason"])
            if not any(move[1:] == known[1:] and abs(move.at - known.at) < SAME for known in self.moves):
                self.moves.append(move)
        self.moves = sorted(self.moves)[-REMEMBERED:]

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        async with self.session.get(self.base + path, params=query) as response:
            response.raise_for_status()
            found: dict[str, Any] = await response.json()
            return found
