"""Starts the processes that a measurement needs, and stops them whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from adaptive import clock
from adaptive.gateway.process import environment

START_SECONDS = 30.0
STOP_SECONDS = 20.0
_LOOK = 0.02  # seconds between two looks at a process that starts


class NotStarted(Exception):
    """A process that was needed did not start; the text is for who measures."""


@contextmanager
def undisturbed(say: Callable[[str], None]) -> Iterator[None]:
    """Real-time scheduling of this process and those that it starts meanwhile, so that other work on this machine does
    not count as the gateways' own. Says so where that is not granted: it takes root, or CAP_SYS_NICE.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        say("no real-time scheduling (root, or CAP_SYS_NICE): other work on this machine counts too")
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def ask(
    port: int, path: str, method: str = "GET", seconds: float = 5.0, said: Mapping[str, Any] | None = None
) -> tuple[int, bytes]:
    """Status and body of one request, with `said` as its JSON; raises OSError where nobody answers in time."""
    sent = "" if said is None else json.dumps(said)
    fields = "" if said is None else f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Connection: close\r\n\r\n"
                writer.write((head + sent).encode())
                answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError:
        raise OSError(f"no answer within {seconds:g} s") from None
    words = answer.split(b" ", 2)
    if len(words) < 2:
        raise OSError("no answer")
    return int(words[1]), body


async def listening(port: int, process: asyncio.subprocess.Process, name: str) -> None:
    """Waits until somebody accepts on a port; raises NotStarted where the process ended or takes too long."""
    deadline = clock.monotonic() + START_SECONDS
    while clock.monotonic() < deadline and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_LOOK)
        else:
            writer.close()
            return
    raise NotStarted(f"{name} did not start")


async def end(process: asyncio.subprocess.Process, seconds: float = STOP_SECONDS) -> int:
    """SIGTERM, and after `seconds` SIGKILL; the exit code."""
    if seconds > 0.0:
        _signal(process, signal.SIGTERM)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=seconds)
    _signal(process, signal.SIGKILL)
    return await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        try:
            process.send_signal(number)
        except ProcessLookupError:  # it has ended, and the loop does not know yet
            pass


class Gateway:
    """The real command on a configuration of its own, in `folder`. An async context manager."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.arguments = arguments  # further ones of `adaptive serve`
        self.path = folder / "gateway.yaml"
        self.log = folder / "gateway.log"
        self.port = free_port()
        self.admin = free_port()
        while self.admin == self.port:
            self.admin = free_port()
        self.settings = dict(settings)
        self.process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    def write(self, **changes: Any) -> None:
        """Replaces the configuration file in one step, with changes at its top level."""
        self.settings.update(changes)
        whole = {"listen": f"127.0.0.1:{self.port}", "admin": f"127.0.0.1:{self.admin}", **self.settings}
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        new.replace(self.path)

    def text(self) -> str:
        """All that it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def __aenter__(self) -> Self:
        self.write()
        extra = {"XDG_STATE_HOME": str(self.folder / "state"), "NO_COLOR": "1"}
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "adaptive.cli", "serve", "-c", str(self.path), *self.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment(extra), cwd=self.folder,
            )  # fmt: skip
        try:
            await self.ready()
        except BaseException:
            await end(self.process, 0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(self.process)

    async def ready(self) -> None:
        """Waits until it says so; raises NotStarted with its log."""
        status: object = None
        deadline = clock.monotonic() + START_SECONDS
        while clock.monotonic() < deadline and self.process.returncode is None:
            try:
                status = (await ask(self.admin, "/readyz"))[0]
            except OSError as found:
                status = found
            if status == 200:
                return
            await asyncio.sleep(_LOOK)
        raise NotStarted(f"the gateway did not get ready ({status}):\n{self.text()}")

    async def report(self, path: str = "/clusters") -> Any:
        """What the admin API says, as JSON."""
        return json.loads((await ask(self.admin, path))[1])

    async def deciding(self) -> None:
        """Waits until the brain answers, which starts later than the workers; raises NotStarted."""
        deadline = clock.monotonic() + START_SECONDS
        while clock.monotonic() < deadline and self.process.returncode is None:
            if (await self.report()).get("source") == "brain":
                return
            await asyncio.sleep(_LOOK)
        raise NotStarted(f"the brain did not get ready:\n{self.text()}")

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await end(self.process)


class Origin:
    """One process of `adaptive.bench.origin`, on `count` ports."""

    def __init__(self, count: int = 1) -> None:
        self.ports = [0] * count
        self.process: asyncio.subprocess.Process | None = None

    @property
    def addresses(self) -> list[str]:
        """host:port of each."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    async def start(self) -> None:
        """Starts it, again on the same ports where it has run before."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "adaptive.bench.origin", *map(str, self.ports),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise NotStarted("an origin did not start")
        self.ports = json.loads(line)["ports"]

    def behave(self, **behaviour: float) -> None:
        """Changes how it answers; without arguments: well."""
        if self.process is not None and self.process.returncode is None and self.process.stdin is not None:
            self.process.stdin.write(json.dumps(behaviour).encode() + b"\n")

    async def kill(self) -> None:
        """Crashes it."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            self._close()

    async def leave(self) -> int:
        """Ends it gracefully; its exit code."""
        assert self.process is not None
        code = await end(self.process)
        self._close()
        return code

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


class Fleet:
    """Several origins, each a process. An async context manager."""

    def __init__(self, size: int) -> None:
        self.origins = [Origin() for _ in range(size)]

    @property
    def addresses(self) -> list[str]:
        """host:port of each."""
        return [address for origin in self.origins for address in origin.addresses]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(origin.start() for origin in self.origins))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(origin.kill() for origin in self.origins))


def configuration(addresses: Sequence[str], **more: Any) -> dict[str, Any]:
    """The settings of a gateway in front of one cluster; `more` are keys at the top level."""
    return {
        "clusters": {"api": {"endpoints": list(addresses)}},
        "routes": [{"prefix": "/", "cluster": "api", "timeout": "2s"}],
        **more,
    }


def descendants_named(pid: int, name: str) -> list[int]:
    """Process ids of a gateway's children of one role."""
    from adaptive.bench.processes import role, tree

    return [child for child in tree(pid) if child != pid and role(child) == name]


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
