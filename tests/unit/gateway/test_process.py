"""Children are kept alive, with back-off, and never outlive a wish to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence

import pytest

from adaptive.gateway import process
from adaptive.gateway.channel import Message
from adaptive.gateway.process import Backoff, Child, Hooks

# Says ready, then does what it is told: the other end of a channel in a few lines that start fast.
STUB = """
import json, os, socket, sys
s = socket.socket(fileno=int(sys.argv[1]))
def send(m): b = json.dumps(m).encode(); s.sendall(len(b).to_bytes(4, "big") + b)
def read(n):
    b = b""
    while len(b) < n:
        p = s.recv(n - len(b))
        if not p: os._exit(0)
        b += p
    return b
send({"type": "ready"})
while True:
    m = json.loads(read(int.from_bytes(read(4), "big")))
    if m["type"] == "stop": os._exit(0)
    if m["type"] == "die": os._exit(3)
    send({"type": "echo", "of": m})
"""


def test_the_back_off_doubles_up_to_its_bound_and_starts_over_after_a_long_life() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert backoff.after(10.0) == pytest.approx(0.1)
    assert backoff.after(9.9) == pytest.approx(0.2)


class Keeper:
    """Counts what happens to one child."""

    def __init__(self, command: Callable[[int], Sequence[str]]) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.deaths: asyncio.Queue[int] = asyncio.Queue()
        self.child = Child(
            "stub",
            Hooks(
                lambda fd: (command(fd), (fd,)),
                lambda child: None,
                lambda child, message: self.messages.put_nowait(message),
                lambda child: self.deaths.put_nowait(child.deaths),
            ),
        )
        self.task = asyncio.get_running_loop().create_task(self.child.keep())

    async def heard(self) -> Message:
        return await asyncio.wait_for(self.messages.get(), 5)


def stub(fd: int) -> list[str]:
    return [sys.executable, "-S", "-c", STUB, str(fd)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_DELAY", 0.001)


async def test_a_child_is_told_and_heard() -> None:
    keeper = Keeper(stub)
    assert (await keeper.heard())["type"] == "ready"
    assert keeper.child.ready
    keeper.child.send({"type": "hello"})
    assert (await keeper.heard())["of"] == {"type": "hello"}
    keeper.child.stop()
    assert await keeper.child.gone(5)
    assert keeper.child.deaths == 0
    await keeper.task


async def test_a_child_that_is_killed_is_started_again(quick: None) -> None:
    keeper = Keeper(stub)
    await keeper.heard()
    first = keeper.child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert (await keeper.heard())["type"] == "ready"
    assert keeper.child.pid != first
    assert keeper.child.deaths == 1
    keeper.child.stop()
    await keeper.child.gone(5)


async def test_a_child_that_does_not_stop_is_killed() -> None:
    deaf = "import socket,sys,time,json\ns=socket.socket(fileno=int(sys.argv[1]))\n"
    deaf += "b=json.dumps({'type':'ready'}).encode(); s.sendall(len(b).to_bytes(4,'big')+b)\ntime.sleep(60)"
    keeper = Keeper(lambda fd: [sys.executable, "-S", "-c", deaf, str(fd)])
    await keeper.heard()
    pid = keeper.child.pid
    keeper.child.stop()
    assert not await keeper.child.gone(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


async def test_a_last_life_is_not_followed_by_another(quick: None) -> None:
    keeper = Keeper(stub)
    await keeper.heard()
    keeper.child.finish()
    keeper.child.send({"type": "die"})
    await asyncio.wait_for(keeper.task, 5)
    assert not keeper.child.ready


async def test_deaths_before_ready_are_counted_apart(quick: None) -> None:
    keeper = Keeper(lambda fd: [sys.executable, "-S", "-c", "raise SystemExit(1)"])
    for expected in (1, 2):
        assert await asyncio.wait_for(keeper.deaths.get(), 5) == expected
    assert keeper.child.stillborn >= 2
    keeper.child.kill()
    await keeper.child.gone(5)


async def test_a_command_that_does_not_exist_is_tried_again(quick: None) -> None:
    keeper = Keeper(lambda fd: ["/nonexistent/python"])
    for expected in (1, 2):
        assert await asyncio.wait_for(keeper.deaths.get(), 5) == expected
    keeper.child.stop()
    assert await keeper.child.gone(5)


def test_a_child_finds_this_package_wherever_it_lies() -> None:
    env = process.environment({"X": "1"})
    assert env["X"] == "1"
    roots = env.get("PYTHONPATH", "").split(os.pathsep)
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(process.__file__))))
    assert here in roots or "site-packages" in here
