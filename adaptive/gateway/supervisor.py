"""The supervisor: owns the sockets and the shared memory, keeps the workers and the brain alive, and tells them what is
in force. It touches no request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adaptive import clock
from adaptive.config.errors import ConfigErrors
from adaptive.config.model import Config
from adaptive.config.topology import assign_slots, slot_key, topology
from adaptive.gateway import reload
from adaptive.gateway.boot import BrainBoot, Configuration, Logging, WorkerBoot, encode
from adaptive.gateway.channel import Message
from adaptive.gateway.elsewhere import Elsewhere
from adaptive.gateway.fleet import Fleet, Launch
from adaptive.gateway.listen import Listening
from adaptive.gateway.notify import notify
from adaptive.gateway.overrides import ACTIONS, Override, Overrides
from adaptive.gateway.process import Child
from adaptive.gateway.reload import Capacity, Reloaded
from adaptive.gateway.standing import standing
from adaptive.telemetry.board import Board
from adaptive.telemetry.counters import Counters
from adaptive.telemetry.metrics import Facts, Metrics, Process
from adaptive.telemetry.ring import Ring

log = logging.getLogger(__name__)

# Seconds that a reload waits for every process to confirm; the slowest step is reading thousands of routes.
CONFIRM = 10.0
ANSWER = 2.0  # seconds for the brain to answer a question: twenty ticks
LATE = 1.0  # seconds on top of a drain's own deadline, for the workers to say that it has passed
FLUSH = 8.0  # seconds for the brain to close its recording, whose own bound is some six
EVENTS = 100  # moves of endpoints that are remembered for operators
QUIT = 2.0  # seconds for a worker that has nothing left to do


class Supervisor:
    """The gateway as one thing: what the admin API and the signals act on. `run` serves until it is over."""

    def __init__(self, path: Path, config: Config, launch: Launch, elsewhere: Elsewhere | None = None) -> None:
        """Bind and map everything. Raises AddressError where an address cannot be had, OSError for lack of memory.

        `elsewhere` carries the requests in the place of workers of ours: nothing is bound here then.
        """
        self.path = path
        self.elsewhere = elsewhere
        self.workers = 1 if elsewhere is not None else config.workers
        self.state = "starting"  # serving, draining, stopping
        self.started_at = clock.wall()
        self.configuration = Configuration(config, assign_slots(config, {}), 1)
        self.capacity = Capacity.beyond(config, len(self.configuration.slots))
        bound = [(x.host, x.port) for x in config.listen] if elsewhere is None else []
        self.listening = Listening.open(bound, self.workers)
        self.addresses = self.listening.names() or [x.address for x in config.listen]
        self.board = Board.create(self.capacity.slots, self.capacity.clusters, self.workers)
        self.rings = [Ring.create() for _ in range(self.workers)]
        # Workers look at the board with every request; who has none is told when to look.
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if elsewhere is not None else -1
        self.counters = Counters.create(self.workers, self.capacity.routes)
        self._metrics = Metrics(self.counters)
        self._metrics.configure([route.name for route in config.routes])
        self.overrides = Overrides()
        self.envoys: Message | None = None
        self.events: deque[Message] = deque(maxlen=EVENTS)
        self.reloads = {"success": 0, "failure": 0}
        self.reloaded_at = clock.wall()  # of the configuration in force
        self.reload_errors: tuple[str, ...] = ()  # of the last reload; empty where it succeeded
        self.fleet = Fleet(self, launch)
        self.read: Callable[[Path], Config] = reload.read
        self._begun = False  # the other data plane has been told to start
        self._reloading = asyncio.Lock()
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()

    # What the admin API calls.

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.configuration.config

    @property
    def generation(self) -> int:
        """Its number."""
        return self.configuration.generation

    def readiness(self) -> list[tuple[str, str, str]]:
        """Each check as (name, "+", "-" or "!", detail): passed, failed, or worth a look but not worth the traffic."""
        workers, ready = self.fleet.workers, sum(child.ready for child in self.fleet.workers)
        serving = self.state == "serving"
        brain = self.fleet.brain.ready
        return [
            ("gateway", "+" if serving else "-", self.state),
            (
                f"{self.fleet.role}s",
                "-" if not ready and self.elsewhere is None else "+" if ready == len(workers) else "!",
                f"{ready} of {len(workers)}",
            ),
            *(self.elsewhere.readiness() if self.elsewhere is not None else ()),
            ("brain", "+" if brain else "!", "deciding" if brain else "down; the last snapshot stays in force"),
            (
                "config",
                "!" if self.reload_errors else "+",
                f"the last reload was refused, generation {self.generation} stays in force: "
                + "; ".join(self.reload_errors)
                if self.reload_errors
                else f"generation {self.generation}",
            ),
        ]

    async def clusters(self) -> dict[str, Any]:
        """Every cluster and endpoint: the brain's report, or what the board says without it."""
        answer = await self.fleet.ask("report", ANSWER)
        if answer is not None:
            return {"source": "brain", **answer["report"], **self._elsewhere(), "events": list(self.events)}
        held = self.configuration
        made = topology(held.config, held.slots, held.generation)
        return {**standing(made, self.board, clock.monotonic()), **self._elsewhere(), "events": list(self.events)}

    def _elsewhere(self) -> dict[str, Any]:
        return {"data_plane": self.elsewhere.report()} if self.elsewhere is not None else {}

    async def explain(self, cluster: str, endpoint: str) -> dict[str, Any] | None:
        """Why an endpoint is as it is, and of which Envoys; None where the brain does not answer. KeyError: there is
        no such endpoint.
        """
        if slot_key(cluster, endpoint) not in self.configuration.slots:
            raise KeyError(f"{cluster}/{endpoint}")
        answer = await self.fleet.ask("explain", ANSWER, cluster=cluster, endpoint=endpoint)
        if answer is None:
            return None
        if answer.get("explain") is None:
            raise KeyError(f"{cluster}/{endpoint}")
        nodes = self.elsewhere.report().get("nodes", []) if self.elsewhere is not None else []
        there = {"nodes": [{key: node[key] for key in ("node", "behind")} for node in nodes]} if nodes else {}
        return {**answer["explain"], **there}

    async def metrics(self, accept: str | None) -> tuple[bytes, str]:
        """(body, content type) of the metrics, for an Accept header; rendered in a thread."""
        answer = await self.fleet.ask("report", ANSWER)
        self._metrics.brain(answer["report"] if answer is not None else None)
        if self.elsewhere is not None:
            self._metrics.elsewhere(self.elsewhere.report())
        self._metrics.supervisor(self._facts())
        return await asyncio.to_thread(self._metrics.render, accept)

    def _facts(self) -> Facts:
        lags = self.board.lags()
        workers = [
            Process(f"worker-{i}", child.ready, child.deaths, lag)
            for i, (child, lag) in enumerate(zip(self.fleet.workers, lags, strict=True))
        ]
        return Facts(
            processes=[*workers, Process("brain", self.fleet.brain.ready, self.fleet.brain.deaths)],
            ready=self.state == "serving" and any(child.ready for child in self.fleet.workers),
            draining=self.state == "draining",
            started_at=self.started_at,
            reloads=dict(self.reloads),
            last_reload_ok=not self.reload_errors,
            last_success_at=self.reloaded_at,
        )

    def override(self, cluster: str, endpoint: str, action: str, seconds: float, reason: str) -> bool:
        """Set an endpoint's health by hand; False where it waits for the brain to come back. KeyError as `explain`."""
        key = slot_key(cluster, endpoint)
        slot = self.configuration.slots[key]
        made = Override(ACTIONS[action], clock.monotonic() + seconds, reason)
        self.overrides.put(key, made)
        log.warning("operator: %s %s/%s for %g s: %s", action, cluster, endpoint, seconds, reason or "no reason given")
        return self.fleet.brain.send(made.message(slot))

    async def reload(self) -> Reloaded:
        """Read the file again; put it in force in every process, or keep the old configuration and say why not."""
        async with self._reloading:
            if self.state != "serving":
                return Reloaded(self.generation, (f"the gateway is {self.state}",))
            notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock.monotonic() * 1e6)}")
            errors = await self._reload()
            if self.state == "serving":
                notify("READY=1")
            self.reload_errors = tuple(errors)
            self.reloads["failure" if errors else "success"] += 1
            for error in errors:
                log.error("reload refused: %s", error)
            if not errors:
                self.reloaded_at = clock.wall()
                log.info("configuration %d is in force", self.generation)
            return Reloaded(self.generation, self.reload_errors)

    async def _reload(self) -> list[str]:
        try:
            config = await asyncio.to_thread(self.read, self.path)
        except ConfigErrors as errors:
            return [str(error) for error in errors.errors]
        old = self.configuration
        slots = assign_slots(config, old.slots)
        refused = reload.refusals(old.config, config, slots, self.capacity)
        if refused:
            return refused
        self.configuration = Configuration(config, slots, old.generation + 1)
        self.fleet.announce()
        failed = await self.fleet.confirmed(CONFIRM)
        if failed:
            self.configuration = Configuration(old.config, old.slots, old.generation + 2)
            self.fleet.announce()
            await self.fleet.confirmed(CONFIRM)
            return failed
        self.overrides.keep(slots)
        self._metrics.configure([route.name for route in config.routes])
        return []

    def drain(self) -> None:
        """Fail readiness, let requests end, and exit; does nothing the second time."""
        if self.state in ("starting", "serving"):
            self.state = "draining"
            self._spawn(self._drain())

    async def _drain(self) -> None:
        seconds = self.config.server.timeouts.drain
        log.info("draining for at most %g s", seconds)
        notify("STOPPING=1")
        # The workers accept a moment longer on their own copies, then nothing may keep the port open.
        self.listening.close()
        self.fleet.drain(seconds)
        if self.elsewhere is not None:
            await self.elsewhere.drain(seconds)
        await self.fleet.until(lambda: all(c.drained or not c.ready for c in self.fleet.workers), seconds + LATE)
        self._end(0)

    def stop_now(self) -> None:
        """Stop without waiting for anybody."""
        self.state = "stopping"
        log.warning("stopping at once; requests in flight are cut off")
        self._end(1)

    # Life.

    async def run(self) -> int:
        """Serve until drained (0) or stopped otherwise (1)."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._terminated)
        self.fleet.start()
        self._spawn(reload.watch(self.path, self.reload))
        code = await self._over
        for task in self._tasks:
            task.cancel()
        self.state = "stopping"
        if self.elsewhere is not None:
            await self.elsewhere.stop()
        await self.fleet.stop(QUIT if code == 0 else 0.0, FLUSH if code == 0 else QUIT)
        self.listening.close()
        return code

    def close(self) -> None:
        """Let go of sockets and shared memory. Call it last: the admin API reads them."""
        self.listening.close()
        self.board.close()
        self.counters.close()
        for ring in self.rings:
            ring.close()
        if self.bell >= 0:
            os.close(self.bell)

    def _reopen(self) -> None:
        self.fleet.tell_workers({"type": "reopen"})
        if self.elsewhere is not None:
            self._spawn(self.elsewhere.reopen())

    def _terminated(self) -> None:
        if self.state in ("starting", "serving"):
            self.drain()
        else:
            self.stop_now()

    def _end(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_logged)

    # What the fleet tells.

    def all_ready(self) -> None:
        """Every worker serves, for the first time."""
        if self.elsewhere is not None:
            if not self._begun:
                self._begun = True
                self._spawn(self._begin_elsewhere(self.elsewhere))
        else:
            self._serving()

    async def _begin_elsewhere(self, elsewhere: Elsewhere) -> None:
        reason = await elsewhere.start(self.rings[0].lose)
        if self.state != "starting":
            return
        if reason:
            log.critical("%s", reason)
            self._end(1)
        else:
            self._serving()

    def _serving(self) -> None:
        if self.state == "starting":
            self.state = "serving"
            notify("READY=1")
            log.info("serving on %s", ", ".join(self.addresses))

    def cannot_start(self, child: Child) -> None:
        """A worker dies again and again before it was ever ready."""
        if self.state == "starting":
            log.critical("%s cannot start; see the lines above", child.name)
            self._end(1)

    def worker_died(self, index: int) -> None:
        """Clear what only a living worker can hold."""
        self.board.clear_row(index)
        self.counters.clear_gauges(index)

    def heard(self, child: Child, message: Message) -> None:
        """A message that is no answer: what a process has to tell."""
        if message.get("type") == "elsewhere" and self.elsewhere is not None:
            self.elsewhere.heard(message)
        elif message.get("type") in ("moved", "trust", "drift", "model"):
            self.events.append(message)
        elif message.get("type") == "envoys":
            self.envoys = message
            self.fleet.brain.send(message)
        elif message.get("type") == "announced":
            self.fleet.brain.send(message)
        elif message.get("type") == "log":
            level = logging.getLevelName(str(message.get("level", "INFO")).upper())
            log.log(level if isinstance(level, int) else logging.INFO, "%s: %s", child.name, message.get("message"))

    # What a child is given.

    def worker_boot(self, index: int, channel_fd: int, parent: int, logging_: Logging) -> tuple[str, tuple[int, ...]]:
        """A worker's boot record, encoded, and the descriptors that it inherits."""
        sockets = self.listening.by_worker[index] if self.listening.by_worker else []
        boot = WorkerBoot(
            index=index,
            workers=self.board.workers,
            listeners=tuple((sock.fileno(), listener) for listener, sock in enumerate(sockets)),
            board_fd=self.board.fd,
            ring_fd=self.rings[index].fd,
            counters_fd=self.counters.fd,
            channel_fd=channel_fd,
            parent=parent,
            seed=self.config.model.seed * 1009 + index,  # a prime above the bound of workers: no two seeds meet
            logging=logging_,
            bell_fd=self.bell,
        )
        return encode(boot), boot.fds

    def brain_boot(self, channel_fd: int, parent: int, logging_: Logging) -> tuple[str, tuple[int, ...]]:
        """The brain's boot record, encoded, and the descriptors that it inherits."""
        boot = BrainBoot(
            board_fd=self.board.fd,
            ring_fds=tuple(ring.fd for ring in self.rings),
            channel_fd=channel_fd,
            parent=parent,
            seed=self.config.model.seed,
            logging=logging_,
            bell_fd=self.bell,
        )
        return encode(boot), boot.fds

    def active_overrides(self) -> list[Mapping[str, Any]]:
        """The overrides still in force, as messages to a brain that has just started."""
        slots = self.configuration.slots
        return [o.message(slots[key]) for key, o in self.overrides.active(clock.monotonic()) if key in slots]


def _logged(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a task of the supervisor failed", exc_info=task.exception())
