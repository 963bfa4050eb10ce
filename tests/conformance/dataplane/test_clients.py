"""Clients in common use, with their habits, are served as they expect."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import aiohttp
import pytest

from tests.conformance.dataplane.gateway import Gateway
from tests.conformance.dataplane.origin import Origin, Visit
from tests.conformance.dataplane.wire import reply

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")


def echoing(visit: Visit) -> None:
    """Answers with the method, the target and the body."""
    while (asked := visit.next()) is not None:
        body = f"{asked.method} {asked.target} ".encode() + asked.body
        visit.send(reply(200, b"" if asked.method == "HEAD" else body, "Content-Type: text/plain"))


@pytest.fixture
def echo(plane: Gateway) -> Iterator[tuple[str, Origin]]:
    host, origin = plane.alone()
    origin.start(echoing)
    yield host, origin
    assert origin.wrong == []


def curl(plane: Gateway, host: str, target: str, *options: str, data: bytes = b"") -> bytes:
    """What curl prints; it must succeed."""
    words = ["curl", "-sS", "--max-time", "20", "--noproxy", "*", "--resolve", f"{host}:{plane.port}:127.0.0.1"]
    done = subprocess.run(
        [*words, *options, f"http://{host}:{plane.port}{target}"], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_curl
def test_curl_gets_and_posts(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, _ = echo
    assert curl(plane, host, "/a?b=c") == b"GET /a?b=c "
    assert curl(plane, host, "/a", "-d", "x=1") == b"POST /a x=1"
    assert curl(plane, host, "/a", "-I").startswith(b"HTTP/1.1 200 ")
    assert curl(plane, host, "/a", "--http1.0") == b"GET /a "


@needs_curl
def test_curl_uploads_with_expect(plane: Gateway, echo: tuple[str, Origin]) -> None:
    """Above a megabyte curl waits a second for 100 Continue, unless it comes."""
    host, origin = echo
    data = b"z" * 2_000_000
    assert curl(plane, host, "/up", "--data-binary", "@-", data=data) == b"POST /up " + data
    assert curl(plane, host, "/up", "-T", "-", data=data) == b"PUT /up " + data
    assert origin.last.chunked


@needs_curl
def test_curl_asks_for_http_2_and_is_served_in_1_1(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, origin = echo
    assert curl(plane, host, "/h2c", "--http2") == b"GET /h2c "
    assert origin.last.all("upgrade") in ([], ["h2c"])
    assert origin.last.all("http2-settings") == []


@needs_curl
def test_curl_keeps_its_connection(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, _ = echo
    first = f"http://{host}:{plane.port}/1"
    assert curl(plane, host, "/2", "-w", "%{num_connects}", first) == b"GET /1 1GET /2 0"


def test_http_client_keeps_its_connection(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, _ = echo
    connection = http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)
    try:
        sockets = set()
        for n in range(3):
            connection.request("PUT", f"/{n}", body=iter([b"a", b"b"]), headers={"Host": host}, encode_chunked=True)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, f"PUT /{n} ab".encode())
            sockets.add(connection.sock.getsockname())
        assert len(sockets) == 1
        connection.request("HEAD", "/", headers={"Host": host})
        assert connection.getresponse().read() == b""
    finally:
        connection.close()


def test_urllib_gets_and_hears_errors(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, _ = echo
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.1:{plane.port}/x"
    with opener.open(urllib.request.Request(url, headers={"Host": host}), timeout=10) as response:
        assert response.read() == b"GET /x "
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(urllib.request.Request(url, headers={"Host": "nowhere.test"}), timeout=10)
    assert caught.value.code == 404
    caught.value.close()


async def test_aiohttp_in_parallel(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, _ = echo

    async def one(session: aiohttp.ClientSession, n: int) -> None:
        async with session.post(f"/{n}", data=b"%d" % n) as response:
            assert await response.read() == b"POST /%d %d" % (n, n)

    async with aiohttp.ClientSession(f"http://127.0.0.1:{plane.port}", headers={"Host": host}) as session:
        await asyncio.gather(*[one(session, n) for n in range(200)])


async def test_aiohttp_streams_up_and_down(plane: Gateway, echo: tuple[str, Origin]) -> None:
    host, origin = echo

    async def pieces():  # type: ignore[no-untyped-def]
        for n in range(100):
            yield b"%05d" % n * 1000

    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{plane.port}", headers={"Host": host}) as session,
        session.post("/", data=pieces()) as response,
    ):
        body = await response.read()
    assert body == b"POST / " + b"".join(b"%05d" % n * 1000 for n in range(100))
    assert origin.last.chunked


async def test_a_websocket_of_aiohttp(plane: Gateway) -> None:
    from aiohttp import web

    host, origin = plane.alone()

    async def handler(asked: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(asked)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    app = web.Application()
    app.router.add_get("/ws", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    origin.sock.listen(16)
    await web.SockSite(runner, origin.sock).start()
    try:
        async with (
            aiohttp.ClientSession(headers={"Host": host}) as session,
            session.ws_connect(f"http://127.0.0.1:{plane.port}/ws") as socket,
        ):
            for text in ("abc", "x" * 100_000):
                await socket.send_str(text)
                assert (await socket.receive_str()) == text[::-1]
    finally:
        await runner.cleanup()


def test_clients_in_many_threads_each_hear_their_own_answer(plane: Gateway, echo: tuple[str, Origin]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    host, _ = echo

    def work(worker: int) -> bool:
        with plane.client() as client:
            return all(client.ask(f"/{worker}/{n}", host).body == b"GET /%d/%d " % (worker, n) for n in range(30))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
