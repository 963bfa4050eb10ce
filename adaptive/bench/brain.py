"""What the brain costs: CPU time per outcome of a real brain process, and how long a tick over many endpoints takes.

The process is the one that the supervisor starts, with its board, its ring and its recorder; this process plays the
worker that fills the ring. All of the brain's CPU time counts, its fixed cost of ten ticks a second too. For ticks by
themselves the same shell runs inside this process, paced as in life so that the caches are as cold, and each turn is
timed: by the clock, which on a shared machine includes the time that others took, and in CPU time.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptive import clock
from adaptive.bench.processes import usage
from adaptive.bench.running import NotStarted, configuration, end
from adaptive.config.model import Config
from adaptive.config.topology import assign_slots
from adaptive.gateway.boot import BrainBoot, Configuration, encode
from adaptive.gateway.channel import Channel, open_channel
from adaptive.gateway.process import environment, python
from adaptive.telemetry.board import Board
from adaptive.telemetry.ring import Ring
from adaptive.types import Cause, Mark

MANY = 1000  # endpoints of the second part
STEP = 0.01  # seconds between two portions of outcomes
# Seconds before anything counts: numpy is loaded, windows filled, the model begun.
WARM_UP = 3.0
ERRORS = 0.01  # share of outcomes that are 500s
ILL = 0.1  # share of endpoints that fail half their attempts: a brain has most to do when something is wrong
_MEDIAN = 0.02  # seconds; latencies are log-normal about it, with sigma 0.5


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds per outcome, of the whole and of what the ticks alone cost without outcomes."""

    outcomes: int
    each: float
    idle: float  # share of a core, with no outcomes at all
    busy: float  # share of a core
    lost: int


@dataclass(frozen=True, slots=True)
class Ticks:
    """Seconds of each tick, by the clock and in CPU time."""

    wall: list[float]
    cpu: list[float]


class Feed:
    """Writes outcomes as a worker would."""

    def __init__(self, ring: Ring, board: Board, slots: list[int], seed: int = 0) -> None:
        self.ring, self.board, self.slots = ring, board, slots
        self.rng = random.Random(seed)
        ill = max(1, round(ILL * len(slots)))
        self.ill = frozenset(slots[:ill])
        self.number = 0

    def put(self, count: int, now: float) -> None:
        """`count` outcomes that end now, and live counts to go with them."""
        rng, put = self.rng, self.ring.put
        nan = math.nan
        marks = int(Mark.REPEATABLE | Mark.FINAL)
        for _ in range(count):
            self.number += 1
            slot = self.slots[rng.randrange(len(self.slots))]
            latency = rng.lognormvariate(math.log(_MEDIAN), 0.5)
            bad = rng.random() < (0.5 if slot in self.ill else ERRORS)
            put(
                now - latency, now, now, self.number, 0, 200, slot, 0, 1, 1.0, 0.0, nan, nan, 0, 0,
                500 if bad else 200, 1, int(Cause.RESPONSE), marks, 0,
            )  # fmt: skip
        live, oldest = self.board.live_row(0), self.board.oldest_row(0)
        for slot in self.slots:
            live[slot] = 1
            oldest[slot] = now - _MEDIAN
        self.board.beat(0, now)


class Stage:
    """Shared memory and a configuration for one brain."""

    def __init__(self, endpoints: int, folder: Path) -> None:
        addresses = [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}:80" for i in range(1, endpoints + 1)]
        settings = configuration(addresses, recorder={"directory": str(folder)}, listen="127.0.0.1:0")
        config = Config.model_validate(settings)
        slots = assign_slots(config, {})
        self.configuration = Configuration(config, slots, 1)
        self.board = Board.create(max(1024, endpoints), 64, 1)
        self.ring = Ring.create()
        self.feed = Feed(self.ring, self.board, sorted(slots.values()))

    def boot(self, channel_fd: int) -> BrainBoot:
        """For a brain whose parent is this process."""
        return BrainBoot(self.board.fd, (self.ring.fd,), channel_fd, os.getpid(), seed=0)

    def close(self) -> None:
        """Lets go of the memory."""
        self.board.close()
        self.ring.close()


