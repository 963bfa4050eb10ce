"""`adaptive demo`: starts fleets, gateways and loads, shows what happens, and compares at the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live

from adaptive import clock
from adaptive.demo import figures, gateways, schedule, screen
from adaptive.demo.processes import Failed, Process, Processes
from adaptive.demo.watch import Watch
from adaptive.policy.ladder import PREDICTED
from replay import scenario_file

STARTED = 60.0  # seconds for everything to be up, on a machine with much else to do
LEAD = 0.3  # seconds from the word to start until the start: long enough to reach nine processes
FRAME = 0.25  # seconds between two pictures
PLAIN_EVERY = 5.0  # seconds between two lines of progress where there is no terminal
ENDING = 6.0  # seconds for the last requests to end
ENDED_BY = 128  # a shell's exit code for a process that a signal ended, less the signal
LEAST_SECONDS, MOST_SECONDS = 4.0, 3600.0  # below, a leak is over before its windows have filled


@dataclass(slots=True)
class Side:
    """One of the three: a fleet, the gateway in front of it, and the load on that."""

    name: str
    policy: str
    fleet: Process
    endpoints: list[int]
    ports: tuple[int, int] = (0, 0)
    load: Process | None = None
    results: figures.Results = field(default_factory=figures.Results)


class Demo:
    """One run. `show` gets a picture's content as often as it can draw one."""

    def __init__(self, seconds: float, seed: int, processes: Processes, show: Callable[[screen.View], None]) -> None:
        self.seconds, self.seed, self.processes, self.show = seconds, seed, processes, show
        self.plan = schedule.plan(seconds, seed)
        self.sides: list[Side] = []
        self.watch: Watch | None = None
        self.begin = float("inf")
        self.status = "starting"

    @property
    def world(self) -> Path:
        """The file of the scenario that all meet."""
        return self.processes.directory / "scenario.json"

    def view(self) -> screen.View:
        """What there is to show now."""
        view = screen.View(clock.monotonic() - self.begin, self.seconds, self.seed, self.plan, status=self.status)
        view.results = {side.name: side.results for side in self.sides}
        if self.sides:
            view.ports = self.sides[0].endpoints
        if self.watch is not None:
            view.cluster, view.endpoints = self.watch.cluster, self.watch.endpoints
            view.moves, view.modes = self.watch.moves, self.watch.modes
        return view

    async def run(self) -> None:
        """All of it. Raises Failed where a part fails."""
        drawing = asyncio.create_task(self._draw())
        try:
            timeout = aiohttp.ClientTimeout(total=2.0)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                self.status = "starting three fleets"
                await self._start_fleets()
                self.status = "starting three gateways: Adaptive, round robin, least request"
                await self._start_gateways(session)
                self.status = ""
                await self._load()
        finally:
            drawing.cancel()

    async def _draw(self) -> None:
        while True:
            self.show(self.view())
            await asyncio.sleep(FRAME)

    async def _start_fleets(self) -> None:
        self.world.write_text(json.dumps(scenario_file.to_json(self.plan)), encoding="utf-8")
        spec = {"scenario": str(self.world), "seed": self.seed}
        for policy, name in gateways.POLICIES.items():
            fleet = await self.processes.start(f"fleet of {name}", "adaptive.arena.fleet", spec)
            self.sides.append(Side(name, policy, fleet, []))
        for side in self.sides:
            side.endpoints = (await side.fleet.line())["ports"]

    async def _start_gateways(self, session: aiohttp.ClientSession) -> None:
        ports = gateways.free_ports(2 * len(self.sides))
        for side in self.sides:
            side.ports = (ports.pop(), ports.pop())
            directory = self.processes.directory
            path = directory / f"{side.policy}.yaml"
            path.write_text(
                gateways.configuration(side.policy, side.ports, side.endpoints, self.seed, directory), encoding="utf-8"
            )
            name, spec = f"gateway {side.name}", {"config": str(path)}
            await self.processes.start(name, "adaptive.demo.gateways", spec, drains=True)
        deadline = clock.monotonic() + STARTED
        watches = [Watch(session, side.ports[1], side.endpoints) for side in self.sides]
        for side, watch in zip(self.sides, watches, strict=True):
            while not await watch.ready():
                self.processes.check()
                if clock.monotonic() > deadline:
                    raise Failed(f"the gateway {side.name} was not ready within {STARTED:.0f} s")
                await asyncio.sleep(0.1)
        self.watch = watches[0]

    async def _load(self) -> None:
        """The measured part: everything starts at one moment."""
        for side in self.sides:
            spec = {"scenario": str(self.world), "ports": [side.ports[0]], "seed": self.seed, "tell": True}
            side.load = await self.processes.start(f"load on {side.name}", "adaptive.arena.load", spec)
        assert self.watch is not None
        for side in self.sides:
            assert side.load is not None
            await side.load.line()
        self.begin = self.watch.begin = clock.monotonic() + LEAD
        for side in self.sides:
            for process in (side.fleet, side.load):
                assert process is not None
                await process.tell(repr(self.begin))
        reading = [asyncio.create_task(self._read(side)) for side in self.sides]
        watching = asyncio.create_task(self.watch.run())
        try:
            async with asyncio.timeout(self.seconds + ENDING + LEAD):
                await asyncio.gather(*reading)
        except TimeoutError:
            raise Failed("the loads did not end in time") from None
        finally:
            for task in (watching, *reading):
                task.cancel()
            await asyncio.gather(watching, *reading, return_exceptions=True)

    async def _read(self, side: Side) -> None:
        """Takes a load's results until its last. Raises Failed where a fleet or a gateway has ended meanwhile."""
        assert side.load is not None
        lasting = [process for process in self.processes.all if process not in [other.load for other in self.sides]]
        while True:
            line = await side.load.line()
            if line.get("done"):
                return
            side.results.add(figures.Second(line["second"], line["failed"], line["latencies"]))
            for process in lasting:
                process.check()

    def conclude(self, console: Console) -> None:
        """Print the comparison, and how early the crashes were seen."""
        console.print(screen.closing({side.name: side.results.summary() for side in self.sides}, schedule.RATE))
        watch = self.watch
        if watch is None:
            return
        for leak in schedule.crashes(self.plan):
            instance, began, crashed = leak
            seen = figures.warned(watch.moves, watch.predictions[instance], leak, PREDICTED)
            why_not = watch.distrust(crashed)
            for line in screen.warning_lines(instance, crashed, crashed - began, seen, PREDICTED, why_not):
                console.print(line, highlight=False, soft_wrap=not console.is_terminal)
        console.print(f"Seed {self.seed}; all figures are of this run.", style="dim", highlight=False)


