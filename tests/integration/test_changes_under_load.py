"""What happens to a running gateway costs no request: reloads, deaths of its processes, restarts behind it, its end.

Each test takes some seconds: requests have to flow before, during and after.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin, Visit
from tests.conformance.dataplane.wire import Client, reply, request
from tests.integration.load import Load

HOST = "live.test"
_pause = threading.Event()  # never set: waiting for it is a bounded sleep


def settings(origins: list[Origin], more: int = 0) -> dict[str, Any]:
    """One cluster for HOST, and some that come and go."""
    clusters: dict[str, Any] = {"live": {"endpoints": [o.address for o in origins]}}
    routes: list[dict[str, Any]] = [{"host": HOST, "cluster": "live", "timeout": "5s"}]
    for n in range(more):
        clusters[f"extra{n}"] = {"endpoints": [f"127.0.0.1:{20000 + n}"]}
        routes.append({"host": f"extra{n}.test", "cluster": f"extra{n}"})
    return {"clusters": clusters, "routes": routes}


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    made = [Origin().start() for _ in range(3)]
    yield made
    for origin in made:
        origin.stop()


@pytest.fixture
def live(tmp_path: Path, origins: list[Origin]) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, config(free_port(), free_port(), **settings(origins)))
    yield gateway
    if gateway.process.poll() is None:
        assert gateway.stop() == 0


def children(gateway: Gateway, role: str) -> list[int]:
    """Process ids of its children of a role."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == gateway.process.pid and role.encode() in words:
                found.append(int(entry.name))
    return found


def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    """Waits until something holds."""
    for _ in range(int(seconds / 0.05)):
        if what():
            return
        _pause.wait(0.05)
    raise AssertionError(f"did not come to pass within {seconds:g} s")


def reloads(gateway: Gateway) -> int:
    """How many reloads have been put in force."""
    for line in gateway.ask_admin("/metrics")[1].decode().splitlines():
        if "reload" in line and "success" in line and "_total" in line and not line.startswith("#"):
            return int(float(line.rpartition(" ")[2]))
    raise AssertionError("no metric counts the reloads")


@pytest.mark.timeout(120)
def test_a_hundred_reloads_lose_nothing(live: Gateway, origins: list[Origin]) -> None:
    base = {key: live.settings[key] for key in ("listen", "admin", "recorder")}
    with Load(live.port, HOST) as load:
        load.wait(100)
        for n in range(100):
            live.write({**base, **settings(origins[: 2 + n % 2], more=n % 3)})
            status, body = live.ask_admin("/-/reload", "POST")
            assert status in (200, 202, 204), body
        load.wait(100)
    assert (load.failures, load.closed) == ([], 0)
    assert set(load.statuses) == {200}


def test_reloads_by_signal_lose_nothing(live: Gateway, origins: list[Origin]) -> None:
    base = {key: live.settings[key] for key in ("listen", "admin", "recorder")}
    with Load(live.port, HOST) as load:
        load.wait(50)
        for n in range(5):
            live.write({**base, **settings(origins, more=1 + n)})
            live.process.send_signal(signal.SIGHUP)
            # A name that was unknown before answers with something else than "no route" once it is in force.
            until(lambda n=n: status_of(live, f"extra{n}.test") != 404)
        load.wait(50)
    assert (load.failures, load.closed) == ([], 0)


def status_of(gateway: Gateway, host: str) -> int:
    with gateway.client() as client:
        return client.ask("/", host).status


def test_a_file_that_changes_is_put_in_force_without_being_told(live: Gateway, origins: list[Origin]) -> None:
    base = {key: live.settings[key] for key in ("listen", "admin", "recorder")}
    assert status_of(live, "extra0.test") == 404
    live.write({**base, **settings(origins, more=1)})
    until(lambda: status_of(live, "extra0.test") != 404)


