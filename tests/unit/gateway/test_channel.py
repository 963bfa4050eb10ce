"""The control channel: whole messages in order, and bounds that hold."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given
from hypothesis import strategies as st

from adaptive.gateway import channel as channels
from adaptive.gateway.channel import Channel, Message, frame, open_channel


class End:
    """One end of a channel that remembers what came."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.closed = asyncio.Event()
        self.came = asyncio.Event()

    def took(self, message: Message) -> None:
        self.messages.append(message)
        self.came.set()

    async def until(self, count: int) -> list[Message]:
        while len(self.messages) < count:
            self.came.clear()
            await asyncio.wait_for(self.came.wait(), 5)
        return self.messages


async def pair() -> tuple[Channel, End, Channel, End]:
    ours, theirs = socket.socketpair()
    a, b = End(), End()
    left = await open_channel(ours, a.took, a.closed.set)
    right = await open_channel(theirs.detach(), b.took, b.closed.set)
    return left, a, right, b


async def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    left, a, right, b = await pair()
    sent = [{"type": "n", "n": n, "text": "ü" * (n % 7)} for n in range(200)]
    for message in sent:
        assert left.send(message)
    assert right.send({"type": "ready"})
    assert await b.until(200) == sent
    assert await a.until(1) == [{"type": "ready"}]
    left.close()
    right.close()


async def test_a_message_larger_than_the_socket_s_buffer_arrives() -> None:
    left, _, right, b = await pair()
    text = "x" * 3_000_000
    assert left.send({"type": "configure", "config": text})
    assert (await b.until(1))[0]["config"] == text
    left.close()
    right.close()


async def test_both_ends_learn_that_one_closed() -> None:
    left, a, right, b = await pair()
    left.close()
    await asyncio.wait_for(b.closed.wait(), 5)
    await asyncio.wait_for(a.closed.wait(), 5)
    assert not left.send({"type": "late"})
    assert not right.open


async def test_the_first_message_comes_after_the_channel_is_known() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(frame({"type": "configure"}))
    known: list[Channel] = []
    answered = asyncio.Event()

    def answer(message: Message) -> None:
        assert known[0].send({"type": "ready"})
        answered.set()

    known.append(await open_channel(ours, answer, lambda: None))
    await asyncio.wait_for(answered.wait(), 5)
    known[0].close()
    theirs.close()


async def test_a_reader_that_stops_reading_cannot_make_the_backlog_grow_without_end(monkeypatch) -> None:
    monkeypatch.setattr(channels, "BACKLOG", 100_000)
    ours, theirs = socket.socketpair()  # nobody reads `theirs`
    channel = await open_channel(ours, lambda m: None, lambda: None)
    results = [channel.send({"type": "x", "text": "y" * 10_000}) for _ in range(200)]
    assert results[0] and not results[-1]
    assert channel.dropped == results.count(False)
    channel._transport.abort()
    theirs.close()


async def test_a_length_beyond_the_bound_closes_the_channel() -> None:
    ours, theirs = socket.socketpair()
    end = End()
    await open_channel(ours, end.took, end.closed.set)
    theirs.sendall(b"\xff\xff\xff\xff")
    await asyncio.wait_for(end.closed.wait(), 5)
    assert end.messages == []
    theirs.close()


async def test_what_is_no_json_object_closes_the_channel() -> None:
    for body in (b"{", b"[1]", b"\xff\xfe"):
        ours, theirs = socket.socketpair()
        end = End()
        await open_channel(ours, end.took, end.closed.set)
        theirs.sendall(len(body).to_bytes(4, "big") + body)
        await asyncio.wait_for(end.closed.wait(), 5)
        assert end.messages == []
        theirs.close()


async def test_a_callback_that_raises_does_not_end_the_channel(caplog) -> None:
    ours, theirs = socket.socketpair()
    end = End()

    def took(message: Message) -> None:
        if message["type"] == "bad":
            raise RuntimeError("no")
        end.took(message)

    channel = await open_channel(ours, took, end.closed.set)
    theirs.sendall(frame({"type": "bad"}) + frame({"type": "good"}))
    assert (await end.until(1))[0]["type"] == "good"
    assert "'bad' failed" in caplog.text
    channel.close()
    theirs.close()


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=8), st.data())
def test_messages_survive_any_cutting_of_the_stream(messages: list[dict[str, str]], data: st.DataObject) -> None:
    got: list[Message] = []
    channel = Channel(got.append, lambda: None)
    channel.connection_made(object())  # type: ignore[arg-type]
    channel.start()
    stream = b"".join(map(frame, messages))
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        channel.data_received(stream[:cut])
        stream = stream[cut:]
    assert got == messages
