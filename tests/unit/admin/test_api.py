"""The admin API against a gateway of cardboard: paths, statuses, who may ask, and what is said to whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from adaptive.admin.server import application
from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.version import __version__

TEXT = """
listen: 127.0.0.1:8080
admin: {admin}
clusters: {{api: {{endpoints: [127.0.0.1:9100]}}}}
routes: [{{prefix: /, cluster: api}}]
"""
OVERRIDE = "/clusters/api/endpoints/127.0.0.1:9100/override"


@dataclass
class Reloaded:
    generation: int
    errors: tuple[str, ...] = ()


@dataclass
class Cardboard:
    """A gateway that does nothing but remember."""

    config: Config
    generation: int = 3
    state: str = "serving"
    brain: bool = True
    checks: list[tuple[str, str, str]] = field(default_factory=lambda: [("workers", "+", "1 of 1")])
    errors: tuple[str, ...] = ()
    overridden: list[tuple[Any, ...]] = field(default_factory=list)

    def readiness(self) -> list[tuple[str, str, str]]:
        return self.checks

    async def clusters(self) -> dict[str, Any]:
        endpoint = {"address": "127.0.0.1:9100", "health": "EJECTED", "weight": 1, "probability": 0.93, "reason": "bad"}
        found = {"clusters": [{"name": "api", "policy": "adaptive", "mode": "model", "endpoints": [endpoint]}]}
        return {"source": "brain", **found} if self.brain else {"source": "board", "detail": "no brain", **found}

    async def explain(self, cluster: str, endpoint: str) -> dict[str, Any] | None:
        if (cluster, endpoint) != ("api", "127.0.0.1:9100"):
            raise KeyError(endpoint)
        return {"summary": "it is well"} if self.brain else None

    async def metrics(self, accept: str | None) -> tuple[bytes, str]:
        return b"up 1\n", f"text/plain; accept={bool(accept)}"

    def override(self, *what: Any) -> bool:
        if what[0] != "api":
            raise KeyError(what[0])
        self.overridden.append(what)
        return self.brain

    async def reload(self) -> Reloaded:
        return Reloaded(self.generation, self.errors)

    def drain(self) -> None:
        self.state = "draining"


def cardboard(admin: str = "127.0.0.1:9901") -> Cardboard:
    return Cardboard(parse(TEXT.format(admin=admin), env={"TOKEN": "sesame"}))


Connect = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[TestClient[Any, Any]] = []

    async def make(control: Cardboard) -> TestClient[Any, Any]:
        client = TestClient(TestServer(application(control), host="127.0.0.1"))
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


async def test_readiness_is_a_status_and_its_checks_a_list(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    control.checks.append(("brain", "!", "down"))
    reply = await client.get("/readyz?verbose")
    assert (reply.status, await reply.text()) == (200, "[+]workers: 1 of 1\n[!]brain: down\nreadyz check passed\n")
    control.checks.append(("gateway", "-", "draining"))
    for path in ("/readyz", "/healthz", "/-/ready"):
        assert (await client.get(path)).status == 503
    assert "[-]gateway: draining\nreadyz check failed\n" in await (await client.get("/readyz?verbose")).text()
    for path in ("/livez", "/-/healthy"):
        assert (await client.get(path)).status == 200


async def test_head_works_where_get_does(connect: Connect) -> None:
    client = await connect(cardboard())
    for path in ("/livez", "/readyz", "/metrics", "/clusters", "/config", "/version"):
        reply = await client.head(path)
        assert (reply.status, await reply.read()) == (200, b""), path


async def test_clusters_are_json_or_a_table(connect: Connect) -> None:
    client = await connect(cardboard())
    assert (await (await client.get("/clusters")).json())["source"] == "brain"
    lines = (await (await client.get("/clusters?format=text")).text()).splitlines()
    assert lines[0] == "api (policy adaptive; decided by the model)"
    assert lines[2].split() == ["127.0.0.1:9100", "EJECTED", "1", "93%", "-", "-", "-", "-", "bad"]


async def test_without_a_brain_clusters_say_so_and_explain_asks_for_patience(connect: Connect) -> None:
    control = cardboard()
    control.brain = False
    client = await connect(control)
    assert (await (await client.get("/clusters?format=text")).text()).startswith("no brain\n")
    reply = await client.get("/explain?cluster=api&endpoint=127.0.0.1:9100")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


async def test_explain_answers_or_says_what_is_wrong(connect: Connect) -> None:
    client = await connect(cardboard())
    good = await client.get("/explain?cluster=api&endpoint=127.0.0.1:9100")
    assert (await good.json())["summary"] == "it is well"
    for query, status in (("cluster=api&endpoint=a:1", 404), ("cluster=api", 400), ("", 400)):
        reply = await client.get(f"/explain?{query}")
        assert reply.status == status
        assert reply.content_type == "application/problem+json"


async def test_the_configuration_is_shown_without_its_token(connect: Connect) -> None:
    client = await connect(cardboard("{address: 127.0.0.1:9901, token: '${TOKEN}'}"))
    text = await (await client.get("/config", headers={"Authorization": "Bearer sesame"})).text()
    assert "sesame" not in text
    assert json.loads(text)["generation"] == 3


async def test_the_version_and_the_metrics_are_told(connect: Connect) -> None:
    client = await connect(cardboard())
    assert (await (await client.get("/version")).json())["adaptive"] == __version__
    assert await (await client.get("/metrics")).text() == "up 1\n"


async def test_a_reload_answers_with_the_generation_or_the_errors(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    assert await (await client.post("/-/reload")).json() == {"generation": 3}
    control.errors = ("gateway.yaml:4: clusters: no", "gateway.yaml:5: routes: no")
    reply = await client.post("/-/reload")
    assert reply.status == 422
    assert (await reply.json())["detail"].splitlines() == list(control.errors)


async def test_a_drain_is_accepted(connect: Connect) -> None:
    control = cardboard()
    reply = await (await connect(control)).post("/-/drain")
    assert (reply.status, control.state) == (202, "draining")


async def test_what_changes_state_is_post_alone(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    for path in ("/-/reload", "/-/drain", OVERRIDE):
        reply = await client.get(path)
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        assert (await reply.json())["status"] == 405
    assert control.state == "serving"


async def test_an_override_is_passed_on_with_its_lifetime_and_reason(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    reply = await client.post(OVERRIDE, json={"action": "eject", "seconds": 60, "reason": "disk"})
    assert reply.status == 200
    assert (await client.post(OVERRIDE, json={"action": "restore"})).status == 200
    assert control.overridden == [
        ("api", "127.0.0.1:9100", "eject", 60.0, "disk"),
        ("api", "127.0.0.1:9100", "restore", 600.0, ""),
    ]
    control.brain = False
    assert (await client.post(OVERRIDE, json={"action": "drain"})).status == 202


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"action": "explode"}',
        '{"action": ["eject"]}',
        '{"action": "eject", "seconds": 0}',
        '{"action": "eject", "seconds": -1}',
        '{"action": "eject", "seconds": true}',
        '{"action": "eject", "seconds": "60"}',
        '{"action": "eject", "seconds": 1e300}',
        '{"action": "eject", "seconds": NaN}',
        '{"action": "eject", "second": 5}',
        '{"action": "eject", "reason": 5}',
        '{"action": "eject", "reason": "a\\nb"}',
        '{"action": "eject", "reason": "' + "x" * 501 + '"}',
    ],
)
async def test_a_wrong_override_is_refused_and_changes_nothing(connect: Connect, body: str) -> None:
    control = cardboard()
    reply = await (await connect(control)).post(OVERRIDE, data=body)
    assert reply.status == 400
    assert (await reply.json())["detail"]
    assert control.overridden == []


async def test_an_override_of_nobody_is_not_found(connect: Connect) -> None:
    client = await connect(cardboard())
    reply = await client.post("/clusters/web/endpoints/127.0.0.1:9100/override", json={"action": "eject"})
    assert reply.status == 404


async def test_a_large_body_is_refused(connect: Connect) -> None:
    control = cardboard()
    reply = await (await connect(control)).post(OVERRIDE, data=b" " * 70_000)
    assert reply.status == 413
    assert reply.content_type == "application/problem+json"


async def test_an_unknown_path_is_a_problem(connect: Connect) -> None:
    reply = await (await connect(cardboard())).get("/nothing")
    assert (reply.status, reply.content_type) == (404, "application/problem+json")


async def test_with_a_token_only_probes_are_answered_without_it(connect: Connect) -> None:
    control = cardboard("{address: 127.0.0.1:9901, token: '${TOKEN}'}")
    client = await connect(control)
    for path in ("/livez", "/readyz"):
        assert (await client.get(path)).status == 200
    for path in ("/metrics", "/clusters", "/config", "/version", "/nothing"):
        reply = await client.get(path)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    for header in ("Bearer sesam", "Bearer ", "sesame", "Basic sesame", "Bearer sesame2", "Bearer s\u00e9same"):
        assert (await client.post("/-/drain", headers={"Authorization": header})).status == 401
    assert control.state == "serving"
    assert (await client.get("/version", headers={"Authorization": "bearer sesame"})).status == 200
    assert (await client.post("/-/drain", headers={"Authorization": "Bearer sesame"})).status == 202


async def test_the_details_of_readiness_are_for_those_with_the_token(connect: Connect) -> None:
    client = await connect(cardboard("{address: 127.0.0.1:9901, token: '${TOKEN}'}"))
    assert "1 of 1" not in await (await client.get("/readyz?verbose")).text()
    assert "1 of 1" not in await (await client.get("/readyz?verbose", headers={"Authorization": "Bearer x"})).text()
    reply = await client.get("/readyz?verbose", headers={"Authorization": "Bearer sesame"})
    assert "1 of 1" in await reply.text()


async def test_a_name_rebound_to_this_machine_may_change_nothing(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    for host in ("evil.example", "evil.example:9901", "127.0.0.1.evil.example", ""):
        assert (await client.post("/-/drain", headers={"Host": host})).status == 403, host
    assert control.state == "serving"
    for host in ("localhost", "LOCALHOST:9901", "127.0.0.1:80", "[::1]:9901"):
        assert (await client.post("/-/reload", headers={"Host": host})).status == 200, host


async def test_a_page_of_another_origin_may_change_nothing(connect: Connect) -> None:
    control = cardboard()
    client = await connect(control)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert (await client.post("/-/drain", headers={"Origin": origin})).status == 403, origin
    assert control.state == "serving"
    own = str(client.make_url("")).rstrip("/")
    assert (await client.post("/-/reload", headers={"Origin": own})).status == 200
