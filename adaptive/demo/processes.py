"""Subprocesses that end with the demo, however it ends.

Each has a session of its own, so that Ctrl-C reaches the demo alone, which then ends them in order. Should the demo be
killed, the kernel ends them (`adaptive.gateway.parent.follow`), and the fleets and loads also end with their input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from adaptive.gateway.process import environment

LINE = 1 << 20  # bytes of one line: a second of results is some 3 KB
QUIT = 3.0  # seconds to end by themselves
LAST_LINES = 15  # of the error output of one that failed


class Failed(Exception):
    """A subprocess ended, or did not start; the message says which, and what it wrote last."""


class Process:
    """One subprocess."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, drains: bool) -> None:
        self.name, self.process, self.log = name, process, log
        self.drains = drains  # ends by SIGTERM, else with its input

    async def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def last(self) -> dict[str, Any]:
        """Ends its standard input; the line that it writes then. Raises Failed where there is none."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.line()

    async def line(self) -> dict[str, Any]:
        """Its next line, as JSON. Raises Failed where it has ended."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            await self.process.wait()
            self.check()
            raise Failed(f"the {self.name} closed its output")
        found: dict[str, Any] = json.loads(line)
        return found

    def check(self) -> None:
        """Raises Failed where it has ended."""
        code = self.process.returncode
        if code is not None:
            text = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise Failed("\n".join([f"the {self.name} {how}", *text]))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.process.returncode is None:
            try:
                self.process.send_signal(number)
            except ProcessLookupError:
                pass


class Processes:
    """All subprocesses of one demo, in the order in which they were started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[Process] = []

    async def start(self, name: str, module: str, spec: dict[str, Any], drains: bool = False) -> Process:
        """Starts `python -m module spec`, told who its parent is. `drains`: it ends by SIGTERM, not with its input."""
        log = self.directory / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module, json.dumps({**spec, "parent": os.getpid()})),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LINE,
                env=environment(),
                start_new_session=True,
            )
        started = Process(name, process, log, drains)
        self.all.append(started)
        return started

    def check(self) -> None:
        """Raises Failed where any has ended."""
        for process in self.all:
            process.check()

    async def stop(self) -> None:
        """Ends all, the last started first: the loads, then what they load. Kills what is not gone after QUIT seconds,
        or at once when this is cancelled.
        """
        try:
            for process in reversed(self.all):
                if process.process.stdin is not None:
                    process.process.stdin.close()
                # No signal to what is ending already: sending one looks for its end, which is asyncio's to see.
                if process.drains:
                    process.signal(signal.SIGTERM)
            waiting = [asyncio.ensure_future(process.process.wait()) for process in self.all]
            if waiting:
                await asyncio.wait(waiting, timeout=QUIT)
        finally:
            for process in self.all:
                process.signal(signal.SIGKILL)
        await asyncio.gather(*(process.process.wait() for process in self.all))
