"""A configuration that changes under load costs no request, and a wrong one changes nothing.

Each test takes some seconds: requests have to flow before, during and after.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin
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


def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    """Waits until something holds."""
    for _ in range(int(seconds / 0.05)):
        if what():
            return
        _pause.wait(0.05)
    raise AssertionError(f"did not come to pass within {seconds:g} s")


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
