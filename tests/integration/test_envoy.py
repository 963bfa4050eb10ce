"""Envoy as the data plane, with everything that can die killed under load."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adaptive import clock
from adaptive.envoy.process import Place
from tests import envoys
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin, Visit
from tests.conformance.dataplane.wire import reply

envoys.require()

_pause = threading.Event()  # never set: waiting for it is a bounded sleep


def until(what: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait until something is true; what it was."""
    deadline = clock.monotonic() + seconds
    while clock.monotonic() < deadline:
        try:
            if found := what():
                return found
        except OSError:
            pass
        _pause.wait(0.02)
    raise AssertionError("never came to pass")


class Load:
    """Requests one after the other from two threads, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent = 0
        self.failed: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        while not self._over.wait(0.005):
            self.sent += 1
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failed.append(str(response.status))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(type(error).__name__)
                connection.close()
        connection.close()

    def stop(self) -> list[str]:
        """End it; what failed."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.failed


@pytest.fixture(scope="module")
def origins() -> Iterator[list[Origin]]:
    made = [Origin().start() for _ in range(3)]
    yield made
    for origin in made:
        origin.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, origins: list[Origin]) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("envoy")
    settings = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address for origin in origins]}},
        routes=[{"cluster": "all", "timeout": "3s"}],
    )
    made = Gateway(folder, {**settings, "recorder": {"directory": str(folder / "recordings")}}, data_plane="envoy")
    yield made
    assert made.stop() == 0


def report(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.ask_admin("/clusters")[1])
    return found


