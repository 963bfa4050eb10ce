"""The Envoy that is started here: kept alive, drained before it ends, its log lines in our log.

It outlives us where we are killed, and goes on with what it has; the next of us with the same bootstrap adopts it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from adaptive import clock
from adaptive.envoy.bootstrap import ACTIVE, DRAIN, OPEN

log = logging.getLogger(__name__)
envoy_log = logging.getLogger("envoy")

FIRST_DELAY = 0.05  # seconds until a first new start: who was killed is back in well under two seconds
LAST_DELAY = 5.0
LIVED = 10.0
POLL = 0.02  # seconds between two looks at what has no other way to tell us
ASK = 2.0  # seconds for an answer of Envoy's admin API
# Seconds between SIGTERM and SIGKILL: what was in flight has been waited for by then.
QUIT = 3.0
LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.DEBUG,  # of its own start and its every update
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
# What Envoy warns of that is so by design: our own end of a stream is told by us.
EXPECTED = ("There is no configured limit to the number of allowed active downstream connections", "caught ENVOY_SIG")


class Taken(Exception):
    """Another gateway with this configuration file runs already."""


class Place:
    """A directory for sockets and the bootstrap, of one configuration file, for this user alone.

    Socket files have names of 107 bytes at most, so it is a short one. Raises OSError, and Taken.
    """

    def __init__(self, path: Path, base: Path | None = None) -> None:
        base = base or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"adaptive-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        held = base.lstat()
        if held.st_uid != os.getuid() or held.st_mode & 0o077:
            raise OSError(0, "is not ours alone", str(base))
        name = hashlib.blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()
        self.folder = base / name
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Taken(f"{path}: a gateway with this file runs already") from None

    @property
    def service(self) -> str:
        """Our socket file."""
        return str(self.folder / "xds")

    @property
    def admin(self) -> str:
        """Envoy's socket file."""
        return str(self.folder / "admin")

    @property
    def pipe(self) -> str:
        """The pipe through which Envoy tells of attempts."""
        return str(self.folder / "attempts")

    def write(self, name: str, data: Any) -> Path:
        """Write JSON in one step."""
        path = self.folder / name
        new = path.with_suffix(".new")
        new.write_text(json.dumps(data, indent=1), encoding="utf-8")
        new.replace(path)
        return path

    def read(self, name: str) -> Any:
        """What was written; None where nothing readable is."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Let another have it."""
        os.close(self._lock)


