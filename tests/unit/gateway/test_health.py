"""Health checks: what counts as evidence, and what an endpoint's answer says."""

from __future__ import annotations

import asyncio

import pytest

from adaptive.announcement import READY, Announcement
from adaptive.config.cluster import EndpointConfig, HealthCheck
from adaptive.config.load import parse
from adaptive.config.topology import assign_slots
from adaptive.gateway.health import HealthChecks, Streak, get
from adaptive.types import HealthChecked


def told(streak: Streak, results: str) -> str:
    """The evidence that a run of checks gives: + passed, - failed, . held back."""
    out = []
    for n, mark in enumerate(results):
        events = streak.told(HealthChecked(float(n), 0, mark == "+", 0.01))
        out.append("".join("+" if event.ok else "-" for event in events) or ".")
    return " ".join(out)


def test_the_first_check_counts_at_once() -> None:
    assert told(Streak(2, 3), "-") == "-"


def test_single_failures_are_held_back_and_forgotten_after_a_pass() -> None:
    assert told(Streak(2, 3), "+--+--+") == "+ . . + . . +"


def test_failures_in_a_row_are_told_all_at_once_when_they_suffice() -> None:
    assert told(Streak(2, 3), "+----") == "+ . . --- -"


def test_passes_after_failures_need_their_own_number() -> None:
    assert told(Streak(2, 1), "-+-++") == "- . - . ++"


async def serve(reply: bytes, hang: bool = False) -> tuple[asyncio.Server, EndpointConfig, list[bytes]]:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if not hang:
            writer.write(reply)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, EndpointConfig(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), seen


async def test_a_check_is_a_plain_get_and_gives_the_status() -> None:
    server, endpoint, seen = await serve(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
    async with server:
        assert (await get(endpoint, HealthCheck(path="/health"), None, None)).status == 503
    head = seen[0].decode()
    assert head.startswith("GET /health HTTP/1.1\r\n")
    assert f"Host: {endpoint.address}\r\n" in head


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200", b"x" * 100_000])
async def test_an_endpoint_that_speaks_no_http_fails_its_check(reply: bytes) -> None:
    server, endpoint, _ = await serve(reply)
    checks = HealthChecks(lambda event: None, 0)
    async with server:
        ok, detail, _ = await checks._once(endpoint, HealthCheck(), None, None)
    assert not ok and detail


async def test_an_endpoint_that_does_not_answer_fails_in_time() -> None:
    server, endpoint, _ = await serve(b"", hang=True)
    checks = HealthChecks(lambda event: None, 0)
    async with server:
        ok, detail, _ = await checks._once(endpoint, HealthCheck(timeout="50ms"), None, None)
    assert (ok, detail) == (False, "no answer within 0.05 s")


async def test_a_refused_connection_fails_the_check() -> None:
    server, endpoint, _ = await serve(b"")
    server.close()
    await server.wait_closed()
    ok, detail, _ = await HealthChecks(lambda event: None, 0)._once(endpoint, HealthCheck(), None, None)
    assert not ok and "refused" in detail.lower()


async def test_only_the_statuses_that_are_expected_pass() -> None:
    server, endpoint, _ = await serve(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n")
    checks = HealthChecks(lambda event: None, 0)
    async with server:
        assert await checks._once(endpoint, HealthCheck(), None, None) == (False, "status 302", READY)
        assert (await checks._once(endpoint, HealthCheck(expect=frozenset({302})), None, None))[0]


async def test_a_reload_keeps_the_checks_that_did_not_change() -> None:
    text = "listen: 127.0.0.1:8080\n"
    text += "clusters: {{a: {{endpoints: [127.0.0.1:1, 127.0.0.1:2], health_check: {{path: {}}}}}}}\n"
    text += "routes: [{{prefix: /, cluster: a}}]"
    one, other = parse(text.format("/a")), parse(text.format("/b"))
    slots = assign_slots(one, {})
    checks = HealthChecks(lambda event: None, 0)
    checks.configure(one, slots)
    before = {key: task for key, (_, task) in checks._tasks.items()}
    assert len(before) == 2
    checks.configure(one, slots)
    assert {key: task for key, (_, task) in checks._tasks.items()} == before
    checks.configure(other, slots)
    assert not set(before.values()) & {task for _, task in checks._tasks.values()}
    checks.close()
    await asyncio.gather(*before.values(), return_exceptions=True)
    assert all(task.cancelled() for task in before.values())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\ndrain\nmore", Announcement(0.0)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n50%", Announcement(0.5)),
        (b"HTTP/1.1 200 OK\r\nendpoint-announcement: maxconn:7\r\ncontent-length: 0\r\n\r\n", Announcement(1.0, 7)),
        (b"HTTP/1.1 200 OK\r\n\r\nall is well", READY),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, READY),
    ],
)
async def test_the_answer_to_a_check_may_announce_something(reply: bytes, said: Announcement) -> None:
    server, endpoint, _ = await serve(reply)
    async with server:
        found = await HealthChecks(lambda event: None, 0)._once(endpoint, HealthCheck(announcements=True), None, None)
    assert found == (True, "status 200", said)


async def test_a_body_is_not_read_unless_it_is_wanted() -> None:
    server, endpoint, _ = await serve(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ndrain\n")
    async with server:
        found = await HealthChecks(lambda event: None, 0)._once(endpoint, HealthCheck(), None, None)
    assert found == (True, "status 200", READY)
