"""The clients that measure must not flatter: what they count as an answer, and from when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from adaptive.bench.load import ClosedLoop, OpenLoop, browser, half_posts, varied

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


def answer(request: bytes, status: int = 200, extra: bytes = b"") -> bytes:
    body = request.split(b" ", 2)[1] + b" ..."
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), extra, body)


async def server(serve: Serve) -> tuple[asyncio.Server, int]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    await reader.readuntil(b"}")
                await serve(reader, writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    made = await asyncio.start_server(connected, "127.0.0.1", 0)
    return made, made.sockets[0].getsockname()[1]


async def well(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(answer(head))


def test_a_browsers_request_has_ten_fields_besides_the_host() -> None:
    for make in (browser, varied):
        lines = make(7).split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        assert len([line for line in lines if not line.startswith(b"Host")]) == 10
    assert browser(1).split(b"\r\n", 1)[1] == browser(2).split(b"\r\n", 1)[1]
    assert varied(1).split(b"\r\n", 1)[1] != varied(2).split(b"\r\n", 1)[1]


async def test_a_closed_loop_sends_exactly_as_many_as_it_was_told() -> None:
    made, port = await server(well)
    async with made:
        result = await ClosedLoop(port, browser, 100, 8).run()
    assert (result.sent, result.done, result.bad) == (100, 100, 0)


async def test_a_closed_loop_whose_connection_breaks_says_so() -> None:
    async def breaks(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.close()

    made, port = await server(breaks)
    async with made:
        result = await ClosedLoop(port, browser, 10, 2).run()
    assert result.failed == {"lost": 2}


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (lambda head: answer(head, 502), "status 502"),
        (lambda head: answer(b"GET /somebody/else HTTP/1.1"), "mixed up"),
        (lambda head: b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\nhalf", "lost"),
    ],
)
async def test_every_way_of_not_being_answered_is_counted(serve: Callable[[bytes], bytes], kind: str) -> None:
    async def badly(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(serve(head))
        writer.close()

    made, port = await server(badly)
    async with made:
        load = OpenLoop(port, half_posts, 200.0)
        load.start()
        await asyncio.sleep(0.1)
        result = await load.stop()
    assert result.sent > 5
    assert result.failed == {kind: result.sent}


async def test_an_open_loop_counts_a_stall_from_when_each_request_was_due() -> None:
    """A server that stands still for 0.2 s delays the 100 requests of that time by 0.1 s on average."""
    began = asyncio.get_running_loop().time()

    async def stalls(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await asyncio.sleep(max(0.0, began + 0.2 - asyncio.get_running_loop().time()))
        writer.write(answer(head))

    made, port = await server(stalls)
    async with made:
        load = OpenLoop(port, half_posts, 500.0)
        load.start()
        await asyncio.sleep(0.25)
        result = await load.stop()
    assert result.bad == 0
    assert result.quantile(0.99) > 0.18
    assert 0.05 < sorted(result.latencies)[len(result.latencies) // 2] < 0.2


async def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(answer(head, extra=b"Connection: close\r\n"))
        writer.close()

    made, port = await server(once)
    async with made:
        load = OpenLoop(port, half_posts, 300.0)
        load.start()
        await asyncio.sleep(0.1)
        result = await load.stop()
    assert result.sent > 5 and result.bad == 0


async def test_nobody_listening_is_refused_not_lost() -> None:
    made, port = await server(well)
    made.close()
    await made.wait_closed()
    load = OpenLoop(port, half_posts, 200.0)
    load.start()
    await asyncio.sleep(0.05)
    result = await load.stop()
    assert result.sent and result.failed == {"refused": result.sent}
