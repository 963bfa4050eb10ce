"""The brain's process: an event loop around the Controller, which decides everything and touches nothing.

Each tick it drains the workers' rings, tells the Controller what was seen and that time has passed, and carries out the
commands. What goes wrong in a decision ends the process: the supervisor starts another, and until then the last
snapshot stays in force.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import uvloop

from adaptive import clock
from adaptive.announcement import LIFETIME
from adaptive.config.topology import topology
from adaptive.gateway import parent
from adaptive.gateway.boot import BrainBoot, Configuration
from adaptive.gateway.channel import Channel, Message, open_channel
from adaptive.gateway.health import HealthChecks
from adaptive.gateway.modelwatch import EVERY, ModelWatch
from adaptive.gateway.names import Names
from adaptive.model_events import ModelMoved
from adaptive.telemetry.board import Board
from adaptive.telemetry.durations import Durations
from adaptive.telemetry.ring import Ring
from adaptive.types import (
    Announced,
    Command,
    Drifted,
    Event,
    Health,
    InFlightSeen,
    Moved,
    ObserverSeen,
    OutcomesSeen,
    Overridden,
    Publish,
    Reconfigured,
    Snapshot,
    Tick,
    Topology,
    TrustChanged,
)

log = logging.getLogger(__name__)

# Rows of one ring that one tick takes: thirty times what comes at 5,000 a second. The backlog that a dead brain leaves
# is worked off in a few ticks, none of which takes long.
ROWS = 16_384


class Controller(Protocol):
    """What the shell needs of the Controller."""

    def handle(self, event: Event) -> list[Command]: ...
    def report(self) -> dict[str, Any]: ...
    def explain(self, cluster: str, address: str) -> dict[str, Any]: ...


class Recorder(Protocol):
    """What the shell needs of the recorder."""

    def write(self, rows: Any, topology: Topology) -> None: ...
    def tick(self, now: float) -> None: ...
    def close(self, seconds: float = ...) -> None: ...
    def report(self) -> dict[str, Any]: ...
    def name(self, nodes: tuple[str, ...]) -> None: ...


class EventLog(Protocol):
    """What the shell needs of the event log."""

    def begin(self, at: float, topology: Topology, settings: Any, resumed: Snapshot | None) -> None: ...
    def event(self, event: Event) -> None: ...
    def commands(self, commands: list[Command]) -> None: ...
    def close(self, seconds: float = ...) -> None: ...
    def report(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The concrete classes, as the composition root chose them.

    `controller` makes one for a topology, going on from what the board holds; `recorder` gives the one to be used from
    a configuration on, or None where nothing is to be recorded; `events` an event log, likewise.
    """

    controller: Callable[[Topology, Configuration, Board], Controller]
    recorder: Callable[[Configuration], Recorder | None]
    events: Callable[[Configuration], EventLog | None] = lambda configuration: None


