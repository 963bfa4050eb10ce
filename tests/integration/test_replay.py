"""Live replay against small servers on the loopback that answer, hang, refuse, cut and talk nonsense.

Each replay lasts as long as its plan, some tenths of a second; the command itself takes a second to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptive.player.sender import Sender
from adaptive.telemetry.columns import empty
from adaptive.types import Cause, Mark
from replay.player import verdict
from replay.player.message import shape
from replay.player.plan import plan, recorded
from replay.player.target import target
from replay.trace import Header, Trace, write

ROOT = Path(__file__).resolve().parents[2]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HEADER = Header(routes=("a",), clusters=("a",), endpoints={"0": ("a", "127.0.0.1:1")})

Answer = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, bool]]  # whether the connection goes on


def trace(n: int, gap: float, post: bool = False, methods: str = "") -> Trace:
    """`n` requests, one each `gap` seconds, answered in 2 ms."""
    rows = empty(n)
    rows["request"] = np.arange(n)
    rows["sent_at"] = 5.0 + gap * np.arange(n)
    rows["done"] = rows["sent_at"] + 0.002
    rows["attempt"], rows["status"], rows["cause"] = 1, 200, Cause.RESPONSE
    rows["marks"] = Mark.FINAL if post else Mark.FINAL | Mark.REPEATABLE
    return Trace(HEADER, rows, "", {"method": np.array([methods] * n, dtype=object)} if methods else {})


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """A server whose every request goes to `answer`; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await answer(await reader.readuntil(b"\r\n\r\n"), writer):
                await writer.drain()
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()


async def replayed(port: int, what: Trace, timeout: float = 2.0, outstanding: int = 100) -> Sender:
    where = target(f"127.0.0.1:{port}")
    made = Sender(plan(recorded(what)), shape(where.authority, [], "/"), where, timeout, outstanding)
    await made.run()
    return made


def ends(sender: Sender) -> dict[str, int]:
    names, counts = np.unique(sender.end, return_counts=True)
    return {verdict.ENDS[name]: int(count) for name, count in zip(names, counts, strict=True)}


