"""A log told again gives the same commands, and says where it does not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from adaptive.config.model import ModelConfig
from adaptive.controller import Controller
from adaptive.telemetry import events
from adaptive.telemetry.event_log import EventLog
from adaptive.types import InFlightSeen, Tick, Topology
from replay import parity
from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator.simulation import cluster_of, simulate
from replay.troubles import fault

FAULTS = {1: (fault("hang", 4.0, 9.0, p=1.0),), 2: (fault("errors", 6.0, 10.0, p=0.8),)}
SCENARIO = Scenario(
    "faulty",
    tuple(Instance(f"127.0.0.1:{9100 + i}", Service(0.02), slots=4, faults=FAULTS.get(i, ())) for i in range(5)),
    Load(((0.0, 200.0),)),
    seconds=12.0,
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("events")
    keeper = EventLog(directory, 1 << 24, {}, patience=5.0)
    simulate(SCENARIO, "adaptive", 3, log=keeper)
    keeper.close()
    assert keeper.reason == "closed"
    (file,) = directory.glob("*.events")
    return file


def verdict(data: bytes) -> parity.Verdict:
    return parity.replay(events.read(Path("a.events"), io.BytesIO(data)))


def test_a_simulated_brain_s_log_gives_identical_commands(log: Path) -> None:
    found = verdict(log.read_bytes())
    assert found.difference is None and found.partial == ""
    assert found.commands > 10 and found.events > 300


def test_another_decision_is_found_where_it_is(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptive.controller.HEARTBEAT", 1.5)
    found = verdict(log.read_bytes())
    assert found.difference is not None
    assert found.difference.kind == "Tick" and found.difference.at < 3.0
    assert str(found.difference).startswith(f"event {found.events} (Tick at ")


def test_differences_name_their_place() -> None:
    logged = [["Publish", {"snapshot": {"weight": [10, 20], "probability": [float("nan")]}}]]
    now = [["Publish", {"snapshot": {"weight": [10, 21], "probability": [float("nan")]}}]]
    assert list(parity.differences(logged, now)) == [("commands[0][1].snapshot.weight[1]", "20", "21")]
    assert next(parity.differences(logged, [])) == ("commands", "1 of them", "0")


def test_the_configuration_s_own_model_section_is_told_again(tmp_path: Path) -> None:
    topology = Topology(1, (cluster_of(SCENARIO, "adaptive"),), 5)
    section = ModelConfig.model_validate({"horizon": "3s", "seed": 4})
    keeper = EventLog(tmp_path, 1 << 24, {}, patience=5.0)
    keeper.begin(0.0, topology, section, None)
    controller = Controller(topology, section)
    for tick in range(1, 60):  # beyond the horizon: the first answers are asked for
        for event in (InFlightSeen(tick / 10, np.ones(5), np.full(5, tick / 10 - 0.05)), Tick(tick / 10)):
            keeper.event(event)
            keeper.commands(controller.handle(event))
    keeper.close()
    (file,) = tmp_path.glob("*.events")
    log = events.read(file, io.BytesIO(file.read_bytes()))
    assert log.begun.settings["horizon"] == 3.0
    found = parity.replay(log)
    assert found.difference is None and found.commands > 0


def test_settings_that_are_none_are_an_error_of_the_log() -> None:
    begun = events.Begun(Topology(1, (cluster_of(SCENARIO, "adaptive"),), 5), {"horizon": "2s"})
    data = events.header({}) + events.block(events.many(1) + events.record(begun))
    with pytest.raises(events.EventLogError, match=r"a\.events: the settings of its Controller: .*horizon"):
        verdict(data)