class Brain:
    """The shell of the brain."""

    def __init__(self, boot: BrainBoot, parts: Parts) -> None:
        self.boot = boot
        self.parts = parts
        self.board = Board.attach(boot.board_fd)
        self.rings = [Ring.attach(fd) for fd in boot.ring_fds]
        self.ticks = Durations()
        self.overruns = 0  # ticks that took longer than a tick may
        self.recorder: Recorder | None = None
        self.nodes: tuple[str, ...] = ()  # Envoys by their number in a row
        self.events: EventLog | None = None
        self.controller: Controller | None = None
        self.topology: Topology | None = None
        self.configuration: Configuration | None = None
        self.channel: Channel | None = None
        self.models: ModelWatch | None = None
        self.names = Names()
        self._noting: set[asyncio.Task[None]] = set()  # decisions on models on their way to the store
        # What is news is counted from here on: a brain that takes over is not blinded by what happened before it.
        self._lags = self.board.lags()
        self._lost = sum(ring.lost for ring in self.rings)

    async def run(self) -> int:
        """Decide until told to stop."""
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self.health = HealthChecks(self._handle, self.boot.seed)
        self.channel = await open_channel(self.boot.channel_fd, self._message, self._stop)
        tasks = [loop.create_task(work) for work in (self._tick_on(), self._watch_models(), self.names.run())]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        try:
            await self.over
        finally:
            for task in tasks:
                task.cancel()
            self.health.close()
            self._finish()
        return 0

    def _stop(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.over.done():
            self.over.set_exception(error)

    def _finish(self) -> None:
        """Record what the workers left behind, and close the recording."""
        if self.recorder is not None and self.topology is not None:
            for ring in self.rings:
                self.recorder.write(ring.drain(ring.capacity), self.topology)
            self.recorder.tick(clock.monotonic())
            self.recorder.close(2.0)
        if self.events is not None:
            self.events.close()

    # Time.

    async def _tick_on(self) -> None:
        due = clock.monotonic()
        while True:
            length = self.configuration.config.model.tick if self.configuration is not None else 0.1
            due += length
            await asyncio.sleep(max(0.0, due - clock.monotonic()))
            now = clock.monotonic()
            if self.controller is not None:
                self.turn(now, max(0.0, now - due))
            took = clock.monotonic() - now
            if self.controller is not None:
                self.ticks.add(took)
            if took > length:
                self.overruns += 1
            if clock.monotonic() > due + length:
                due = clock.monotonic()  # ticks that were missed are not made up for: time only counts once

    async def _watch_models(self) -> None:
        """Tells the Controller what the store's names have come to stand for. Files are read in a thread."""
        while True:
            watch = self.models
            if watch is not None:
                for event in await asyncio.to_thread(watch.poll):
                    if watch is self.models:
                        self._handle(dataclasses.replace(event, at=clock.monotonic()))
            await asyncio.sleep(EVERY)

    def turn(self, now: float, late: float) -> None:
        """One tick at `now`, which comes `late` seconds after it was due."""
        assert self.controller is not None and self.topology is not None
        seen = [rows for ring in self.rings if len(rows := ring.drain(ROWS))]
        lags = self.board.lags()
        lag = max([late, *(new - old for new, old in zip(lags, self._lags, strict=True))])
        lost = sum(ring.lost for ring in self.rings)
        if self.recorder is not None:
            for rows in seen:
                self.recorder.write(rows, self.topology)
            self.recorder.tick(now)
        self._handle(ObserverSeen(now, lag, lost - self._lost))
        self._lags, self._lost = lags, lost
        for rows in seen:
            self._handle(OutcomesSeen(now, rows))
        in_flight, oldest = self.board.live()
        slots = self.topology.slots
        self._handle(InFlightSeen(now, in_flight[:slots], oldest[:slots]))
        self._handle(Tick(now))

    # Commands.

    def _handle(self, event: Event) -> None:
        if self.controller is None:
            return
        if self.events is not None:  # before the Controller, which may keep what it is told
            self.events.event(event)
        commands = self.controller.handle(event)
        if self.events is not None:
            self.events.commands(commands)
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Publish):
            self.board.publish(command.snapshot)
            if self.boot.bell_fd >= 0:
                os.eventfd_write(self.boot.bell_fd, 1)
        elif isinstance(command, Moved):
            before, after = command.before.name, command.after.name
            log.warning(
                "%s: %s → %s: %s",
                command.endpoint,
                before,
                after,
                command.reason,
                extra={"endpoint": str(command.endpoint), "before": before, "after": after},
            )
            self._send(
                {
                    "type": "moved",
                    "at": command.at,
                    "cluster": command.endpoint.cluster,
                    "endpoint": command.endpoint.address,
                    "before": before,
                    "after": after,
                    "reason": command.reason,
                }
            )
        elif isinstance(command, ModelMoved):
            who = command.version or "the default model"
            log.warning("model %s %s: %s", who, command.deed, command.reason, extra={"model": who})
            told = {"deed": command.deed, "version": command.version, "reason": command.reason}
            self._send({"type": "model", "at": command.at, **told})
            if command.decided and self.models is not None:
                task = asyncio.get_running_loop().create_task(asyncio.to_thread(self.models.carry_out, command))
                self._noting.add(task)
                task.add_done_callback(self._noting.discard)
        elif isinstance(command, Drifted):
            log.warning("drift in %s: %s", command.cluster or "every cluster", command.what)
            self._send({"type": "drift", "at": command.at, "cluster": command.cluster, "what": command.what})
        elif isinstance(command, TrustChanged):
            who = "the model-free policy decides" if command.fallback else "the model decides"
            log.info("%s: %s: %s", command.cluster, who, command.reason, extra={"cluster": command.cluster})
            self._send(
                {
                    "type": "trust",
                    "at": command.at,
                    "cluster": command.cluster,
                    "fallback": command.fallback,
                    "reason": command.reason,
                }
            )

    # Messages.

    def _send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)

    def _message(self, message: Message) -> None:
        try:
            self._obey(message)
        except Exception as error:
            if not self.over.done():
                self.over.set_exception(error)

    def _obey(self, message: Message) -> None:
        kind = message["type"]
        if kind == "configure":
            generation = message["generation"]
            try:
                self.configure(Configuration.of(message), clock.monotonic())
            except (OSError, ValueError) as error:  # files for TLS that cannot be used any more
                self._send({"type": "failed", "generation": generation, "error": str(error)})
            else:
                self._send({"type": "configured", "generation": generation})
        elif kind == "override":
            health = None if message["health"] is None else Health(message["health"])
            self._handle(
                Overridden(clock.monotonic(), message["slot"], health, message["until"], str(message["reason"]))
            )
        elif kind == "announced":
            now = clock.monotonic()
            self._handle(Announced(now, message["slot"], message["share"], message["most"], now + LIFETIME))
        elif kind == "envoys":
            self._name(tuple(message["names"]))
        elif kind == "report":
            self._send({"type": "report", "id": message["id"], "report": self.report()})
        elif kind == "explain":
            self._send({"type": "explain", "id": message["id"], "explain": self._explain(message)})
        elif kind == "stop":
            self._stop()

    def _name(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        if self.recorder is not None:
            self.recorder.name(nodes)

    def configure(self, configuration: Configuration, now: float) -> None:
        """Put a configuration in force. Endpoints that stay keep what is known of them, unless the model's own
        settings changed, which begins anew. Raises OSError or ValueError, and changes nothing, as `HealthChecks` does.
        """
        self.health.configure(configuration.config, configuration.slots)
        self.names.configure(configuration.config)
        before = self.configuration
        made = topology(configuration.config, configuration.slots, configuration.generation)
        if self.controller is None or before is None or before.config.model != configuration.config.model:
            # Under the topology of the snapshot on the board, so that it goes on from there; the new one follows.
            under = self.topology or made
            self.controller = self.parts.controller(under, configuration, self.board)
            self._begin_log(under, configuration, now)
            directory = configuration.config.model.store
            self.models = ModelWatch(directory) if directory is not None else None
        elif before.config.event_log != configuration.config.event_log and configuration.config.event_log is None:
            self._end_log()
        self.configuration, self.topology = configuration, made
        self.recorder = self.parts.recorder(configuration)
        self._name(self.nodes)
        self._handle(Reconfigured(now, made))
        if before is None:
            gc.collect()
            gc.freeze()
            self._send({"type": "ready"})

    def _begin_log(self, under: Topology, configuration: Configuration, now: float) -> None:
        """A log of the Controller that was just made: one can only be told again from its beginning."""
        self._end_log()
        self.events = self.parts.events(configuration)
        if self.events is not None:
            self.events.begin(now, under, configuration.config.model, self.board.read())

    def _end_log(self) -> None:
        if self.events is not None:
            self.events.close()
            self.events = None

    def report(self) -> dict[str, Any]:
        """The Controller's report, and of the shell what the metrics show."""
        found = self.controller.report() if self.controller is not None else {}
        self.names.tell(found)
        return {
            **found,
            "brain": {
                "ring_lost": [ring.lost for ring in self.rings],
                "snapshot": self.board.version(),
                "ticks": self.ticks.report(),
                "overruns": self.overruns,
                "models_refused": self.models.refused if self.models is not None else None,
                "recorder": self.recorder.report() if self.recorder is not None else None,
                "event_log": self.events.report() if self.events is not None else None,
            },
        }

    def _explain(self, message: Message) -> dict[str, Any] | None:
        if self.controller is None:
            return None
        try:
            return self.controller.explain(str(message["cluster"]), str(message["endpoint"]))
        except KeyError:
            return None


def run(boot: BrainBoot, parts: Parts) -> int:
    """Run the brain until it is told to stop; returns its exit code."""
    parent.follow(boot.parent)
    parent.leave_signals_to_the_supervisor()
    return uvloop.run(Brain(boot, parts).run())
