"""What a reload may change, and what it refuses with a reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.config.topology import assign_slots
from adaptive.gateway import reload
from adaptive.gateway.reload import Capacity, refusals


def config(extra: str = "", listen: str = "127.0.0.1:8080", endpoints: str = "127.0.0.1:9100") -> Config:
    return parse(
        f"listen: {listen}\nadmin: 127.0.0.1:9901\nclusters: {{api: {{endpoints: [{endpoints}]}}}}\n"
        f"routes: [{{prefix: /, cluster: api}}]\n{extra}"
    )


def why(new: Config, capacity: Capacity | None = None, old: Config | None = None) -> list[str]:
    old = old or config()
    slots = assign_slots(new, assign_slots(old, {}))
    return refusals(old, new, slots, capacity or Capacity.beyond(old, 1))


def test_endpoints_and_time_outs_may_change() -> None:
    assert why(config("server: {timeouts: {idle: 5s}}", endpoints="127.0.0.1:9102, 127.0.0.1:9103")) == []


def test_another_listener_needs_a_restart() -> None:
    (reason,) = why(config(listen="127.0.0.1:8081"))
    assert "127.0.0.1:8080" in reason and "127.0.0.1:8081" in reason and "needs a restart" in reason


def test_one_listener_more_needs_a_restart() -> None:
    assert "needs a restart" in why(config(listen="[127.0.0.1:8080, 127.0.0.1:8081]"))[0]


def test_another_number_of_workers_needs_a_restart() -> None:
    assert why(config("workers: 2")) == ["workers: changing 1 to 2 needs a restart"]


def test_another_admin_address_needs_a_restart_but_another_token_does_not() -> None:
    other = parse(
        "listen: 127.0.0.1:8080\nadmin: {address: 127.0.0.1:9902}\n"
        "clusters: {api: {endpoints: [127.0.0.1:9100]}}\nroutes: [{prefix: /, cluster: api}]"
    )
    assert "needs a restart" in why(other)[0]
    admin = other.admin
    assert admin is not None
    token = other.model_copy(update={"admin": admin.model_copy(update={"token": "secret"})})
    assert why(token, old=other) == []


def test_another_address_for_envoys_elsewhere_needs_a_restart() -> None:
    old, new = (config(f"envoy: {{service: 127.0.0.1:{port}}}") for port in (18000, 18001))
    assert why(new, old=old) == ["envoy.service: changing 127.0.0.1:18000 to 127.0.0.1:18001 needs a restart"]


def test_more_endpoints_than_the_board_holds_are_refused_with_both_numbers() -> None:
    """The slot of the endpoint that went stays taken for one generation."""
    many = config(endpoints=", ".join(f"127.0.0.1:{9000 + n}" for n in range(20)))
    (reason,) = why(many, Capacity(slots=16, clusters=4, routes=4))
    assert "21 slots" in reason and "16" in reason


def test_the_board_has_room_for_twice_what_there_is() -> None:
    small, large = Capacity.beyond(config(), 1), Capacity.beyond(config(), 3000)
    assert small == Capacity(slots=1024, clusters=64, routes=256)
    assert large.slots == 6000


async def test_a_changed_file_is_noticed_once_and_a_touched_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes a second: the file system's own notice, and the pause in which more changes are gathered."""
    path = tmp_path / "gateway.yaml"
    path.write_text("a")
    calls: asyncio.Queue[str] = asyncio.Queue()

    async def changed() -> None:
        calls.put_nowait(path.read_text())

    ready = asyncio.Event()
    real = reload.digest

    def digest(of: Path) -> str:
        asyncio.get_running_loop().call_soon(ready.set)
        return real(of)

    monkeypatch.setattr(reload, "digest", digest)
    task = asyncio.create_task(reload.watch(path, changed))
    try:
        await ready.wait()
        await asyncio.sleep(0.2)  # until the watch is set up, which nothing tells
        path.write_text("a")  # the same
        replacement = tmp_path / "gateway.yaml.new"
        replacement.write_text("b")
        replacement.replace(path)
        assert await asyncio.wait_for(calls.get(), 10) == "b"
        assert calls.empty()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
