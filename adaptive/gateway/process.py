"""One child process that is kept alive: started, listened to, started again with back-off when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptive import clock
from adaptive.gateway.channel import Channel, Message, open_channel

log = logging.getLogger(__name__)

FIRST_DELAY = 0.1  # seconds; a process killed by hand is back before most clients notice
LAST_DELAY = 5.0  # one that cannot live must not use up the machine
LIVED = 10.0  # a process that lived so long died of something new: start over with FIRST_DELAY
# Seconds between the end of a child's channel and its death by our hand: enough to flush, short enough not to be
# missed; a child without a channel would never hear of a new configuration.
UNHEARD = 2.0


class Backoff:
    """How long to wait before a child is started again: doubled with each early death, from FIRST to LAST_DELAY."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY

    def after(self, lived: float) -> float:
        """The wait, in seconds, after a life of `lived` seconds."""
        if lived >= LIVED:
            self._next = FIRST_DELAY
        delay, self._next = self._next, min(2 * self._next, LAST_DELAY)
        return delay


def python(role: str, boot: str) -> list[str]:
    """The command line of a child: this interpreter, without the working directory on its path."""
    return [sys.executable, "-P", "-m", "adaptive.app", role, boot]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child inherits: our environment, and the place of this package where it is not installed."""
    env = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
    return {**env, **(extra or {})}


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a Child asks of its keeper."""

    # From the descriptor of the child's end of the channel to its command line and all descriptors it inherits.
    command: Callable[[int], tuple[Sequence[str], Sequence[int]]]
    started: Callable[[Child], None]  # the channel is open; the first messages may go out
    message: Callable[[Child, Message], None]
    died: Callable[[Child], None]  # it is gone, and its memory may be put in order


class Child:
    """One process by name. `ready` once it said so; `generation` is the configuration that it confirmed."""

    def __init__(self, name: str, hooks: Hooks, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.hooks = hooks
        self.env = env
        self.ready = False
        self.drained = False
        self.generation = 0
        self.deaths = 0  # unwanted ones
        self.stillborn = 0  # deaths in a row before it was ready
        self.pid: int | None = None
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._last = False
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()

    async def keep(self) -> None:
        """Run the child, again and again, until `stop` or `kill`."""
        backoff = Backoff()
        while not self._stopping.is_set():
            began = clock.monotonic()
            await self._live()
            if self._stopping.is_set() or self._last:
                break
            delay = backoff.after(clock.monotonic() - began)
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                pass
        self._gone.set()

    async def _live(self) -> None:
        """One life, from start to death."""
        code: int | None = None
        try:
            await self._start()
            if self._process is not None:
                code = await self._process.wait()
        except OSError as error:
            log.error("%s cannot be started: %s", self.name, error.strerror or error, extra={"child": self.name})
            if self._process is not None:
                self._process.kill()
                await self._process.wait()
        finally:
            if self._channel is not None:
                self._channel.close()
            if not self._stopping.is_set():
                self.deaths += 1
                self.stillborn = 0 if self.ready else self.stillborn + 1
                how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
                log.warning("%s (process %s) %s", self.name, self.pid, how, extra={"child": self.name})
            self._channel = self._process = self.pid = None
            self.ready = False
            self.hooks.died(self)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            command, fds = self.hooks.command(theirs.fileno())
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=tuple(fds), env=environment(self.env)
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._channel = await open_channel(ours, self._message, self._unheard)
        self.hooks.started(self)

    def _message(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "ready":
            self.ready = True
            self.stillborn = 0
        elif kind == "configured":
            self.generation = int(message["generation"])
        elif kind == "drained":
            self.drained = True
        self.hooks.message(self, message)

    def _unheard(self) -> None:
        """The channel closed; whoever did that has to end now."""
        process = self._process
        if process is not None and process.returncode is None:
            asyncio.get_running_loop().call_later(UNHEARD, _kill, process)

    def send(self, message: Mapping[str, Any]) -> bool:
        """Send a message; False where there is nobody to take it.

        A child that reads no more, so that its backlog is full, is killed: it would run on an old configuration.
        """
        if self._channel is None or not self._channel.open:
            return False
        if self._channel.send(message):
            return True
        log.error("%s does not read its messages; it is killed", self.name)
        self.kill_once()
        return False

    def finish(self) -> None:
        """This life is the last: it may end by itself, and is not replaced."""
        self._last = True

    def stop(self) -> None:
        """Ask it to end, and start it no more."""
        self._stopping.set()
        self.send({"type": "stop"})

    def kill_once(self) -> None:
        """Kill this life; the next follows."""
        if self._process is not None:
            _kill(self._process)

    def kill(self) -> None:
        """Kill it, and start it no more."""
        self._stopping.set()
        self.kill_once()

    async def gone(self, seconds: float) -> bool:
        """Wait until a child that was told to stop is gone; kill it when it takes longer. False if it was killed."""
        try:
            await asyncio.wait_for(self._gone.wait(), max(0.0, seconds))
        except TimeoutError:
            self.kill()
            await self._gone.wait()
            return False
        return True


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            pass
