"""gRPC through Envoy: one message for one, streams both ways, metadata and trailers, over HTTP/2 on both sides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import envoys
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.integration.test_envoy import report, until

envoys.require()

import grpc  # noqa: E402


def same(data: bytes) -> bytes:
    return data


async def unary(request: bytes, context: Any) -> bytes:
    context.set_trailing_metadata((("x-said", "unary"),))
    if request == b"fail":
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return request[::-1]


async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    count = 0
    async for request in requests:
        count += 1
        yield request[::-1]
    context.set_trailing_metadata((("x-count", str(count)),))


async def origin() -> tuple[Any, int]:
    server = grpc.aio.server()
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, same, same),
        "Stream": grpc.stream_stream_rpc_method_handler(stream, same, same),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def test_grpc_passes_with_its_trailers(tmp_path: Path) -> None:
    """Some seconds: the gateway starts."""
    server, upstream = await origin()
    settings = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [f"127.0.0.1:{upstream}"], "protocol": "http2"}},
        routes=[{"cluster": "all", "timeout": "5s"}],
    )
    gateway = await asyncio.to_thread(Gateway, tmp_path, settings, None, "envoy")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            call = channel.unary_unary("/test.Echo/Unary", same, same)(b"abc")
            assert await call == b"cba"
            assert ("x-said", "unary") in list(await call.trailing_metadata())
            failing = channel.unary_unary("/test.Echo/Unary", same, same)(b"fail")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await failing
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")

            both = channel.stream_stream("/test.Echo/Stream", same, same)()
            for text in (b"one", b"two", b"three"):
                await both.write(text)
                assert await both.read() == text[::-1], "each answer comes before the next question"
            await both.done_writing()
            assert await both.read() is grpc.aio.EOF
            assert ("x-count", "3") in list(await both.trailing_metadata())
        await asyncio.to_thread(until, lambda: report(gateway).get("outcomes", 0) >= 3)
        assert json.dumps(report(gateway)["data_plane"]["entries_unknown"]) == "{}"
    finally:
        assert await asyncio.to_thread(gateway.stop) == 0
        await server.stop(None)
