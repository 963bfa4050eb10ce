"""An event log recorded live, with faults, an operator's hand and a reload, gives identical commands.

It runs a fleet for six seconds. How much of the faults the brain makes something of depends on the machine: an observer
that is not given the processor judges nobody. So the move that must be there is the operator's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest
from typer.testing import CliRunner

from adaptive.arena import live
from adaptive.bench.running import Gateway
from adaptive.cli import app
from adaptive.telemetry import events
from adaptive.types import OutcomesSeen, Overridden, Reconfigured
from replay.scenario import Fault, Instance, Load, Rules, Scenario, Service
from replay.troubles import fault

FAULTS: dict[int, tuple[Fault, ...]] = {
    1: (fault("errors", 1.5, 3.5, p=0.9),),
    2: (fault("down", 3.0, 6.0),),
}
SCENARIO = Scenario(
    "faulty",
    tuple(Instance(f"127.0.0.1:{9100 + i}", Service(0.01), slots=4, faults=FAULTS.get(i, ())) for i in range(4)),
    Load(((0.0, 250.0),)),
    rules=Rules(check_interval=0.2, check_timeout=0.1),
    seconds=6.0,
    warm=0.5,
)


async def run(folder: Path, log: Path) -> None:
    def front(ports: list[int], number: int) -> Gateway:
        own = live.settings(SCENARIO, "adaptive", 0.0, ports, folder)
        return Gateway(folder, {**own, "event_log": str(log)})

    async with live.Stage(SCENARIO, front, 7, folder) as stage:
        (gateway,) = stage.gateways
        assert isinstance(gateway, Gateway)
        await live.begin([stage])
        running = asyncio.ensure_future(stage.load.line())
        await asyncio.wait([running], timeout=2.5)
        cluster = gateway.settings["clusters"]["fleet"]
        first = cluster["endpoints"][0]
        where = f"http://127.0.0.1:{gateway.admin}/clusters/fleet/endpoints/{first['host']}:{first['port']}/override"
        told = {"action": "eject", "reason": "by hand"}
        async with aiohttp.ClientSession() as session, session.post(where, json=told) as response:
            assert response.status == 200
        # It watches its file, and reloads by itself.
        gateway.write(clusters={"fleet": {**cluster, "endpoints": cluster["endpoints"][:3]}})
        await running


@pytest.mark.timeout(180)  # seconds: 57 on two cores under a load of eight
async def test_a_live_log_replayed_gives_identical_commands(tmp_path: Path) -> None:
    log = tmp_path / "events"
    await run(tmp_path / "0-adaptive", log)
    (file,) = log.glob("*.events")
    with file.open("rb") as source:
        entries = list(events.read(file, source).entries())
    told = [entry.event for entry in entries if isinstance(entry.event, Reconfigured)]
    assert [len(event.topology.clusters[0].members) for event in told] == [4, 3]
    assert [entry.event.reason for entry in entries if isinstance(entry.event, Overridden)] == ["by hand"]
    assert any((entry.event.rows["status"] == 503).any() for entry in entries if isinstance(entry.event, OutcomesSeen))
    kinds = {kind for entry in entries for kind, _ in msgspec.msgpack.decode(entry.commands)}
    assert {"Publish", "Moved"} <= kinds
    replayed = CliRunner().invoke(app, ["events", "replay", str(log)])
    assert replayed.exit_code == 0, replayed.output
    assert "commands: identical" in replayed.output