async def fine(_: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(OK)
    return True


async def test_every_request_is_sent_when_it_is_due_and_on_few_connections() -> None:
    async with server(fine) as port:
        sender = await replayed(port, trace(100, 0.004))
    assert ends(sender) == {"answered": 100}
    assert (sender.status == 200).all()
    assert np.isfinite(sender.lateness).all()
    assert (sender.latency >= sender.lateness).all(), "what the sender is late by counts"
    assert sender.opened < 20, "connections are used again"


async def test_latency_counts_from_when_a_request_was_due_though_its_server_stalled() -> None:
    """A server that answers one request after the other, each in 20 ms, is asked each 5 ms: the queue must be seen."""
    turn = asyncio.Lock()

    async def one_by_one(_: bytes, writer: asyncio.StreamWriter) -> bool:
        async with turn:
            await asyncio.sleep(0.02)
        writer.write(OK)
        return True

    async with server(one_by_one) as port:
        sender = await replayed(port, trace(30, 0.005))
    assert ends(sender) == {"answered": 30}
    assert sender.latency[-1] > 30 * 0.02 - 30 * 0.005 - 0.01, "a closed loop would have seen 20 ms"


async def test_what_never_answers_is_given_up_at_its_time_out() -> None:
    async def silent(_: bytes, writer: asyncio.StreamWriter) -> bool:
        return True

    async with server(silent) as port:
        sender = await replayed(port, trace(10, 0.001), timeout=0.1)
    assert ends(sender) == {"no answer within the time-out": 10}
    assert sender.latency == pytest.approx(0.1)


async def test_beyond_the_bound_requests_are_counted_and_not_kept_waiting() -> None:
    async def silent(_: bytes, writer: asyncio.StreamWriter) -> bool:
        return True

    async with server(silent) as port:
        sender = await replayed(port, trace(10, 0.001), timeout=0.2, outstanding=4)
    assert ends(sender) == {"no answer within the time-out": 4, "not sent: too many were outstanding": 6}
    told = verdict.verdict(sender.plan, sender.result(), 0.2, title="t", command="c", seed=0)
    assert told["rows"][1]["failed"] == 10
    assert any("6 requests were not sent" in one for one in told["warnings"])


async def test_refused_connections_are_failures_and_end_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender = await replayed(taken.getsockname()[1], trace(10, 0.001))
    assert ends(sender) == {"connection refused or failed": 10}


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "connection closed before the answer was whole"),
        (b"HTTP/1.1 200", "connection closed before the answer was whole"),
        (b"", "connection closed before the answer was whole"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "answered"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", "answered"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, "answered"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no valid HTTP"),
    ],
)
async def test_a_half_closed_connection_is_told_by_what_came_before(text: bytes, end: str) -> None:
    async def half(_: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(text)
        writer.write_eof()
        await asyncio.sleep(0.02)
        return False

    # So far apart that the end of one connection has been read before the next request, which else could be sent on it.
    async with server(half) as port:
        sender = await replayed(port, trace(3, 0.05, post=True))
    assert ends(sender) == {end: 3}


async def test_a_head_has_no_body_whatever_its_length_says() -> None:
    async def head(_: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        return True

    async with server(head) as port:
        sender = await replayed(port, trace(3, 0.001, methods="HEAD"))
    assert ends(sender) == {"answered": 3}


@pytest.mark.parametrize("post", [False, True])
async def test_a_connection_that_was_closed_while_idle_costs_a_repeatable_request_nothing(post: bool) -> None:
    """The server answers one request a connection, says it keeps it, and closes it when the next one comes."""
    served: set[int] = set()

    async def once(_: bytes, writer: asyncio.StreamWriter) -> bool:
        if id(writer) in served:
            return False
        served.add(id(writer))
        kept.append(writer)
        writer.write(OK)
        return True

    kept: list[asyncio.StreamWriter] = []
    async with server(once) as port:
        sender = await replayed(port, trace(6, 0.03, post=post))
    if post:
        assert ends(sender) == {"answered": 3, "connection closed before the answer was whole": 3}
    else:
        assert ends(sender) == {"answered": 6}
        assert sender.again >= 2


async def test_a_replay_of_what_was_recorded_tells_the_difference() -> None:
    async def slower(_: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.03)
        writer.write(OK)
        return True

    async with server(slower) as port:
        sender = await replayed(port, trace(200, 0.003))
    told = verdict.verdict(sender.plan, sender.result(), 2.0, title="t", command="c", seed=0)
    assert [row["policy"] for row in told["rows"]] == ["recorded", "replayed"]
    assert told["rows"][0]["p50"] == pytest.approx(0.002)
    assert told["rows"][1]["p50"] >= 0.03
    assert told["compared"][0]["difference"] >= 0.028
    assert told["rows"][1]["intervals"]["failed"][1] == pytest.approx(3.66, abs=0.02), "the rule of three, two-sided"


def test_a_difference_is_claimed_where_its_interval_excludes_nought_and_only_there() -> None:
    """Answers of 30 to 34 ms each by itself, then the same ones beside a machine that stood still twice."""
    made = plan(recorded(trace(200, 0.003)))
    latency = np.random.default_rng(0).uniform(0.030, 0.034, 200)

    def compared(latency: np.ndarray[Any, Any]) -> dict[str, Any]:
        seen = verdict.Replayed(latency, np.full(200, 200), np.full(200, verdict.ANSWERED), np.zeros(200))
        return dict(verdict.verdict(made, seen, 2.0, title="t", command="c", seed=0)["compared"][0])

    steady = compared(latency)
    assert steady["better"] is False and 0.025 < steady["interval"][0] < steady["difference"]
    stood = latency.copy()
    stood[20:80] += np.linspace(0.2, 0.0, 60)
    stood[110:170] += np.linspace(0.2, 0.0, 60)
    assert compared(stood)["better"] is None, "six blocks of time tell nothing of the spread between blocks"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from adaptive.cli import main; main()", "replay", *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_dry_run_says_what_it_would_send_and_touches_no_network(tmp_path: Path) -> None:
    write(trace(10, 1.0), tmp_path / "t.parquet")
    asked = command(str(tmp_path / "t.parquet"), "--target", "127.0.0.1:1", "--dry-run", "--speed", "50%")
    done = subprocess.run(asked, check=False, capture_output=True, text=True, env=ENVIRONMENT, timeout=50)
    assert done.returncode == 0
    assert done.stdout.startswith("10 requests in 18.0 s: 0.5 a second")


def test_another_machine_is_refused_in_one_line(tmp_path: Path) -> None:
    write(trace(10, 1.0), tmp_path / "t.parquet")
    asked = command(str(tmp_path / "t.parquet"), "--target", "http://192.0.2.1")
    done = subprocess.run(asked, check=False, capture_output=True, text=True, env=ENVIRONMENT, timeout=50)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "--allow 192.0.2.1:80" in done.stderr


async def test_control_c_leaves_a_report_that_says_it_is_partial(tmp_path: Path) -> None:
    """The plan lasts a minute; the interrupt comes with the tenth request."""
    write(trace(6000, 0.01), tmp_path / "t.parquet")
    out = tmp_path / "report.json"
    ten = asyncio.Event()
    seen = 0

    async def counted(_: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal seen
        seen += 1
        if seen == 10:
            ten.set()
        return await fine(_, writer)

    async with server(counted) as port:
        asked = command(str(tmp_path / "t.parquet"), "--target", f"127.0.0.1:{port}", "--out", "json", "-o", str(out))
        child = await asyncio.create_subprocess_exec(*asked, env=ENVIRONMENT, stderr=subprocess.PIPE)
        await asyncio.wait_for(ten.wait(), 40)
        child.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 130, err
    told = json.loads(out.read_text())
    assert told["partial"].startswith("stopped by hand after ") and "of 6,000 requests" in told["partial"]
    assert 5 <= told["rows"][1]["requests"] < 6000
    assert b"Traceback" not in err
