"""The service, as made-up Envoys find it: what they tell in one direction, and who is not listened to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests import envoys

envoys.require()

import grpc  # noqa: E402

from adaptive.envoy import messages  # noqa: E402
from adaptive.envoy.bootstrap import DROPPED  # noqa: E402
from adaptive.envoy.server import KEPT, Identity, Service  # noqa: E402
from adaptive.envoy.translate import resources as translate  # noqa: E402
from adaptive.steered import Steered  # noqa: E402
from tests.conformance.dataplane.gateway import free_port  # noqa: E402

DISCOVERY = "envoy.service.discovery.v3"
METRICS = "envoy.service.metrics.v3"


class Node:
    """An Envoy of which there are only its streams."""

    def __init__(self, channel: Any, name: str) -> None:
        self.channel = channel
        self.name = name

    def discover(self, refuse: str = "") -> Any:
        """Ask for clusters; `refuse` what comes first, in these words."""
        make = messages.message(f"{DISCOVERY}.DeltaDiscoveryRequest")
        first = make(type_url=messages.PREFIX + translate.CLUSTER)
        first.node.id = self.name
        told = [first]
        if refuse:
            told.append(make(type_url=messages.PREFIX + translate.CLUSTER, response_nonce="1"))
            told[-1].error_detail.message = refuse
        return self._call(f"{DISCOVERY}.AggregatedDiscoveryService/DeltaAggregatedResources", told, True)

    def count(self, *dropped: int) -> Any:
        """Tell of its statistics, once for each number."""
        told = []
        for number in dropped:
            made = messages.message(f"{METRICS}.StreamMetricsMessage")()
            made.envoy_metrics.add(name="another").metric.add().counter.value = 77
            made.envoy_metrics.add(name=DROPPED).metric.add().counter.value = number
            told.append(made)
        told[0].identifier.node.id = self.name
        return self._call(f"{METRICS}.MetricsService/StreamMetrics", told, False)

    def log(self, *lines: str) -> Any:
        """Tell of attempts."""
        made = messages.message("opentelemetry.proto.logs.v1.ExportLogsServiceRequest")()
        told = made.resource_logs.add()
        for key, value in (("log_name", "attempts"), ("node_name", self.name)):
            told.resource.attributes.add(key=key).value.string_value = value
        records = told.scope_logs.add().log_records
        for line in lines:
            records.add().body.string_value = line
        method = self.channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        return method(made.SerializeToString())

    def _call(self, method: str, told: list[Any], lasting: bool) -> Any:
        async def requests() -> AsyncIterator[bytes]:
            for one in told:
                yield one.SerializeToString()
            if lasting:
                await asyncio.Event().wait()

        make = self.channel.stream_stream if lasting else self.channel.stream_unary
        return make("/" + method)(requests())


@pytest.fixture
def lost() -> Iterator[list[int]]:
    yield []


@pytest.fixture
def lines() -> Iterator[list[tuple[str, ...]]]:
    yield []


@pytest.fixture
async def node(tmp_path: Path, lost: list[int], lines: list[tuple[str, ...]]) -> AsyncIterator[Callable[[str], Node]]:
    service = Service(lambda name: name.startswith("edge"), lambda name, told: lines.append((name, *told)))
    service.lost = lost.append
    await service.start(f"unix:{tmp_path}/x")
    channel = grpc.aio.insecure_channel(f"unix:{tmp_path}/x")
    made: list[Any] = []

    def connected(name: str, refuse: str = "") -> Node:
        one = Node(channel, name)
        made.append(one.discover(refuse))
        return one

    connected.service = service  # type: ignore[attr-defined]
    yield connected
    for call in made:
        call.cancel()
    await channel.close()
    await service.stop()


async def known(node: Any, count: int) -> None:
    async with asyncio.timeout(5.0):
        while len(node.service.connected) < count:
            await asyncio.sleep(0.005)


async def test_what_an_envoy_drops_is_lost_once(node: Any, lost: list[int]) -> None:
    edge = node("edge-1")
    await known(node, 1)
    await edge.count(5, 5, 7, 30)
    assert lost == [5, 2, 23]
    assert [one["dropped"] for one in node.service.nodes()] == [30]


async def test_an_envoy_that_was_started_again_counts_from_nothing(node: Any, lost: list[int]) -> None:
    edge = node("edge-1")
    await known(node, 1)
    await edge.count(5, 9)
    await edge.count(0, 3)
    assert lost == [5, 4, 3]


async def test_what_is_known_of_an_envoy_is_no_news_to_the_service_that_takes_over(node: Any, lost: list[int]) -> None:
    node.service.dropped["edge-1"] = 5
    edge = node("edge-1")
    await known(node, 1)
    await edge.count(5, 7)
    assert lost == [2]


async def test_what_is_kept_of_envoys_that_drop_is_bounded(node: Any, lost: list[int]) -> None:
    channel = node("edge").channel
    for number in range(KEPT + 1):
        await Node(channel, f"edge-{number}").count(1)
    assert len(node.service.dropped) == KEPT
    assert "edge-0" not in node.service.dropped
    assert lost == [1] * (KEPT + 1)


async def test_an_envoy_that_is_not_allowed_any_more_is_sent_away(node: Any) -> None:
    service = node.service
    await_end = node("edge-1")
    node("edge-2")
    await known(node, 2)
    service.allowed = lambda name: name == "edge-2"
    service.dismiss()
    async with asyncio.timeout(5.0):
        while len(service.connected) > 1:
            await asyncio.sleep(0.005)
    assert [one.name for one in service.connected] == ["edge-2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await await_end.log("one")
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def identity(authority: trustme.CA) -> Identity:
    made = authority.issue_cert("edge.test")
    return Identity(authority.cert_pem.bytes(), made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())


async def test_a_certificate_that_was_replaced_is_shown_to_who_comes_from_then_on(tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_port()
    service = Service(bool, lambda name, told: None)
    service.renew(identity(authority))
    await service.start(f"127.0.0.1:{port}")
    own = tmp_path / "own.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(str(own))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.load_cert_chain(own)
    context.set_alpn_protocols(["h2"])

    async def shown() -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="edge.test")
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return bytes(found)

    first = await shown()
    assert await shown() == first
    service.renew(identity(authority))
    assert await shown() != first
    await service.stop()


async def test_an_address_that_another_has_is_named_with_the_reason() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened on: Address already in use"):
            await Service(bool, lambda name, told: None).start(f"127.0.0.1:{port}")


async def test_an_envoy_that_lacks_a_field_says_so_and_the_others_go_on(node: Any) -> None:
    """As an older one would: what it refuses is named where operators look, and it keeps what it has."""
    node.service.put(translate.CLUSTER, {"all": {"name": "all"}})
    lacks = 'Protobuf message (type envoy.config.cluster.v3.Cluster) has unknown fields: "budget_interval"'
    node("edge-old", lacks)
    node("edge-new")
    async with asyncio.timeout(5.0):
        while not node.service.nacks or len(node.service.connected) < 2:
            await asyncio.sleep(0.005)
    found = {one["node"]: one for one in node.service.nodes()}
    assert found["edge-old"]["refused"] == {"Cluster": lacks}
    assert found["edge-new"]["refused"] == {}
    steered = Steered()
    steered.heard({"type": "elsewhere", "nodes": node.service.nodes()})
    (check,) = [one for one in steered.readiness() if one[0] == "xds"]
    assert check[1] == "!"
    assert "edge-old: Cluster" in check[2]
    assert "budget_interval" in check[2]


async def test_each_envoy_counts_for_itself(node: Any, lost: list[int]) -> None:
    one, other = node("edge-1"), node("edge-2")
    await known(node, 2)
    await one.count(0, 10)
    await other.count(0, 1)
    assert lost == [10, 1]
    assert sorted((found["node"], found["dropped"]) for found in node.service.nodes()) == [
        ("edge-1", 10),
        ("edge-2", 1),
    ]


async def test_lines_come_with_the_name_of_their_envoy(node: Any, lines: list[tuple[str, ...]]) -> None:
    await node("edge-1").log("one", "two")
    await node("edge-2").log("three")
    assert lines == [("edge-1", "one", "two"), ("edge-2", "three")]


@pytest.mark.parametrize("tell", [lambda node: node.count(0, 10), lambda node: node.log("one")], ids=("counts", "log"))
async def test_a_stranger_is_not_listened_to(
    node: Any, lost: list[int], lines: list[tuple[str, ...]], tell: Callable[[Node], Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tell(Node(node("edge-1").channel, "who"))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "node 'who' is not known here" in str(caught.value.details())
    assert (lost, lines) == ([], [])
