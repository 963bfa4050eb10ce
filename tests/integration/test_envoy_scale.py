"""Ten Envoys, made up, and 200 clusters of 50 endpoints: a state that changes reaches all of them in under a second.

Beside them is one that answers nothing for longer than the test takes: it gets less, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adaptive import clock
from tests import envoys

envoys.require()

import grpc  # noqa: E402

from adaptive.config.load import parse  # noqa: E402
from adaptive.config.model import Config  # noqa: E402
from adaptive.config.topology import assign_slots, topology  # noqa: E402
from adaptive.envoy import messages  # noqa: E402
from adaptive.envoy.server import Service  # noqa: E402
from adaptive.envoy.steering import Steering  # noqa: E402
from adaptive.envoy.translate import resources as translate  # noqa: E402
from adaptive.envoy.translate.endpoints import assignment  # noqa: E402
from adaptive.types import Health, Snapshot, first_snapshot  # noqa: E402

CLUSTERS, ENDPOINTS, NODES = 200, 50, 10
_DISCOVERY = "envoy.service.discovery.v3"


class Fake:
    """An Envoy that takes all it is sent, at once; with `hangs` it takes its first endpoints, and then nothing."""

    def __init__(self, name: str, address: str, hangs: bool = False) -> None:
        self.name = name
        self.hangs = hangs
        self.responses = 0
        self.taken: dict[str, str] = {}  # cluster → version of its endpoints
        self.outbox: asyncio.Queue[Any] = asyncio.Queue()
        channel = grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        method = f"/{_DISCOVERY}.AggregatedDiscoveryService/DeltaAggregatedResources"
        self.channel = channel
        response = messages.message(f"{_DISCOVERY}.DeltaDiscoveryResponse")
        self.call = channel.stream_stream(
            method, request_serializer=lambda m: m.SerializeToString(), response_deserializer=response.FromString
        )
        self.request = messages.message(f"{_DISCOVERY}.DeltaDiscoveryRequest")

    def say(self, kind: str, **fields: Any) -> None:
        made = self.request(type_url=f"type.googleapis.com/{kind}", **fields)
        made.node.id = self.name
        self.outbox.put_nowait(made)

    async def run(self) -> None:
        async def requests() -> AsyncIterator[Any]:
            while True:
                yield await self.outbox.get()

        self.say(translate.CLUSTER)
        asked = False
        async for response in self.call(requests()):
            kind = response.type_url.rpartition("/")[2]
            self.responses += 1
            if self.hangs and asked:
                continue
            self.say(kind, response_nonce=response.nonce)
            if kind == translate.CLUSTER and not asked:
                asked = True
                self.say(translate.ENDPOINTS, resource_names_subscribe=[one.name for one in response.resources])
            if kind == translate.ENDPOINTS:
                self.taken.update({one.name: one.version for one in response.resources})


def large() -> Config:
    # Parsed as plain data would be: YAML of ten thousand endpoints takes longer than all of the test.
    text = parse(
        "listen: ['127.0.0.1:1']\nclusters: {c0: {endpoints: ['127.0.0.1:1']}}\nroutes: [{cluster: c0}]\n"
    ).model_dump(mode="json")
    endpoint = text["clusters"]["c0"]["endpoints"][0]
    base = text["clusters"]["c0"]
    text["clusters"] = {
        f"c{number}": {
            **base,
            "endpoints": [{**endpoint, "host": f"10.0.{number}.{k}", "port": 80} for k in range(ENDPOINTS)],
        }
        for number in range(CLUSTERS)
    }
    return Config.model_validate(text)


@pytest.mark.timeout(120)
async def test_a_change_reaches_ten_envoys_of_ten_thousand_endpoints(tmp_path: Path) -> None:
    """Some seconds: ten thousand endpoints are translated, and sent to ten."""
    config = large()
    slots = assign_slots(config, {})
    steering = Steering(config, slots, 1)
    service = Service(lambda node: True, lambda node, message: None)
    service.put(translate.CLUSTER, {name: {"name": name} for name in config.clusters})
    first = {p.cluster: assignment(p.cluster, config.clusters[p.cluster], p.lines) for p in steering.first(None, 0.0)}
    service.put(translate.ENDPOINTS, first)
    address = f"unix:{tmp_path}/x"
    await service.start(address)
    fakes = [Fake(f"edge-{n}", address) for n in range(NODES)]
    slow = Fake("edge-slow", address, hangs=True)
    tasks = [asyncio.create_task(fake.run()) for fake in (*fakes, slow)]
    try:
        await _until(lambda: all(len(fake.taken) == CLUSTERS for fake in fakes), 60.0)
        base = first_snapshot(topology(config, slots, 1), 1.0, 1)
        times = []
        for n in range(5):
            cluster = f"c{n}"
            health = list(base.health)
            health[slots[f"{cluster}|10.0.{n}.0:80"]] = int(Health.EJECTED)
            fields = {name: getattr(base, name) for name in base.__slots__}
            began, busy = clock.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
            pushes = steering.due(Snapshot(**{**fields, "health": health, "version": 2 + n}), 10.0 * (n + 1))
            found = {p.cluster: assignment(p.cluster, config.clusters[p.cluster], p.lines) for p in pushes}
            service.put(translate.ENDPOINTS, found, whole=False)
            service.push()
            wanted = service.cache.held[translate.ENDPOINTS][cluster].version
            await _until(lambda c=cluster, w=wanted: all(fake.taken.get(c) == w for fake in fakes), 30.0)
            times.append((clock.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_utime - busy))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("changes took (s, s of CPU, fakes included):", [(round(a, 3), round(b, 3)) for a, b in times])
        print(f"at most {memory:.0f} MiB, fakes included")
        assert sorted(seconds for seconds, _ in times)[2] < 1.0
        assert slow.responses == 2, "its clusters, and the endpoints that it has not answered: nothing queues for it"
    finally:
        for task in tasks:
            task.cancel()
        for fake in (*fakes, slow):
            await fake.channel.close()
        await service.stop()


async def _until(what: Any, seconds: float) -> None:
    deadline = clock.monotonic() + seconds
    while not what():
        assert clock.monotonic() < deadline, "never came to pass"
        await asyncio.sleep(0.002)
