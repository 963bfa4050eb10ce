"""Names of endpoints that cannot be resolved are logged once, and shown until they can be."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from adaptive.admin import table
from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.gateway import names
from adaptive.gateway.names import Names


def config(*endpoints: str) -> Config:
    """With one cluster of these."""
    return parse(
        f"listen: 127.0.0.1:8080\nclusters: {{api: {{endpoints: [{', '.join(endpoints)}]}}}}\n"
        "routes: [{prefix: /, cluster: api}]\n"
    )


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is wrong with each name, as the resolver says; it knows all others."""
    wrong: dict[str, str] = {}

    async def look(host: str) -> str:
        return wrong.get(host, "")

    monkeypatch.setattr(names, "_wrong", look)
    monkeypatch.setattr(names, "EVERY", 0.001)
    return wrong


async def rounds(of: Names) -> None:
    """As long as it takes to look all up, and once more."""
    running = asyncio.get_running_loop().create_task(of.run())
    await asyncio.sleep(0.05)
    running.cancel()


def report(*addresses: str) -> dict[str, Any]:
    return {"clusters": [{"name": "api", "endpoints": [{"address": a, "reason": "as usual"} for a in addresses]}]}


async def test_a_name_that_nobody_knows_is_logged_once_and_shown(
    known: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    known["gone.test"] = "Name or service not known"
    found = Names()
    found.configure(config("gone.test:80", "there.test:80", "127.0.0.1:80"))
    assert found.hosts == {"gone.test", "there.test"}, "a number needs no resolver"
    await rounds(found)
    assert [record.getMessage() for record in caplog.records] == [
        "endpoints at gone.test cannot be reached: the name cannot be resolved: Name or service not known"
    ]
    told = report("gone.test:80", "there.test:80", "127.0.0.1:80")
    found.tell(told)
    assert [one.get("unresolved", "") for one in told["clusters"][0]["endpoints"]] == [known["gone.test"], "", ""]
    shown = table.clusters(told).splitlines()
    assert [line.rstrip().endswith("its name cannot be resolved: Name or service not known") for line in shown[2:]] == [
        True, False, False,
    ]  # fmt: skip


async def test_once_it_is_known_again_nothing_is_shown(known: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    known["gone.test"] = "Name or service not known"
    found = Names()
    found.configure(config("gone.test:80"))
    await rounds(found)
    known.clear()
    await rounds(found)
    assert found.wrong == {}
    assert caplog.records[-1].getMessage() == "gone.test can be resolved again"


async def test_an_endpoint_that_left_is_forgotten(known: dict[str, str]) -> None:
    known["gone.test"] = "Name or service not known"
    found = Names()
    found.configure(config("gone.test:80"))
    await rounds(found)
    found.configure(config("127.0.0.1:80"))
    assert found.wrong == {}


async def test_a_resolver_is_asked() -> None:
    assert await names._wrong("localhost") == ""
    assert "too long" in await names._wrong("a" * 64 + ".test")  # refused before any server is asked
