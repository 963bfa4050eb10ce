"""Event logs: what is written comes back, what is damaged is said, and no disk stops the brain."""

from __future__ import annotations

import errno
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptive.controller import Settings
from adaptive.telemetry import events
from adaptive.telemetry.columns import empty
from adaptive.telemetry.event_log import EventLog
from adaptive.telemetry.events import EventLogError
from adaptive.types import (
    Cluster,
    Command,
    Endpoint,
    Event,
    Health,
    HealthChecked,
    InFlightSeen,
    Member,
    Moved,
    ObserverSeen,
    OutcomesSeen,
    Overridden,
    Publish,
    Reconfigured,
    Tick,
    Topology,
    TrustChanged,
    first_snapshot,
)

ENDPOINT = Endpoint("api", "10.0.0.1", 80)
TOPOLOGY = Topology(3, (Cluster("api", 0, (Member(ENDPOINT, 1, zone="a", metadata={"k": "v"}),)),), 2)


def story() -> list[tuple[Event, list[Command]]]:
    rows = empty(2)
    rows["slot"], rows["first_byte"] = [1, 0], [0.5, np.nan]
    return [
        (Reconfigured(1.0, TOPOLOGY), [Publish(first_snapshot(TOPOLOGY, 1.0, 7))]),
        (ObserverSeen(1.1, 0.01, 3), []),
        (OutcomesSeen(1.1, rows), []),
        (InFlightSeen(1.1, np.array([1, 0]), np.array([0.7, np.nan])), []),
        (HealthChecked(1.15, 1, False, 0.3, "no answer"), []),
        (Overridden(1.2, 1, Health.DRAINING, 9.0, "by hand"), [Moved(1.2, ENDPOINT, Health.HEALTHY, Health(4), "so")]),
        (Tick(1.2), [TrustChanged(1.2, "api", True, "stale"), Publish(first_snapshot(TOPOLOGY, 1.2, 8))]),
    ]


def write(directory: Path, size: int = 1 << 20, told: list[tuple[Event, list[Command]]] | None = None) -> EventLog:
    log = EventLog(directory, size, {"config_hash": "abc"}, patience=5.0)
    log.begin(1.0, TOPOLOGY, Settings(seed=5), first_snapshot(TOPOLOGY, 0.0, 6))
    for event, commands in told or story():
        log.event(event)
        log.commands(commands)
    log.close()
    return log


def only(directory: Path) -> Path:
    (file,) = directory.glob("*.events")
    return file


def read(file: Path) -> tuple[events.Log, list[events.Entry]]:
    log = events.read(file, io.BytesIO(file.read_bytes()))
    return log, list(log.entries())


def test_all_that_was_logged_comes_back(tmp_path: Path) -> None:
    write(tmp_path)
    log, entries = read(only(tmp_path))
    assert log.header["config_hash"] == "abc" and log.partial == ""
    assert log.begun.topology == TOPOLOGY and log.begun.settings["seed"] == 5
    assert log.begun.resumed is not None and log.begun.resumed.version == 6
    assert len(entries) == len(story())
    for entry, (event, commands) in zip(entries, story(), strict=True):
        assert type(entry.event) is type(event) and entry.event.at == event.at
        assert entry.commands == events.commands(commands)
    outcomes, live = entries[2].event, entries[3].event
    assert isinstance(outcomes, OutcomesSeen) and isinstance(live, InFlightSeen)
    assert outcomes.rows.tobytes() == story()[2][0].rows.tobytes()  # type: ignore[union-attr]
    assert live.in_flight.dtype == np.int64 and np.isnan(live.oldest[1])
    assert entries[4].event == story()[4][0] and entries[5].event == story()[5][0]


def test_a_torn_end_costs_only_itself(tmp_path: Path) -> None:
    later = [(Tick(t / 10), []) for t in range(10, 45)]
    write(tmp_path, told=later)  # type: ignore[arg-type]
    file = only(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])
    log, entries = read(file)
    assert log.partial == "block 4 is torn or damaged, and what follows is lost"
    assert 25 <= len(entries) < len(later)  # what came after the last flush is gone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"PAR1" + data, "no event log"),
        (lambda data: b"", "no event log"),
        (lambda data: data.replace(b'"version":1', b'"version":2', 1), "version 2 of the format; .* reads up to 1"),
        (lambda data: data.replace(b'"sent_at"', b'"gone"', 1), "outcomes have other columns"),
        (lambda data: data[: data.index(b"\n") + 1], "the log is empty: nothing was logged"),
        (lambda data: data[: data.index(b"\n") + 9], "the log is empty: block 1 is torn"),
    ],
)
def test_what_is_no_log_is_said(tmp_path: Path, change: Any, message: str) -> None:
    write(tmp_path)
    file = only(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(EventLogError, match=message):
        read(file)


class Full(io.FileIO):
    """A disk on which no more than a header fits."""

    def write(self, data: Any) -> int:
        if self.tell() > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_ends_the_log_and_not_the_brain(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 1 << 20, {}, opener=lambda path: Full(path, "xb"))
    log.begin(1.0, TOPOLOGY, Settings(), None)
    log.event(Tick(1.0))
    log.event(Tick(3.0))  # a second later: what was held goes to the disk
    log._end()
    assert log.report()["reason"] == "No space left on device" and log.failures == 1
    log.event(Tick(4.0))
    log.commands([])
    assert log.report()["dropped_events"] == 1
    assert log.report()["logging"] is False
    log.close()


def test_a_log_ends_at_its_bound_and_stays_readable(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def noise() -> Any:
        rows = empty(300)
        rows["sent_at"] = rng.random(300)
        return rows

    log = write(tmp_path, 1 << 16, [(OutcomesSeen(float(t), noise()), []) for t in range(60)])
    assert log.report()["reason"] == "it has reached its bound of 32768 bytes"
    assert only(tmp_path).stat().st_size <= 1 << 15
    _, entries = read(only(tmp_path))
    assert 0 < len(entries) < 60


def test_the_bound_of_one_log_does_not_take_what_another_writes(tmp_path: Path) -> None:
    one = EventLog(tmp_path, 1 << 16, {})
    one.begin(60.0, TOPOLOGY, Settings(), None)
    one.event(Tick(62.0))
    deadline = time.monotonic() + 10.0
    while one.bytes < 200 and time.monotonic() < deadline:
        time.sleep(0.001)
    for name in ("20200101T000000-1-0001", "20210101T000000-1-0001"):
        (tmp_path / f"{name}.events").write_bytes(b"x" * (1 << 16))
    other = write(tmp_path, 1 << 16)
    assert other.deleted_files == 2
    one.close()
    assert all(read(path)[1] for path in tmp_path.glob("*.events"))


def test_the_oldest_logs_go_first(tmp_path: Path) -> None:
    for name, size in (("20200101T000000-1-0001", 30_000), ("20210101T000000-1-0001", 20_000)):
        (tmp_path / f"{name}.events").write_bytes(b"x" * size)
    log = write(tmp_path, 1 << 16)
    assert log.deleted_files == 1
    assert [p.name[:4] for p in sorted(tmp_path.glob("*.events"))] == ["1970", "2021"]