def child(gateway: Gateway, role: str) -> int | None:
    """The process id of a child by its role."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == gateway.process.pid and role.encode() in words:
                return int(entry.name)
    return None


def test_attempts_reach_the_brain_and_the_node_is_named(gateway: Gateway) -> None:
    with gateway.client() as client:
        for n in range(30):
            assert client.ask(f"/{n}", "any.test").status == 200
    until(lambda: report(gateway).get("outcomes", 0) >= 30)
    found = report(gateway)
    assert [node["node"] for node in found["data_plane"]["nodes"]] == ["local"]
    (cluster,) = found["clusters"]
    assert sum(sum(endpoint["causes"].values()) for endpoint in cluster["endpoints"]) >= 30
    status, body = gateway.ask_admin("/metrics")
    assert status == 200
    assert b'adaptive_envoy_nacks_total{node="local"} 0.0' in body
    assert b'adaptive_envoy_connected{node="local"} 1.0' in body


def test_an_operators_word_reaches_envoy(gateway: Gateway, origins: list[Origin]) -> None:
    out = origins[0]
    body = json.dumps({"action": "eject", "seconds": 60, "reason": "test"})
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=5)
    target = f"/clusters/all/endpoints/{out.address}/override"
    connection.request("POST", target, body=body, headers={"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()

    def spared() -> bool:
        for origin in origins:
            origin.forget()
        with gateway.client() as client:
            assert {client.ask(f"/{n}", "any.test").status for n in range(20)} == {200}
        return not out.begun and all(origin.begun for origin in origins[1:])

    until(spared)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=5)
    connection.request("POST", target, body='{"action": "restore"}', headers={"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def killed_under_load(gateway: Gateway, roles: Iterable[str]) -> int:
    """Kill children one after the other while requests flow, of which none may fail; how many there were."""
    load = Load(gateway.port)
    for role in roles:
        pid = until(lambda role=role: child(gateway, role), 30.0)
        os.kill(pid, signal.SIGKILL)
        until(lambda role=role, pid=pid: child(gateway, role) not in (None, pid), 30.0)
        _pause.wait(0.5)
    assert load.stop() == []
    until(lambda: report(gateway).get("source") == "brain" and report(gateway)["data_plane"]["nodes"], 30.0)
    return load.sent


def test_brain_and_station_may_be_killed_under_load(gateway: Gateway) -> None:
    """Some seconds: each is killed twice while requests flow."""
    assert killed_under_load(gateway, ("brain", "station") * 2) > 100


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_brain_that_is_killed_for_half_a_minute_costs_no_request(gateway: Gateway) -> None:
    """Half a minute, in which it is killed as soon as it is back, again and again."""
    end = clock.monotonic() + 30.0
    assert killed_under_load(gateway, iter(lambda: "brain" if clock.monotonic() < end else "", "")) > 1000


def test_what_a_station_that_hangs_does_not_read_is_bounded_and_counted(gateway: Gateway) -> None:
    """Some seconds: more is told of than may wait in the pipe, and nobody reads it for longer than it may wait."""
    station = until(lambda: child(gateway, "station"))

    def told(name: str) -> int:
        found = re.search(rf"^{name}(?:{{.*}})? (.*)$", gateway.ask_admin("/metrics")[1].decode(), re.MULTILINE)
        return int(float(found[1])) if found else 0

    lost, entries, sent = "adaptive_outcomes_lost_total", "adaptive_envoy_entries_total", 5000
    _pause.wait(1.0)  # the station tells four times a second what it has counted
    before = told(lost) + told(entries)
    os.kill(station, signal.SIGSTOP)
    try:
        with gateway.client() as client:
            for _ in range(sent):
                assert client.ask("/", "any.test", method="POST").status == 200  # a GET might get a second attempt
        until(lambda: told(lost))
    finally:
        os.kill(station, signal.SIGCONT)
    # One line an attempt, and on a busy machine a few more of attempts that took long enough to be told of under way.
    until(lambda: 0 <= told(lost) + told(entries) - before - sent <= sent // 50)
    until(lambda: "were lost" not in report(gateway)["observer"]["blind"])
    assert "the station does not keep up" in gateway.text()


def test_a_killed_envoy_is_back_in_under_two_seconds(gateway: Gateway) -> None:
    (pid,) = gateway.workers()
    os.kill(pid, signal.SIGKILL)
    began = clock.monotonic()

    def serves() -> bool:
        with gateway.client() as client:
            return client.ask("/", "any.test").status == 200

    until(serves, 10.0)
    assert clock.monotonic() - began < 2.0
    assert gateway.workers() != [pid]
    until(lambda: report(gateway)["data_plane"]["nodes"])


def test_what_envoy_refuses_changes_nothing_and_is_told(gateway: Gateway, tmp_path: Path) -> None:
    load = Load(gateway.port)
    before = gateway.settings
    gateway.write({**before, "access_log": {"path": str(tmp_path)}})  # a folder is no file
    status, body = gateway.ask_admin("/-/reload", "POST")
    assert status == 422
    assert b"Envoy local" in body
    assert str(tmp_path).encode() in body
    assert b"[!]config" in gateway.ask_admin("/readyz?verbose")[1]
    gateway.write(before)
    assert gateway.ask_admin("/-/reload", "POST")[0] == 200
    assert load.stop() == []
    until(lambda: report(gateway)["data_plane"]["nacks"])


def test_a_request_under_way_ends_before_envoy_does(tmp_path: Path) -> None:
    """Some seconds: a gateway starts, and is told to stop while an instance takes its time."""

    def slow(visit: Visit) -> None:
        while visit.next() is not None:
            _pause.wait(1.0)
            visit.send(reply())

    origin = Origin().start(slow)
    settings = config(
        free_port(), free_port(), clusters={"all": {"endpoints": [origin.address]}}, routes=[{"cluster": "all"}]
    )
    gateway = Gateway(tmp_path, settings, data_plane="envoy")
    (pid,) = gateway.workers()
    with gateway.client() as client, ThreadPoolExecutor() as pool:
        asked = pool.submit(client.ask, "/", "any.test")
        until(lambda: origin.begun)
        began = clock.monotonic()
        gateway.process.terminate()
        assert asked.result().status == 200
        assert gateway.process.wait(20) == 0
    assert clock.monotonic() - began < 5.0, "it waits for what is under way, and for no more"
    assert not Path(f"/proc/{pid}").exists()
    origin.stop()


def test_who_keeps_a_connection_is_told_before_envoy_ends(tmp_path: Path) -> None:
    """Some seconds: a gateway starts, and is told to stop while a client is between two requests."""
    origin = Origin().start()
    settings = config(
        free_port(), free_port(), clusters={"all": {"endpoints": [origin.address]}}, routes=[{"cluster": "all"}]
    )
    gateway = Gateway(tmp_path, settings, data_plane="envoy")
    with gateway.client() as client:

        def told() -> bool:
            answer = client.ask("/", "any.test")
            assert answer.status == 200
            return answer.get("connection") == "close"

        assert not told()
        gateway.process.terminate()
        until(told)
    assert gateway.process.wait(20) == 0
    origin.stop()


def test_another_gateway_with_the_same_file_is_refused(gateway: Gateway) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "adaptive.cli", "serve", "-c", str(gateway.path), "--data-plane", "envoy"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 1
    assert "a gateway with this file runs already" in done.stderr


def test_an_envoy_whose_gateway_was_killed_serves_on_and_tells_the_next_one(
    tmp_path: Path, origins: list[Origin]
) -> None:
    """Some seconds: two starts. The pipe is made anew in between, as where somebody tidied up."""
    settings = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address for origin in origins]}},
        routes=[{"cluster": "all", "timeout": "3s"}],
    )
    first = Gateway(tmp_path, settings, data_plane="envoy")
    (pid,) = first.workers()
    load = Load(first.port)
    first.process.kill()
    first.process.wait()
    place = Place(first.path)
    Path(place.pipe).unlink()
    place.close()
    second = Gateway(tmp_path, settings, data_plane="envoy")
    try:
        assert report(second)["data_plane"]["pid"] == pid
        until(lambda: report(second).get("outcomes", 0) > 20)
        assert load.stop() == []
    finally:
        load.stop()
        assert second.stop() == 0
