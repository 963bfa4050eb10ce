"""A thousand requests a second, half of them POSTs, while something is killed, reloaded, restarted or ended.

Instances, gateway and its parts are real processes. A request failed if it got no answer, one of 500 and more, or
somebody else's; the clients never ask twice. Every test takes some seconds: the load has to flow before, during and
after what happens. Those whose gateway lives on share one, and leave it and the fleet as they found them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adaptive.bench.load import OpenLoop, Result, half_posts
from adaptive.bench.running import Fleet, Gateway, ask, configuration, descendants_named, kill

RATE = 1000.0
INSTANCES = 5
# Seconds of load before and after: pools fill, the brain has decided on what it saw.
BEFORE, AFTER = 0.7, 0.5


Stage = tuple[Gateway, Fleet]
shared = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def staged(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """A gateway before a fleet, with a brain that decides."""
    async with Fleet(INSTANCES) as fleet, Gateway(folder, configuration(fleet.addresses, **settings)) as gateway:
        await gateway.deciding()
        yield gateway, fleet
        assert "Traceback" not in gateway.text(), gateway.text()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("resilience")) as made:
        yield made


async def under_load(gateway: Gateway) -> OpenLoop:
    """A load that has begun."""
    load = OpenLoop(gateway.port, half_posts, RATE)
    load.start()
    await asyncio.sleep(BEFORE)
    return load


async def all_answered(load: OpenLoop) -> Result:
    """Ends the load; none of its requests failed."""
    await asyncio.sleep(AFTER)
    result = await load.stop()
    assert not result.failures, (result.failed, result.failures[:5])
    assert set(result.statuses) == {200}
    assert result.done == result.sent
    return result


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 8.0) -> None:
    """Waits until something holds."""
    async with asyncio.timeout(seconds):
        while not await what():
            await asyncio.sleep(0.02)


async def another(gateway: Gateway, role: str, than: int) -> int:
    """Waits for the process that replaces one."""
    found: list[int] = []

    async def there() -> bool:
        found[:] = [pid for pid in descendants_named(gateway.pid, role) if pid != than]
        return bool(found)

    await until(there)
    return found[0]


@shared
async def test_a_brain_that_is_killed_three_times_costs_no_request(stage: Stage) -> None:
    gateway, _ = stage
    load = await under_load(gateway)
    pid = 0
    for _ in range(3):  # each time as soon as the next one runs, however far its start has come
        pid = await another(gateway, "brain", pid)
        kill(pid)
        await asyncio.sleep(0.3)
    await gateway.deciding()
    result = await all_answered(load)
    assert result.sent > RATE
    report = await gateway.report()
    assert report["source"] == "brain"


@shared
async def test_a_hundred_reloads_cost_no_request(stage: Stage) -> None:
    """Weights, time-outs and routes differ each time, and every tenth reload takes an instance out or puts it back."""
    gateway, fleet = stage
    load = await under_load(gateway)
    for n in range(1, 101):
        used = fleet.addresses[: INSTANCES - n // 10 % 2]
        endpoints = [{"address": a, "weight": 1.0 + (n + i) % 3} for i, a in enumerate(used)]
        routes = [{"prefix": f"/other/{i}", "cluster": "api"} for i in range(n % 4)]
        gateway.write(
            clusters={"api": {"endpoints": endpoints, "timeouts": {"connect": f"{300 + n}ms"}}},
            routes=[*routes, {"prefix": "/", "cluster": "api", "timeout": f"{2000 + n}ms"}],
        )
        status, body = await ask(gateway.admin, "/-/reload", "POST", seconds=20.0)
        assert status < 300, body
    assert load.result.done > 100
    await all_answered(load)
    _, page = await ask(gateway.admin, "/metrics")
    counted = re.search(rb"reload\w*_total\{[^}]*success[^}]*\} (\S+)", page)
    assert counted and float(counted[1]) >= 100


@shared
async def test_instances_that_restart_one_after_the_other_cost_no_request(stage: Stage) -> None:
    """As orchestrators do it: no instance takes new connections, idle ones close, what is in flight ends."""
    gateway, fleet = stage
    load = await under_load(gateway)
    for origin in fleet.origins:
        origin.behave(delay=0.005, spread=0.01)  # so that something is in flight
    for origin in fleet.origins:
        await asyncio.sleep(0.2)
        assert await origin.leave() == 0
        await asyncio.sleep(0.1)
        await origin.start()
    await all_answered(load)


@shared
async def test_an_idle_instance_that_is_killed_costs_no_request(stage: Stage) -> None:
    """Its connections end in the pool, all at once: nothing that cannot be sent again may go out on one of them."""
    gateway, fleet = stage
    load = await under_load(gateway)
    for origin in fleet.origins[:3]:
        assert (await load.stop()).bad == 0
        await origin.kill()
        load = OpenLoop(gateway.port, half_posts, RATE)
        load.start()
        await asyncio.sleep(BEFORE / 2)
        await origin.start()
    await all_answered(load)


async def test_the_end_of_the_gateway_finishes_what_it_accepted(tmp_path: Path) -> None:
    """A request may be refused before it is sent, once nobody listens any more; none is lost after."""
    async with staged(tmp_path, workers=2) as (gateway, fleet):
        load = await under_load(gateway)
        for origin in fleet.origins:
            origin.behave(delay=0.05, spread=0.3)
        await asyncio.sleep(0.6)
        assert load.in_flight > 20
        stopping = asyncio.create_task(gateway.stop())

        async def refused() -> bool:
            return load.result.failed["refused"] > 0

        await until(refused)
        result = await load.stop()
        assert await stopping == 0
        assert set(result.failed) == {"refused"}, (result.failed, result.failures[:5])
        assert set(result.statuses) == {200}
        assert result.done == result.sent - result.failed["refused"]


async def test_a_worker_that_is_killed_fails_only_what_it_had_in_flight(tmp_path: Path) -> None:
    async with staged(tmp_path, workers=2) as (gateway, fleet):
        load = await under_load(gateway)
        for origin in fleet.origins:
            origin.behave(delay=0.02, spread=0.02)
        await asyncio.sleep(0.5)
        victim = descendants_named(gateway.pid, "worker")[0]
        in_flight = load.in_flight
        kill(victim)
        await another(gateway, "worker", than=victim)
        await asyncio.sleep(AFTER)
        result = await load.stop()
        assert set(result.failed) <= {"lost"}, (result.failed, result.failures[:5])
        # Of what was in flight in the whole gateway, and what was sent until the kernel had closed the sockets: 10 ms.
        assert result.bad <= in_flight + RATE / 100
        assert result.done == result.sent - result.bad
        assert result.done > RATE

        async def two() -> bool:
            return len(descendants_named(gateway.pid, "worker")) == 2

        await until(two)