@asynccontextmanager
async def _brain(stage: Stage, log: Path) -> AsyncIterator[int]:
    """A real brain process; gives its process id once it decides."""
    ours, theirs = socket.socketpair()
    boot = stage.boot(theirs.fileno())
    ready = asyncio.Event()
    gone = asyncio.Event()

    def heard(message: dict[str, Any]) -> None:
        if message["type"] == "ready":
            ready.set()

    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *python("brain", encode(boot)), stdin=asyncio.subprocess.DEVNULL, stderr=out, pass_fds=boot.fds,
            env=environment(),
        )  # fmt: skip
    theirs.close()
    channel: Channel | None = None
    try:
        channel = await open_channel(ours, heard, gone.set)
        channel.send(stage.configuration.message())
        try:
            await asyncio.wait_for(ready.wait(), 30.0)
        except TimeoutError:
            raise NotStarted(f"the brain did not get ready:\n{log.read_text(errors='replace')}") from None
        yield process.pid
    finally:
        if channel is not None:
            channel.send({"type": "stop"})  # it ignores SIGTERM: that is the supervisor's business
            await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=10.0)
            channel.close()
        await end(process, 0.0)


async def _feed(feed: Feed, rate: int, seconds: float) -> None:
    """Feeds at a steady rate."""
    began = clock.monotonic()
    given = 0
    while (passed := clock.monotonic() - began) < seconds:
        due = int(passed * rate)
        if due > given:
            feed.put(due - given, clock.monotonic())
            given = due
        await asyncio.sleep(STEP)


def _cpu(pid: int) -> float:
    found = usage(pid, detailed=False)
    if found is None:
        raise NotStarted("the brain ended while it was measured")
    return found.cpu


async def per_outcome(rate: int, endpoints: int, seconds: float) -> Cost:
    """CPU time of a real brain at `rate` outcomes a second."""
    with tempfile.TemporaryDirectory(prefix="adaptive-bench-") as name:
        stage = Stage(endpoints, Path(name))
        try:
            async with _brain(stage, Path(name) / "brain.log") as pid:
                await asyncio.sleep(1.0)
                began, before = clock.monotonic(), _cpu(pid)
                await asyncio.sleep(2.0)
                idle = (_cpu(pid) - before) / (clock.monotonic() - began)
                await _feed(stage.feed, rate, WARM_UP)
                began, before, first = clock.monotonic(), _cpu(pid), stage.ring.written
                await _feed(stage.feed, rate, seconds)
                used, count = _cpu(pid) - before, stage.ring.written - first
                busy = used / (clock.monotonic() - began)
                return Cost(count, 1e6 * used / max(1, count), idle, busy, stage.ring.lost)
        finally:
            stage.close()


async def ticks(rate: int, endpoints: int, seconds: float) -> Ticks:
    """Each tick of `seconds`, after the warm-up."""
    from adaptive.controller import Controller
    from adaptive.gateway.brain import Brain, Parts
    from adaptive.gateway.health import HealthChecks
    from adaptive.telemetry.recorder import Recorder
    from adaptive.telemetry.recording import Header

    with tempfile.TemporaryDirectory(prefix="adaptive-bench-") as name:
        stage = Stage(endpoints, Path(name))
        header = Header("", {"root": 0}, 0.0, 1, ("route-0",), ("api",))
        recorder = Recorder(Path(name), header)
        parts = Parts(lambda made, held, _: Controller(made, held.config.model), lambda _: recorder)
        brain = Brain(stage.boot(-1), parts)
        brain.health = HealthChecks(lambda event: None, 0)  # none are configured
        brain.configure(stage.configuration, clock.monotonic())
        length = stage.configuration.config.model.tick
        result = Ticks([], [])
        logging.getLogger("adaptive.gateway.brain").setLevel(logging.CRITICAL)  # hundreds of endpoints are ejected
        try:
            due = clock.monotonic()
            end_at = due + WARM_UP + seconds
            while due < end_at:
                stage.feed.put(round(rate * length), clock.monotonic())
                due += length
                await asyncio.sleep(max(0.0, due - clock.monotonic()))
                began, cpu = clock.monotonic(), clock.cpu()
                brain.turn(began, 0.0)
                if due > end_at - seconds:
                    result.wall.append(clock.monotonic() - began)
                    result.cpu.append(clock.cpu() - cpu)
        finally:
            logging.getLogger("adaptive.gateway.brain").setLevel(logging.NOTSET)
            recorder.close()
            stage.close()
            gc.unfreeze()
        return result


def quantile(values: list[float], share: float) -> float:
    """By rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