def test_a_wrong_file_changes_nothing_and_says_where(live: Gateway) -> None:
    good = live.path.read_text()
    live.path.write_text(good + "\nclusters: nonsense\nunknown: 1\n")
    status, body = live.ask_admin("/-/reload", "POST")
    assert status >= 400
    assert b"gateway.yaml" in body
    assert status_of(live, HOST) == 200
    assert live.ask_admin("/readyz")[0] == 200
    live.path.write_text(good)
    assert live.ask_admin("/-/reload", "POST")[0] < 300


def test_a_brain_that_is_killed_costs_no_request(live: Gateway) -> None:
    with Load(live.port, HOST) as load:
        load.wait(100)
        (brain,) = children(live, "brain")
        os.kill(brain, signal.SIGKILL)
        load.wait(200)
        until(lambda: bool(children(live, "brain")) and children(live, "brain") != [brain])
        load.wait(100)
    assert (load.failures, load.closed) == ([], 0)


def test_a_worker_that_is_killed_costs_only_what_it_had_in_hand(live: Gateway) -> None:
    with Load(live.port, HOST, clients=8) as load:
        load.wait(100)
        (worker,) = children(live, "worker")
        os.kill(worker, signal.SIGKILL)
        until(lambda: bool(children(live, "worker")) and children(live, "worker") != [worker])
        load.wait(200)
    assert len(load.failures) + load.closed <= 8, (load.failures, load.closed)
    live.wait_ready()


@pytest.mark.timeout(120)
def test_instances_that_restart_one_after_the_other_cost_no_request(live: Gateway, origins: list[Origin]) -> None:
    """Each goes away in the rudest way, connections cut and the port refusing, and comes back on the same port."""
    with Load(live.port, HOST) as load:
        load.wait(200)
        for n, old in enumerate(list(origins)):
            old.stop()
            load.wait(100)
            origins[n] = Origin(port=old.port).start()
            load.wait(300)
    assert (load.failures, load.closed) == ([], 0)


def test_the_end_costs_no_request(live: Gateway) -> None:
    with Load(live.port, HOST) as load:
        load.wait(100)
        load.over.set()
        live.process.send_signal(signal.SIGTERM)
        until(lambda: live.process.poll() is not None)
    assert live.process.returncode == 0
    assert load.failures == []
    assert "Traceback" not in live.text()


def test_a_request_in_flight_is_finished_before_the_end(live: Gateway, origins: list[Origin]) -> None:
    go = threading.Event()

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            go.wait(10)
            visit.send(reply(200, b"at last"))

    for origin in origins:
        origin.start(script)
    with live.client() as client:
        client.send(request("/", HOST))
        until(lambda: any(o.requests for o in origins))
        live.process.send_signal(signal.SIGTERM)
        until(lambda: live.ask_admin("/readyz")[0] == 503)
        assert live.ask_admin("/livez")[0] == 200
        go.set()
        response = client.response()
        assert (response.status, response.body) == (200, b"at last")
        assert (response.get("connection") or "").lower() == "close"
        assert client.closed()
    until(lambda: live.process.poll() is not None)
    assert live.process.returncode == 0


def test_a_second_signal_does_not_wait(live: Gateway, origins: list[Origin]) -> None:
    def hanging(visit: Visit) -> None:
        visit.next()
        visit.rest()

    for origin in origins:
        origin.start(hanging)
    with live.client() as client:
        client.send(request("/", HOST))
        until(lambda: any(o.requests for o in origins))
        live.process.send_signal(signal.SIGTERM)
        _pause.wait(0.3)
        assert live.process.poll() is None
        live.process.send_signal(signal.SIGTERM)
        until(lambda: live.process.poll() is not None, 5.0)


def test_a_gateway_killed_outright_leaves_no_process_behind(live: Gateway) -> None:
    pids = children(live, "worker") + children(live, "brain")
    assert len(pids) == 2
    live.process.kill()
    live.process.wait(5)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with pytest.raises(ConnectionError):
        Client(live.port)
