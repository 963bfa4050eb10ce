"""The composition root: the only place that names concrete classes together.

`serve` is the supervisor's process. The children are this module too (`python -m adaptive.app worker|brain <boot>`),
and each imports only what its role needs: a worker loads neither numpy nor the admin API.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptive import clock
from adaptive.gateway import boot as boots
from adaptive.gateway import logs

if TYPE_CHECKING:
    from adaptive.config.model import Config, RecorderConfig, RouteConfig
    from adaptive.gateway.boot import Configuration
    from adaptive.gateway.brain import Controller, EventLog, Recorder
    from adaptive.gateway.fleet import Launch
    from adaptive.steered import Steered
    from adaptive.telemetry import recorder as recorders
    from adaptive.telemetry.board import Board
    from adaptive.telemetry.recording import Header
    from adaptive.types import Topology

# Seconds for which a thread of the supervisor may hold the interpreter: metrics are rendered in one, and the admin API
# and the children must not wait for it.
SWITCH = 0.0005


def serve(path: str, level: str = "info", style: str = "auto", data_plane: str = "embedded") -> int:
    """Run the gateway until it is drained or stopped; returns its exit code. Errors are lines on stderr."""
    from adaptive.config.errors import ConfigErrors
    from adaptive.gateway.listen import AddressError

    logging_ = logs.chosen(level, style)
    logs.install(logging_, "supervisor")
    try:
        config = reader(data_plane)(Path(path))
        sys.setswitchinterval(SWITCH)
        if data_plane == "embedded":
            return asyncio.run(_serve(Path(path), config, logging_))
        from adaptive.steered import Unable, serve_envoy

        try:
            return serve_envoy(Path(path), config, logging_, data_plane, _serve)
        except Unable as error:
            print(error, file=sys.stderr)
            return 1
    except (ConfigErrors, AddressError) as error:
        print(error, file=sys.stderr)
        return 1


def reader(data_plane: str) -> Callable[[Path], Config]:
    """What reads a configuration for a data plane, and refuses what that cannot do."""
    from adaptive.config.load import load
    from adaptive.gateway import reload

    if data_plane == "embedded":
        return reload.read
    from adaptive.envoy.translate.unsaid import unsaid

    return lambda path: load(path, files=True, plane=unsaid)


async def _serve(
    path: Path, config: Config, logging_: boots.Logging, launch: Launch | None = None, steered: Steered | None = None
) -> int:
    from adaptive.admin import server
    from adaptive.gateway.fleet import Launch
    from adaptive.gateway.listen import bind
    from adaptive.gateway.supervisor import Supervisor

    supervisor = Supervisor(path, config, launch or Launch(logging_), steered)
    supervisor.read = reader("envoy" if steered is not None else "embedded")
    try:
        if config.admin is None:
            return await supervisor.run()
        sock = bind(config.admin.host, config.admin.port, share=False)
        api = await server.start(supervisor, sock)
        try:
            return await supervisor.run()
        finally:
            await api.cleanup()
    finally:
        supervisor.close()


def worker(text: str) -> int:
    """A worker's process."""
    boot = boots.decode_worker(text)
    logs.install(boot.logging, f"worker {boot.index}")
    from adaptive.gateway import worker as shell

    return shell.run(boot)


def brain(text: str) -> int:
    """The brain's process."""
    boot = boots.decode_brain(text)
    logs.install(boot.logging, "brain")
    from adaptive.gateway import brain as shell

    return shell.run(boot, shell.Parts(_controller, _Recorders(), _events))


def _controller(topology: Topology, configuration: Configuration, board: Board) -> Controller:
    from adaptive.controller import Controller

    made = Controller(topology, configuration.config.model)
    last = board.read()
    if last is not None:
        made.resume(last)
    return made


def _events(configuration: Configuration) -> EventLog | None:
    from adaptive.config.topology import config_hash
    from adaptive.telemetry import event_log

    settings = configuration.config.event_log
    if settings is None:
        return None
    directory = Path(settings.directory) if settings.directory is not None else state_directory() / "events"
    about = {"config_hash": config_hash(configuration.config)}
    return event_log.EventLog(directory, settings.size, about, clock.wall() - clock.monotonic())


class _Recorders:
    """Gives the brain its recorder: the one it has, under a new header, unless other settings ask for another."""

    def __init__(self) -> None:
        self._made: tuple[RecorderConfig, recorders.Recorder] | None = None

    def __call__(self, configuration: Configuration) -> Recorder | None:
        from adaptive.telemetry import recorder as recorders

        settings = configuration.config.recorder
        if self._made is not None:
            made_for, made = self._made
            if made_for == settings:
                made.configure(_header(configuration))
                return made
            made.close()
            self._made = None
        if not settings.enabled:
            return None
        directory = Path(settings.directory) if settings.directory is not None else state_directory() / "recordings"
        limits = recorders.Limits(settings.max_bytes, settings.segment_bytes, settings.segment_seconds)
        made = recorders.Recorder(directory, _header(configuration), limits)
        self._made = (settings, made)
        return made


def _header(configuration: Configuration) -> Header:
    from adaptive.config.topology import config_hash
    from adaptive.telemetry.recording import Header

    config = configuration.config
    return Header(
        config_hash=config_hash(config),
        seeds={"root": config.model.seed},
        wall_offset=clock.wall() - clock.monotonic(),
        workers=config.workers,
        routes=tuple(route.name for route in config.routes),
        clusters=tuple(config.clusters),
        rules={route.name: _rules(config, route) for route in config.routes},
    )


def _rules(config: Config, route: RouteConfig) -> dict[str, Any]:
    """What the gateway does with a route's requests beside picking."""
    cluster = config.clusters[route.cluster]
    budget, check = cluster.retry_budget, cluster.health_check
    return {
        "route_timeout": route.timeout,
        "attempt_timeout": route.attempt_timeout,
        "retries": route.retries,
        "retry_statuses": list(route.retry_statuses),
        "connect_timeout": cluster.timeouts.connect,
        "budget": [budget.ratio, budget.minimum, budget.window],
        "check_interval": check.interval if check is not None else 0.0,
        "check_timeout": check.timeout if check is not None else 0.0,
    }


def state_directory() -> Path:
    """Where the gateway keeps what outlives it: systemd's $STATE_DIRECTORY, else the XDG place."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "adaptive"


def station(text: str, socket: str = "", pipe: str = "") -> int:
    """The process that speaks with Envoys."""
    boot = boots.decode_worker(text)
    logs.install(boot.logging, "station")
    from adaptive import station as shell

    return shell.run(boot, socket, pipe)


def main(arguments: Sequence[str]) -> int:
    """A child's entry point."""
    match arguments:
        case ["worker", text]:
            return worker(text)
        case ["brain", text]:
            return brain(text)
        case ["station", text, socket, pipe]:
            return station(text, socket, pipe)
    print("adaptive.app is started by `adaptive serve`", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
