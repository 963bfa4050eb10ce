"""The gateways that the suite runs against, of ordinary settings and of tight limits. Each starts once a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import envoys
from tests.conformance.dataplane import differences
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin
from tests.conformance.dataplane.wire import Client, Leaving

PLANES = ["embedded", "envoy"]
TRUSTED = "127.0.0.2"  # all of 127/8 is this machine, so a client may choose to be believed
ALONE = 80
TRIOS = 40


def clusters(
    alone: int = ALONE, trios: int = TRIOS, timeout: str = "5s", **kinds: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, list[Origin]]]:
    """Clusters for one test each, so that no test sees what the gateway learned in another; their routes and origins.

    Each further kind is a trio with settings of its own: {"cluster": {...}, "route": {...}}.
    """
    origins = {f"alone{n}": [Origin()] for n in range(alone)} | {
        f"trio{n}": [Origin() for _ in range(3)] for n in range(trios)
    }
    own = {f"{kind}{n}": settings for kind, settings in kinds.items() for n in range(8)}
    origins |= {name: [Origin() for _ in range(3)] for name in own}
    cluster = {
        name: {"endpoints": [o.address for o in group], **own.get(name, {}).get("cluster", {})}
        for name, group in origins.items()
    }
    routes = [
        {"host": f"{name}.test", "cluster": name, "timeout": timeout, **own.get(name, {}).get("route", {})}
        for name in origins
    ]
    return cluster, routes, origins


@pytest.fixture(scope="module", params=PLANES)
def data_plane(request: pytest.FixtureRequest) -> str:
    """What carries the requests."""
    chosen: str = request.param
    if chosen == "envoy" and (reason := envoys.lacking()):
        pytest.skip(reason)
    return chosen


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where Envoy differs by nature, a test must fail: when it no longer does, the table is wrong."""
    items[:] = [item for item in items if not ("[envoy" in item.name and item.name.startswith(differences.NOT_RUN))]
    for item in items:
        if "[envoy" in item.name and (reason := differences.of(item.name)):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, data_plane: str) -> Iterator[Gateway]:
    """Ordinary settings; peers at TRUSTED are believed."""
    cluster, routes, origins = clusters(
        hasty={"route": {"timeout": "600ms"}},
        stepwise={"route": {"timeout": "4s", "attempt_timeout": "300ms"}},
        frugal={"cluster": {"retry_budget": {"ratio": 0, "minimum": 1, "window": "1s"}}},
        narrow={"cluster": {"limits": {"requests": 1}}},
        tied={"cluster": {"limits": {"connections": 1, "idle": 1}}, "route": {"timeout": "2s"}},
        once={"route": {"retries": 0}},
        changed={
            "route": {
                "request_headers": {
                    "remove": ["x-gone"],
                    "set": {"x-set": "gateway", "host": "inner.example"},
                    "add": {"x-added": "1"},
                },
                "response_headers": {"remove": ["server"], "set": {"x-set": "gateway"}, "add": {"x-added": "1"}},
            }
        },
    )
    settings = config(
        free_port(),
        free_port(),
        server={"trusted": [f"{TRUSTED}/32"]},
        clusters=cluster,
        routes=routes,
    )
    gateway = Gateway(tmp_path_factory.mktemp("plane"), settings, origins, data_plane)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, data_plane: str) -> Iterator[Gateway]:
    """Small limits and short time-outs."""
    cluster, routes, origins = clusters(alone=32, trios=0, timeout="2s")
    settings = config(
        free_port(),
        free_port(),
        server={
            "limits": {
                "header_bytes": "4KiB",
                "headers": 20,
                "uri_bytes": 1024,
                "body_bytes": "64KiB",
                "connections": 16,
                "pipelined": 4,
            },
            "timeouts": {"idle": "700ms", "header": "700ms", "body": "700ms", "write": "1s", "drain": "500ms"},
        },
        clusters=cluster,
        routes=routes,
    )
    gateway = Gateway(tmp_path_factory.mktemp("tight"), settings, origins, data_plane)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def leaving(plane: Gateway) -> Iterator[Leaving]:
    """Connections that must have ended when the module has: each would take Envoy a second, all together too."""
    held = Leaving()
    yield held
    held.look()


@pytest.fixture
def alone(plane: Gateway) -> tuple[str, Origin]:
    """A host and its one origin, not started yet."""
    return plane.alone()


@pytest.fixture
def trio(plane: Gateway) -> tuple[str, list[Origin]]:
    """A host and its three origins, which refuse until they are started."""
    return plane.trio()


@pytest.fixture
def client(plane: Gateway) -> Iterator[Client]:
    """A connection to the ordinary gateway."""
    with plane.client() as connection:
        yield connection