class Envoy:
    """One Envoy. `command` gives its command line from the bootstrap's path; `changed` is told of starts and deaths."""

    def __init__(
        self, place: Place, bootstrap: Any, command: Callable[[str], Sequence[str]], changed: Callable[[], None]
    ) -> None:
        self.place = place
        self.bootstrap = bootstrap
        self.command = command
        self.changed = changed
        self.pid: int | None = None
        self.deaths = 0
        self.adopted = False
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()

    async def keep(self) -> None:
        """Run it, again and again, until `stop`."""
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            began = clock.monotonic()
            try:
                await self._live()
            except OSError as error:
                log.error("Envoy cannot be started: %s", error.strerror or error)
            self.pid = None
            self.changed()
            if self._stopping.is_set():
                break
            self.deaths += 1
            log.warning("Envoy ended after %.1f s, and is started again", clock.monotonic() - began)
            if clock.monotonic() - began >= LIVED:
                delay = FIRST_DELAY
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                pass
            delay = min(2 * delay, LAST_DELAY)
        self._gone.set()

    async def _live(self) -> None:
        """One life: of the one that is there already, where it is ours, else of a new one."""
        mark = hashlib.blake2b(json.dumps(self.bootstrap, sort_keys=True).encode(), digest_size=8).hexdigest()
        held = self.place.read("running.json")
        if held and _started(held.get("pid", 0)) == held.get("started"):
            if held.get("bootstrap") == mark and not self._stopping.is_set():
                log.info("the Envoy that runs already (process %d) is adopted", held["pid"])
                self.adopted, self.pid = True, held["pid"]
                self.changed()
                await self.reopen_logs()  # the pipe that it holds may not be the one that is there now
                await _end_of(held["pid"])
                return
            log.info("the Envoy of another bootstrap (process %d) is ended", held["pid"])
            os.kill(held["pid"], signal.SIGTERM)
            await asyncio.wait_for(_end_of(held["pid"]), QUIT)
        path = self.place.write("bootstrap.json", self.bootstrap)
        Path(self.place.admin).unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *self.command(str(path)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to handle: Envoy would not drain
        )
        self.pid, self.adopted = process.pid, False
        self.place.write("running.json", {"pid": process.pid, "started": _started(process.pid), "bootstrap": mark})
        self.changed()
        assert process.stderr is not None
        await asyncio.gather(process.wait(), _tell(process.stderr))

    async def ready(self) -> bool:
        """Whether it has all that it asked for, and serves."""
        try:
            status, _ = await ask(self.place.admin, "GET", "/ready")
        except (OSError, TimeoutError, ValueError):
            return False
        return status == 200

    async def drain(self, seconds: float) -> None:
        """Tell clients to go, accept no more, and wait for what is in flight, for `seconds` at most.

        A client that keeps its connection hears of it with its next answer: it has DRAIN seconds to ask for that, in
        which who comes anew is served too. Where nobody is connected, nobody is waited for.
        """
        began = clock.monotonic()
        try:
            await ask(self.place.admin, "POST", "/drain_listeners?graceful&skip_exit")
            if not await self._count(OPEN):
                return
            while (waited := clock.monotonic() - began) < seconds:
                if waited >= DRAIN and not await self._count(ACTIVE):
                    break
                await asyncio.sleep(POLL)
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("Envoy cannot be drained: %s", error)

    async def _count(self, name: str) -> int:
        """One of Envoy's statistics. Raises as `ask`."""
        _, body = await ask(self.place.admin, "GET", f"/stats?filter=^{re.escape(name)}$")
        return int(body.rpartition(b":")[2] or b"0")

    async def reopen_logs(self) -> None:
        """Open its access log anew."""
        try:
            await ask(self.place.admin, "POST", "/reopen_logs")
        except (OSError, TimeoutError, ValueError) as error:
            log.error("Envoy's access log cannot be opened again: %s", error)

    async def stop(self) -> None:
        """End it, and start it no more."""
        self._stopping.set()
        if self.pid is not None:
            _signal(self.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._gone.wait(), QUIT)
        except TimeoutError:
            if self.pid is not None:
                _signal(self.pid, signal.SIGKILL)
            await self._gone.wait()
        (self.place.folder / "running.json").unlink(missing_ok=True)


async def ask(path: str, method: str, target: str) -> tuple[int, bytes]:
    """Status and body of a request to the admin API behind a socket file. Raises OSError, TimeoutError, ValueError."""

    async def asked() -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            # Envoy's admin API speaks 1.1 only.
            writer.write(
                f"{method} {target} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return await reader.read()
        finally:
            writer.close()

    answer = await asyncio.wait_for(asked(), ASK)
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = b"".join(_chunks(body))
    words = head.split(b" ", 2)
    if len(words) < 2:
        raise ValueError("it ended without an answer")
    return int(words[1]), body


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        yield rest[:length]
        body = rest[length + 2 :] if length else b""


async def _tell(lines: asyncio.StreamReader) -> None:
    """Put what Envoy says into our log: level, tab, logger, tab, words."""
    async for raw in lines:
        line = raw.decode(errors="replace").rstrip()
        if not line:  # it ends some messages with an empty one
            continue
        level, tab, rest = line.partition("\t")
        name, _, words = rest.partition("\t")
        if not tab or level not in LEVELS:
            envoy_log.warning("%s", line)
        elif not words.startswith(EXPECTED):
            envoy_log.log(LEVELS[level], "%s: %s", name, words)


async def _end_of(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def told() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, told)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _started(pid: int) -> int | None:
    """When a process began, in the kernel's ticks: with its number, a name that is never used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
