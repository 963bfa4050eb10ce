"""The supervisor with children of cardboard: what they are told, and how reloads, drains and deaths end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from adaptive.config.load import load
from adaptive.gateway import process, reload
from adaptive.gateway.fleet import Launch
from adaptive.gateway.supervisor import Supervisor

# A child that confirms what it is told, but cannot take a configuration whose `via` is "refuse".
STUB = """
import json, os, signal, socket, sys
for name in (signal.SIGTERM, signal.SIGINT): signal.signal(name, signal.SIG_IGN)
role, boot = sys.argv[1], json.loads(sys.argv[2])
s = socket.socket(fileno=boot["channel_fd"])
def send(**m): b = json.dumps(m).encode(); s.sendall(len(b).to_bytes(4, "big") + b)
def read(n):
    b = b""
    while len(b) < n:
        p = s.recv(n - len(b))
        if not p: os._exit(0)
        b += p
    return b
told, ready = [], False
while True:
    m = json.loads(read(int.from_bytes(read(4), "big")))
    told.append(m)
    kind = m["type"]
    if kind == "configure":
        via = json.loads(m["config"])["server"]["via"]
        if via == "refuse": send(type="failed", generation=m["generation"], error="cannot")
        else:
            if not ready: send(type="ready"); ready = True
            send(type="configured", generation=m["generation"])
    elif kind == "drain": send(type="drained", cut=0)
    elif kind == "report": send(type="report", id=m["id"], report={"clusters": [], "told": told})
    elif kind == "explain": send(type="explain", id=m["id"], explain={"summary": "well"})
    elif kind == "stop": os._exit(0)
"""
TEXT = """
listen: 127.0.0.1:0
clusters: {api: {endpoints: [127.0.0.1:9100]}}
routes: [{prefix: /, cluster: api}]
server: {via: %s}
workers: 2
"""


class Running:
    """A supervisor under way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        launch = Launch(command=lambda role, boot: [sys.executable, "-S", "-c", STUB, role, boot])
        self.supervisor = Supervisor(path, load(path), launch)
        self.task = asyncio.get_running_loop().create_task(self.supervisor.run())

    async def serving(self) -> Supervisor:
        async with asyncio.timeout(10):
            while not (self.supervisor.state == "serving" and self.supervisor.fleet.brain.ready):
                await asyncio.sleep(0.01)
        return self.supervisor

    async def told(self) -> list[str]:
        report = await self.supervisor.clusters()
        return [message["type"] for message in report["told"]]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(process, "FIRST_DELAY", 0.01)

    async def no_watch(*_: object) -> None:
        pass

    monkeypatch.setattr(reload, "watch", no_watch)
    begun: list[Running] = []

    async def make(via: str = "good") -> Running:
        path = tmp_path / "gateway.yaml"
        path.write_text(TEXT % via)
        begun.append(Running(path))
        return begun[-1]

    yield make
    for running in begun:
        running.supervisor.stop_now()
        await running.task
        running.supervisor.close()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        asyncio.get_running_loop().remove_signal_handler(name)


async def test_it_serves_when_every_worker_is_ready(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    assert [mark for _, mark, _ in supervisor.readiness()] == ["+", "+", "+", "+"]
    assert await running.told() == ["configure", "report"]
    assert supervisor.addresses[0].startswith("127.0.0.1:") and not supervisor.addresses[0].endswith(":0")


async def test_a_reload_reaches_every_process(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    running.path.write_text(TEXT % "other")
    assert (await supervisor.reload()).ok
    assert supervisor.config.server.via == "other"
    assert [child.generation for child in supervisor.fleet.children] == [2, 2, 2]


async def test_a_broken_file_keeps_the_old_configuration_and_shows_in_readiness(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    running.path.write_text("listen: [\n")
    done = await supervisor.reload()
    assert not done.ok and done.generation == 1 and "gateway.yaml" in done.errors[0]
    check = supervisor.readiness()[-1]
    assert check[:2] == ("config", "!") and "gateway.yaml" in check[2]
    running.path.write_text(TEXT % "good")
    assert (await supervisor.reload()).ok
    assert supervisor.readiness()[-1][1] == "+"
    assert supervisor.reloads == {"success": 1, "failure": 1}


async def test_a_configuration_that_a_process_cannot_take_is_taken_back_everywhere(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    running.path.write_text(TEXT % "refuse")
    done = await supervisor.reload()
    assert "worker 0: cannot" in done.errors and "brain: cannot" in done.errors
    assert supervisor.config.server.via == "good"
    assert [child.generation for child in supervisor.fleet.children] == [3, 3, 3]


async def test_a_change_that_needs_a_restart_is_refused(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    running.path.write_text((TEXT % "good").replace("workers: 2", "workers: 1"))
    assert (await supervisor.reload()).errors == ("workers: changing 2 to 1 needs a restart",)


async def test_a_dead_brain_is_replaced_and_told_the_overrides_again(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    assert supervisor.override("api", "127.0.0.1:9100", "eject", 60, "disk")
    before = supervisor.fleet.brain.pid
    supervisor.fleet.brain.kill_once()
    async with asyncio.timeout(10):
        while supervisor.fleet.brain.pid in (before, None) or not supervisor.fleet.brain.ready:
            await asyncio.sleep(0.01)
    assert await running.told() == ["configure", "override", "report"]
    assert supervisor.fleet.brain.deaths == 1


async def test_without_a_brain_the_board_answers(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    supervisor.fleet.brain.kill()
    await supervisor.fleet.brain.gone(5)
    assert (await supervisor.clusters())["source"] == "board"
    assert await supervisor.explain("api", "127.0.0.1:9100") is None
    assert not supervisor.override("api", "127.0.0.1:9100", "eject", 60, "")
    with pytest.raises(KeyError):
        await supervisor.explain("api", "127.0.0.1:1")
    assert supervisor.readiness()[2][1] == "!"
    body, _ = await supervisor.metrics(None)
    assert b"adaptive_brain_reporting 0.0" in body


async def test_a_dead_worker_s_live_counts_and_gauges_are_cleared(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    supervisor.board.live_row(1)[0] = 5
    supervisor.fleet.workers[1].kill_once()
    async with asyncio.timeout(10):
        while not supervisor.fleet.workers[1].deaths or not supervisor.fleet.workers[1].ready:
            await asyncio.sleep(0.01)
    assert supervisor.board.live_row(1)[0] == 0
    assert supervisor.state == "serving"


async def test_a_drain_fails_readiness_at_once_and_ends_with_zero(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    supervisor.drain()
    assert supervisor.readiness()[0] == ("gateway", "-", "draining")
    assert await asyncio.wait_for(running.task, 5) == 0


async def test_a_second_signal_stops_at_once(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    supervisor._terminated()
    supervisor._terminated()
    assert await asyncio.wait_for(running.task, 5) == 1


async def test_workers_that_never_get_ready_end_the_start(start: Start) -> None:
    running = await start("refuse")
    assert await asyncio.wait_for(running.task, 10) == 1


async def test_a_reload_while_draining_is_refused(start: Start) -> None:
    running = await start()
    supervisor = await running.serving()
    supervisor.drain()
    assert (await supervisor.reload()).errors == ("the gateway is draining",)
