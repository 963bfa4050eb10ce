"""What is recorded behind Envoy, hedges and what they beat included, is as the embedded data plane writes it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pyarrow.dataset
import pytest

from adaptive import clock
from adaptive.types import Cause, Mark
from tests import envoys
from tests.commands import run
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin, Visit
from tests.conformance.dataplane.wire import reply

envoys.require()

SECONDS = 9.0  # the first hedges come after five: only then it is known what is slow
CLIENTS = 3
USUAL, SLOW = 0.01, 0.15  # seconds; one request in so many is slow, at whoever gets it first
SLOW_EVERY = 25

_pause = threading.Event()  # never set: waiting for it is a bounded sleep


class Fleet:
    """Three instances that answer in `USUAL` seconds, and at the first of them some requests in `SLOW`."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.origins = [Origin().start(self.script) for _ in range(3)]

    def script(self, visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            slow = asked.target.startswith("/slow") and asked.target not in self.seen
            self.seen.add(asked.target)
            _pause.wait(SLOW if slow else USUAL)
            visit.send(reply())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of some seconds in which no request failed."""
    folder = tmp_path_factory.mktemp("trace")
    fleet = Fleet()
    settings = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address for origin in fleet.origins]}},
        routes=[{"cluster": "all", "timeout": "3s"}],
    )
    settings["recorder"] = {"directory": str(folder / "recording")}
    gateway = Gateway(folder, settings, {"all": fleet.origins}, "envoy")
    failed: list[int] = []
    until = clock.monotonic() + SECONDS

    def ask(who: int) -> None:
        number = 0
        with gateway.client() as client:
            while clock.monotonic() < until:
                number += 1
                kind = "slow" if number % SLOW_EVERY == 0 else "usual"
                status = client.ask(f"/{kind}-{who}-{number}", "any.test").status
                if status != 200:
                    failed.append(status)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gateway.stop() == 0
    assert failed == []
    return folder / "recording"


def test_hedges_and_what_they_beat_are_recorded_as_such(recorded: Path) -> None:
    rows = pyarrow.dataset.dataset(sorted(recorded.glob("outcomes-*.parquet"))).to_table().to_pylist()
    causes = Counter(Cause(row["cause"]) for row in rows)
    assert set(causes) == {Cause.RESPONSE, Cause.CANCELLED}
    assert all(row["marks"] & Mark.CENSORED for row in rows if row["cause"] == Cause.CANCELLED)
    assert any(row["marks"] & Mark.HEDGE for row in rows)
    final = Counter(row["request"] for row in rows if row["marks"] & Mark.FINAL)
    assert set(final.values()) == {1}
    assert final.keys() == {row["request"] for row in rows}, "one attempt of each request is what its client saw"


def test_other_policies_are_evaluated_from_it_with_no_word_of_envoy(recorded: Path) -> None:
    """Some seconds: the recording is fitted and simulated many times over."""
    done = run("evaluate", recorded, "--policy", "least_request,round_robin", "--logged", "least_request")
    assert done.exit_code == 0, done.output
    assert "0 failures recorded, 0 simulated" in done.output
    assert "slow requests had second copies beside them" in " ".join(done.output.split())