class Plain:
    """Progress where there is no terminal: a line now and then, and each move as it is known, on stderr."""

    def __init__(self) -> None:
        self.status = ""
        self.next = 0.0
        self.told: set[str] = set()

    def __call__(self, view: screen.View) -> None:
        """Write what is new."""
        if view.status and view.status != self.status:
            print(f"adaptive demo: {view.status} (seed {view.seed})", file=sys.stderr)
        self.status = view.status
        for text in screen.log_lines(view.moves, view.modes):
            if text.plain not in self.told:
                self.told.add(text.plain)
                print(text.plain, file=sys.stderr)
        if not view.status and view.at >= self.next:
            self.next += PLAIN_EVERY
            failed = ", ".join(f"{name} {results.failed}" for name, results in view.results.items())
            print(f"{max(0.0, view.at):5.1f} s of {view.seconds:.0f}; failed so far: {failed}", file=sys.stderr)
        sys.stderr.flush()


async def _demo(seconds: float, seed: int, plain: bool, directory: Path) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel, number)
    processes = Processes(directory)
    console = Console(highlight=False)
    try:
        if plain:
            demo = Demo(seconds, seed, processes, Plain())
            await demo.run()
        else:
            with Live(console=console, screen=True, auto_refresh=False) as painter:
                demo = Demo(seconds, seed, processes, lambda view: _paint(painter, console, view))
                await demo.run()
                demo.status = "ending"
                painter.update(screen.live(demo.view(), console.width, console.height), refresh=True)
    finally:
        await processes.stop()
    if not plain:
        for line in screen.log_lines(demo.watch.moves, demo.watch.modes) if demo.watch else []:
            console.print(line)
    demo.conclude(console)
    return 0


def _paint(painter: Live, console: Console, view: screen.View) -> None:
    painter.update(screen.live(view, console.width, console.height), refresh=True)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; SystemExit where it is wrong."""
    parser = argparse.ArgumentParser(prog="adaptive demo", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=schedule.SECONDS, help="length of the load (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and service times (default: %(default)d)")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live picture, as without a terminal")
    found = parser.parse_args(arguments)
    if not LEAST_SECONDS <= found.seconds <= MOST_SECONDS:
        parser.error(f"--seconds must be from {LEAST_SECONDS:g} to {MOST_SECONDS:g}")
    if not 0 <= found.seed < 2**32:
        parser.error("--seed must be from 0 to 4294967295")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code. `arguments` None means those of the command line."""
    found = options(arguments)
    plain = found.plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    try:
        with tempfile.TemporaryDirectory(prefix="adaptive-demo-", ignore_cleanup_errors=True) as directory:
            return asyncio.run(_demo(found.seconds, found.seed, plain, Path(directory)))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        print("adaptive demo: interrupted; everything it started has ended", file=sys.stderr)
        number = error.args[0] if error.args else signal.SIGINT
        return ENDED_BY + int(number)
    except Failed as error:
        print(f"adaptive demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
