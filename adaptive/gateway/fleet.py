"""All child processes of one gateway: the workers and the brain, what they are told, and what they answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adaptive.gateway.boot import Configuration, Logging
from adaptive.gateway.channel import Message
from adaptive.gateway.process import Child, Hooks, python

# Deaths in a row, before it was ever ready, after which a worker is taken to be unable to start: 1.5 s of back-off.
HOPELESS = 4
QUESTIONS = 64  # that may wait for the brain's answer at once; each is an admin request that somebody sent
# The brain's arrays are small: threads of BLAS and arenas of malloc would cost more than they bring.
BRAIN_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class Launch:
    """How children are started: `command(role, boot)` gives a command line."""

    logging: Logging = field(default_factory=Logging)
    command: Callable[[str, str], Sequence[str]] = python
    role: str = "worker"


class Keeper(Protocol):
    """What the fleet needs of the supervisor."""

    configuration: Configuration
    workers: int
    envoys: Message | None  # what the child that speaks with Envoys has told last of them

    def worker_boot(
        self, index: int, channel_fd: int, parent: int, logging_: Logging
    ) -> tuple[str, tuple[int, ...]]: ...
    def brain_boot(self, channel_fd: int, parent: int, logging_: Logging) -> tuple[str, tuple[int, ...]]: ...
    def active_overrides(self) -> list[Mapping[str, Any]]: ...
    def all_ready(self) -> None: ...
    def cannot_start(self, child: Child) -> None: ...
    def worker_died(self, index: int) -> None: ...
    def heard(self, child: Child, message: Message) -> None: ...


class Fleet:
    """The children by role."""

    def __init__(self, keeper: Keeper, launch: Launch) -> None:
        self.keeper = keeper
        self.launch = launch
        self.role = launch.role
        self.workers = [Child(f"{self.role} {i}", self._worker_hooks(i)) for i in range(keeper.workers)]
        self.brain = Child("brain", self._brain_hooks(), BRAIN_ENVIRONMENT)
        self._tasks: list[asyncio.Task[None]] = []
        self._questions: dict[int, asyncio.Future[Message | None]] = {}
        self._asked = 0
        self._refused: dict[str, str] = {}  # child → why it does not take the configuration in force
        self._changed = asyncio.Event()

    @property
    def children(self) -> list[Child]:
        """Everyone."""
        return [*self.workers, self.brain]

    def start(self) -> None:
        """Start everyone."""
        self._tasks = [asyncio.get_running_loop().create_task(child.keep()) for child in self.children]

    async def stop(self, quit_: float, flush: float) -> None:
        """Stop the workers within `quit_` seconds, then the brain, which reads what they left, within `flush`.

        A brain that still loads its libraries hears nothing and has recorded nothing: it is not waited for.
        """
        for group, seconds in ((self.workers, quit_), ([self.brain], flush if self.brain.ready else 0.0)):
            for child in group:
                child.stop()
            await asyncio.gather(*(child.gone(seconds) for child in group))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Telling.

    def announce(self) -> None:
        """Tell everyone the configuration in force; the brain first, whose snapshots the workers then need."""
        self._refused.clear()
        message = self.keeper.configuration.message()
        for child in (self.brain, *self.workers):
            child.send(message)

    def tell_workers(self, message: Mapping[str, Any]) -> None:
        """Send to every worker."""
        for child in self.workers:
            child.send(message)

    def drain(self, seconds: float) -> None:
        """Tell the workers to finish; none that dies from now on is replaced."""
        for child in self.workers:
            child.finish()
        self.tell_workers({"type": "drain", "seconds": seconds})

    async def confirmed(self, seconds: float) -> list[str]:
        """Wait until every ready child has the configuration in force; why not, where one does not."""

        def pending() -> list[Child]:
            wanted = self.keeper.configuration.generation
            return [c for c in self.children if c.ready and c.generation < wanted and c.name not in self._refused]

        await self.until(lambda: not pending(), seconds)
        late = [f"{child.name} did not confirm within {seconds:g} s" for child in pending()]
        return [*(f"{name}: {error}" for name, error in self._refused.items()), *late]

    async def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait for something that only a child's message or death can change."""

        async def wait() -> None:
            while not done():
                self._changed.clear()
                await self._changed.wait()

        return await _within(wait(), seconds)

    async def ask(self, kind: str, seconds: float, **fields: Any) -> Message | None:
        """Ask the brain; None where it does not answer in time, or too many ask."""
        if len(self._questions) >= QUESTIONS:
            return None
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            if not self.brain.ready or not self.brain.send({"type": kind, "id": number, **fields}):
                return None
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return None
        finally:
            del self._questions[number]

    # Hearing.

    def _heard(self, child: Child, message: Message) -> None:
        kind = message.get("type")
        answer = self._questions.get(message.get("id", 0))
        if kind in ("report", "explain") and answer is not None:
            if not answer.done():
                answer.set_result(message)
        elif kind == "failed":
            self._refused[child.name] = str(message.get("error"))
            if not child.ready:
                child.kill_once()  # it has no configuration at all, and would wait for ever
        else:
            self.keeper.heard(child, message)
        if kind == "ready" and all(worker.ready for worker in self.workers):
            self.keeper.all_ready()
        self._changed.set()

    def _died(self, child: Child) -> None:
        if child is self.brain:
            for answer in self._questions.values():
                if not answer.done():
                    answer.set_result(None)
        elif child.stillborn >= HOPELESS:
            self.keeper.cannot_start(child)
        self._changed.set()

    def _worker_hooks(self, index: int) -> Hooks:
        def command(fd: int) -> tuple[Sequence[str], Sequence[int]]:
            boot, fds = self.keeper.worker_boot(index, fd, os.getpid(), self.launch.logging)
            return self.launch.command(self.role, boot), fds

        def died(child: Child) -> None:
            self.keeper.worker_died(index)
            self._died(child)

        return Hooks(command, self._greet, self._heard, died)

    def _brain_hooks(self) -> Hooks:
        def command(fd: int) -> tuple[Sequence[str], Sequence[int]]:
            boot, fds = self.keeper.brain_boot(fd, os.getpid(), self.launch.logging)
            return self.launch.command("brain", boot), fds

        def greet(child: Child) -> None:
            self._greet(child)
            for message in self.keeper.active_overrides():
                child.send(message)

        return Hooks(command, greet, self._heard, self._died)

    def _greet(self, child: Child) -> None:
        child.generation = 0
        child.drained = False
        if self.keeper.envoys is not None:
            child.send(self.keeper.envoys)
        child.send(self.keeper.configuration.message())


async def _within(work: Awaitable[None], seconds: float) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True
