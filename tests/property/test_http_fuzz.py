"""No bytes crash the glue around the parser, none are read in two ways, and where they are cut makes no difference.

What the gateway accepts is held against two readers that share no code with it: h11, and the strict one of the
conformance suite. Requests and responses are grown from lines that are nearly right and then damaged, since random
bytes are refused at the first of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adaptive.gateway import client as client_module
from adaptive.gateway import lines
from adaptive.gateway.chunks import BadChunks, ChunkReader, chunk, last_chunk
from adaptive.gateway.client import ClientConnection
from adaptive.gateway.head import CHUNKED, HeadLimits, HeadReader, Rejected, RequestHead
from adaptive.gateway.outbox import Outbox
from adaptive.gateway.problem import CONTINUE
from adaptive.gateway.reply import ReplyReader
from adaptive.gateway.upstream import Upstream
from tests.conformance.dataplane.wire import (
    Malformed,
    Message,
    Truncated,
    Wire,
    parse_fields,
    read_request_head,
    read_response_head,
    response_body,
)

# A second or two for each test: what is looked for are coincidences of two or three rare lines.
BOUND = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])

FIRST = [
    b"GET / HTTP/1.1",
    b"POST /a?b=c HTTP/1.1",
    b"HEAD /%2e HTTP/1.1",
    b"PUT /x HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"GET http://other.test/p HTTP/1.1",
    b"GET /a/../b HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"get / HTTP/1.1",
]
FIELDS = [
    b"Host: a.test",
    b"host: A.test:80",
    b"Host: [::1]:8080",
    b"Host:",
    b"Content-Length: 5",
    b"content-length: 0",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding : chunked",
    b"Connection: close",
    b"Connection: keep-alive, X-A",
    b"Connection: Upgrade",
    b"Connection: content-length, transfer-encoding, host",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"X-A: b",
    b"X-A:  \tb c \t",
    b"X-A: \xfc",
    b" folded: x",
    b"Via: 1.1 x",
    b"TE: trailers",
    b"Cookie: a=b; c=d",
    b"X-Forwarded-For: 10.0.0.1",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
]
NASTY = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"\x0b", b"\x7f", b"\x80", *(bytes([c]) for c in b" \t:,;/0+")]
CHUNKS = [
    b"5\r\nhello\r\n",
    b"1\r\n\n\r\n",
    b"3;ext=1\r\n\r\n\r\r\n",
    b"0005\r\n\r\n\r\n0\r\n",
    b"A\r\n0123456789\r\n",
    b"1_0\r\nx\r\n",
    b"2\nab\r\n",
]
LAST = [b"0\r\n\r\n", b"000;x\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n", b"0\r\nHost: x\r\nX-B: y\r\n\r\n", b"0\n\n", b"0\r\n"]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Up to three small injuries."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 3)) if draw(st.booleans()) else 0):
        at = draw(st.integers(0, len(data)))
        span = draw(st.integers(0, 3))
        data[at : at + span] = draw(st.sampled_from(NASTY) | st.binary(max_size=2))
    return bytes(data)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    return b"".join(draw(st.lists(st.sampled_from(CHUNKS[:5]) | st.sampled_from(CHUNKS), max_size=4))) + draw(
        st.sampled_from(LAST[:3]) | st.sampled_from(LAST)
    )


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    first = draw(st.sampled_from(FIRST[:3]) | st.sampled_from(FIRST))
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=6))
    if draw(st.integers(0, 4)):
        fields = [f for f in fields if not f.lower().startswith(b"host")]
        fields.insert(draw(st.integers(0, len(fields))), b"Host: a.test")
    return draw(damaged(b"\r\n".join([first, *fields, b"", b""])))


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A connection's worth: requests one after the other, most of them right."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            data += draw(heads())
        elif kind == 1:
            data += b"POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"
        elif kind in (2, 3):
            body = draw(chunked_bodies())
            data += b"POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + draw(damaged(body))
        else:
            data += draw(st.sampled_from([b"", b"", b"\r\n"])) + b"GET /g HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n\r\n"
    return data


CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=30) | st.just([1])


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return pieces


class Bytes(Wire):
    """The conformance suite's reader, over bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = bytearray(data)
        self.ended = True
        self._tap = None


# Heads.


def understood(head: RequestHead) -> tuple[Any, ...]:
    """All that a head was taken to mean."""
    method, target, block = head
    return (
        *(method, target, block.host, block.minor, block.length, block.close, block.expect, block.upgrade),
        *(block.kept, block.forwarded, block.request_id, block.values),
    )


def judged(reader: HeadReader, data: bytes) -> tuple[Any, ...]:
    """What a reader makes of a head; anything it raises but Rejected fails the test."""
    try:
        return understood(reader.read(data))
    except Rejected as rejected:
        assert 400 <= rejected.status <= 505
        assert str(rejected)
        return ("rejected",)


def passed_on(head: RequestHead) -> bytes:
    """The head as it would go to an endpoint."""
    method, target, block = head
    plane = SimpleNamespace(via=b"adaptive", deadline_header=b"")
    connection = SimpleNamespace(
        memo_block=None, memo_route=None, memo_lines=b"", plane=plane, trusted=False, peer=b"127.0.0.1", scheme=b"http",
        local=b"127.0.0.1:80",
    )  # fmt: skip
    route = SimpleNamespace(request_set=(), request_add=(), request_remove=frozenset())
    exchange: Any = SimpleNamespace(
        client=connection, block=block, route=route, method=method, target=target, request_id=b"id"
    )
    return lines.request_head(exchange)


@BOUND
@given(heads())
def test_an_accepted_head_is_read_alike_by_every_reader(data: bytes) -> None:
    head_part, blank, _ = data.partition(b"\r\n\r\n")
    data = head_part + blank
    if not blank:
        return  # a reader is given whole heads only
    try:
        head = HeadReader(HeadLimits()).read(data)
    except Rejected:
        return
    method, target, block = head
    there = read_request_head(Bytes(data))
    assert there is not None
    assert (there.method.encode(), there.minor) == (method, block.minor)
    assert there.length == (block.length if there.length is not None else None)
    assert there.chunked == (block.length == CHUNKED)

    onward = passed_on(head)
    strict = read_request_head(Bytes(onward))
    assert strict is not None
    assert (strict.method.encode(), strict.target.encode(), strict.minor) == (method, target, 1)
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(onward)
    event = reader.next_event()
    assert isinstance(event, h11.Request), event
    assert (event.method, event.target) == (method, target)
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers.raw_items()] == strict.fields
    assert len(strict.all("host")) == 1
    assert strict.chunked == (block.length == CHUNKED)
    assert (strict.length or 0) == max(block.length, 0)
    for name in ("keep-alive", "proxy-connection", "expect"):
        assert strict.all(name) == []


@BOUND
@given(st.lists(heads(), min_size=2, max_size=6))
def test_what_was_read_before_changes_nothing(several: list[bytes]) -> None:
    """Blocks are remembered by their bytes; a memory that mixed two up would be a way to smuggle."""
    warm = HeadReader(HeadLimits())
    for data in several * 2:
        assert judged(warm, data) == judged(HeadReader(HeadLimits()), data)


@BOUND
@given(heads(), st.integers(16, 200), st.integers(1, 5))
def test_limits_are_kept_whatever_comes(data: bytes, size: int, count: int) -> None:
    limits = HeadLimits(header_bytes=size, headers=count, uri_bytes=16)
    try:
        _, target, _ = HeadReader(limits).read(data)
    except Rejected:
        return
    assert data.count(b"\r\n") - 2 <= count
    assert len(target) <= 16
    assert len(data) <= size + 16


# Chunked bodies.


def decoded(data: bytes, sizes: Sequence[int]) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], str]:
    """Content, rest, trailers and how it ended, when fed in such pieces."""
    reader = ChunkReader()
    content, rest = b"", b""
    for piece in cut(data, sizes):
        if reader.done:
            rest += piece
            continue
        try:
            pieces, rest = reader.feed(piece)
        except BadChunks:
            return b"", b"", [], "bad"
        content += b"".join(pieces)
    return content, rest, reader.trailers if reader.done else [], "done" if reader.done else "going on"


@st.composite
def damaged_chunks(draw: st.DrawFn) -> bytes:
    return draw(damaged(draw(chunked_bodies()) + draw(st.sampled_from([b"", b"GET /next HTTP/1.1\r\n\r\n", b"\r\n"]))))


@BOUND
@given(damaged_chunks(), CUTS)
@example(b"0\r\n\r\n", [1])
@example(b"5\r\n\r\n\r\n0\r\n0\r\n\r\nGET", [4])
def test_where_a_chunked_body_is_cut_makes_no_difference(data: bytes, sizes: list[int]) -> None:
    assert decoded(data, sizes) == decoded(data, [len(data) or 1])


@BOUND
@given(damaged_chunks())
def test_an_accepted_chunked_body_is_read_alike_by_another_reader(data: bytes) -> None:
    content, rest, trailers, how = decoded(data, [len(data) or 1])
    if how != "done":
        return
    wire, message = Bytes(data), Message()
    assert b"".join(wire.chunks(message, extensions=True)) == content
    assert bytes(wire.buffer) == rest
    there = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message.trailers]
    assert there == [(name, value.strip(b" \t")) for name, value in trailers]

    onward = (chunk(content) if content else b"") + last_chunk(trailers)
    again = Bytes(onward)
    assert b"".join(again.chunks(Message())) == content
    assert not again.buffer


# Connections of clients.


class Transport:
    """Takes what a protocol writes."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_extra_info(self, name: str) -> None:
        return None


class Recorded:
    """An Exchange that answers nothing and remembers what it was given."""

    def __init__(self, connection: ClientConnection, head: RequestHead, now: float) -> None:
        self.connection = connection
        self.method, self.target, self.block = head
        self.body_done = self.block.length == 0
        self.keep = not self.block.close
        self.bytes_up = 0
        self.content = b""
        self.attempt = None

    def begin(self, now: float) -> None:
        if self.body_done:
            self.body_end([], now)

    def body(self, data: bytes) -> None:
        self.bytes_up += len(data)
        self.content += data

    def body_end(self, trailers: list[tuple[bytes, bytes]], now: float) -> None:
        self.body_done = True
        seen: Any = self.connection.plane
        seen.requests.append((self.method, self.target, self.block.host, self.content, trailers))
        done: Any = self
        self.connection.exchange_done(done, now)

    def client_error(self, status: int, detail: str, counter: int) -> None:
        seen: Any = self.connection.plane
        seen.refused = True
        done: Any = self
        self.connection.exchange_done(done, 1.0)

    def client_gone(self) -> None:
        pass


def plane() -> Any:
    """As much of a Plane as a connection needs."""
    from adaptive.telemetry.counters import Counters

    counts = Counters.create(1)
    reasons = ("bad_request", "header_too_large", "uri_too_long")
    return SimpleNamespace(
        admits=lambda client: 0,
        left=lambda client: None,
        outbox=Outbox(),
        next_number=lambda: 1,
        request_id=lambda number: b"id-%d" % number,
        row=counts.row(0), no_block=counts.block(None), clients=set(), buffer_bytes=65536, connection_limit=10,
        trusts=lambda peer: False, heads=HeadReader(HeadLimits()), rejects=dict.fromkeys(reasons, 0), body_limit=0,
        pipeline_bytes=65536, requests=[], refused=False, counts=counts,
    )  # fmt: skip


async def served(data: bytes, sizes: Sequence[int], shared: Any) -> tuple[list[Any], bool]:
    """The requests that a connection makes of these bytes, and whether it refused to go on."""
    shared.requests, shared.refused = [], False
    transport: Any = Transport()
    connection = ClientConnection(shared, b"http")
    connection.connection_made(transport)
    for piece in cut(data, sizes):
        if transport.closed:
            break
        connection.data_received(piece)
        if connection.exchange is None:
            await asyncio.sleep(0)  # a request that waits is taken up by the loop
    for _ in range(20):
        await asyncio.sleep(0)
    # To go on was said only where the body had not come with the head, which the cuts decide.
    answered = transport.written.replace(CONTINUE, b"")
    refused = shared.refused or bool(connection.closing_since and answered)
    connection.connection_lost(None)
    return shared.requests, refused


def independent(data: bytes) -> list[tuple[bytes, bytes]]:
    """Method and content of each request, as the conformance suite reads them; it stops where it finds a fault."""
    found = []
    wire = Bytes(data)
    try:
        while wire.buffer:
            while wire.buffer[:2] == b"\r\n":
                del wire.buffer[:2]
            request = read_request_head(wire) if wire.buffer else None
            if request is None:
                break
            if request.chunked:
                content = b"".join(wire.chunks(request, extensions=True))
            else:
                content = wire.exactly(request.length or 0)
            found.append((request.method.encode(), content))
    except (Malformed, Truncated, AssertionError):
        pass
    return found


@pytest.fixture(autouse=True, scope="module")
def _recorded() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(client_module, "Exchange", Recorded)
    yield
    patch.undo()


@BOUND
@given(streams(), CUTS)
@example(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [1])
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [2])
@example(b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [2])
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\nExpect: 100-continue\r\n\r\nx", [1])
def test_where_a_connection_is_cut_makes_no_difference(data: bytes, sizes: list[int]) -> None:
    shared = plane()

    async def both() -> None:
        whole = await served(data, [len(data)], shared)
        assert await served(data, sizes, shared) == whole

    asyncio.run(both())


@BOUND
@given(streams())
def test_a_connection_yields_the_requests_that_another_reader_finds(data: bytes) -> None:
    requests, _ = asyncio.run(served(data, [len(data)], plane()))
    there = independent(data)
    assert [(method, content) for method, _, _, content, _ in requests] == there[: len(requests)]


# Responses.

STATUS = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Same",
    b"HTTP/1.1 103 Hint",
    b"HTTP/1.1 20 X",
]
REPLY_FIELDS = [
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: close",
    b"Connection: X-A",
    b"X-A: b",
    b"Set-Cookie: a=b",
    b" folded: x",
]


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    data = b""
    if not draw(st.integers(0, 4)):
        data += b"HTTP/1.1 103 Hint\r\nLink: x\r\n\r\n"
    fields = draw(st.lists(st.sampled_from(REPLY_FIELDS), max_size=3))
    data += b"\r\n".join([draw(st.sampled_from(STATUS[:2]) | st.sampled_from(STATUS)), *fields, b"", b""])
    body = draw(chunked_bodies()) if b"Transfer-Encoding: chunked" in fields else b"hello"
    return draw(damaged(data + body + draw(st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\n\r\n"]))))


class Answer:
    """An Attempt and its Exchange in one, which remember what the endpoint said."""

    def __init__(self, method: bytes) -> None:
        self.exchange = self
        self.method = method
        self.block = SimpleNamespace(upgrade=b"")
        self.first_byte = 0.0
        self.deadline = 0.0
        self.detail = ""
        self.reusable = True
        self.content = b""
        self.said: list[Any] = []
        self.over = False
        self.whole = False

    def interim(self, reply: Any) -> None:
        self.said.append(reply.status)

    def reply(self, attempt: Any, reply: Any, data: bytes, now: float, whole: bool) -> bool:
        self.said += [reply.status, reply.reason, reply.lines]
        self.content += data
        self.over = self.whole = whole
        return not whole

    def reply_body(self, attempt: Any, data: bytes) -> None:
        self.content += data

    def reply_end(self, attempt: Any, data: bytes, trailers: list[tuple[bytes, bytes]]) -> None:
        assert not self.over
        self.content += data
        self.said.append(trailers)
        self.over = self.whole = True

    def failed(self, cause: Any) -> None:
        self.over = True


def answered(data: bytes, sizes: Sequence[int], method: bytes) -> Answer:
    """What an Upstream makes of these bytes and the end of the connection."""
    pool: Any = SimpleNamespace(
        cluster=SimpleNamespace(replies=ReplyReader(), plane=SimpleNamespace(body_timeout=30.0, outbox=Outbox())),
        opened=lambda upstream: None,
        lost=lambda upstream: None,
    )
    upstream = Upstream(pool)
    transport: Any = Transport()
    upstream.connection_made(transport)
    answer: Any = Answer(method)
    upstream.attempt, upstream.used = answer, 1
    for piece in cut(data, sizes):
        if answer.over:
            break
        upstream.data_received(piece)
    if not answer.over:
        upstream.eof_received()
    assert answer.over, "an attempt must come to an end when its connection does"
    return answer


@BOUND
@given(replies(), CUTS, st.sampled_from([b"GET", b"HEAD"]))
def test_where_a_response_is_cut_makes_no_difference(data: bytes, sizes: list[int], method: bytes) -> None:
    whole, pieces = answered(data, [len(data)], method), answered(data, sizes, method)
    assert pieces.whole == whole.whole
    if whole.whole:
        assert pieces.content == whole.content
        assert [s for s in pieces.said if s] == [s for s in whole.said if s]


@BOUND
@given(replies(), st.sampled_from([b"GET", b"HEAD"]))
def test_an_accepted_response_is_read_alike_by_another_reader(data: bytes, method: bytes) -> None:
    answer = answered(data, [len(data)], method)
    if not answer.whole:
        return
    wire = Bytes(data)
    there = read_response_head(wire, spaceless=True)
    if there.chunked and method != b"HEAD" and there.status not in (204, 304):
        content = b"".join(wire.chunks(there, extensions=True))
    else:
        content = b"".join(response_body(wire, there, method.decode()))
    assert answer.content == content
    assert there.status in answer.said


@BOUND
@given(st.binary(max_size=300), st.sampled_from([b"GET", b"HEAD"]))
def test_no_bytes_of_an_endpoint_crash_its_reader(data: bytes, method: bytes) -> None:
    if data:
        answered(data, [len(data)], method)


@BOUND
@given(st.binary(max_size=300))
def test_no_bytes_of_a_client_crash_its_reader(data: bytes) -> None:
    if data:
        asyncio.run(served(data, [len(data)], plane()))


def test_the_readers_that_judge_do_judge() -> None:
    """Were they to accept anything, the tests above would prove nothing."""
    with pytest.raises(Malformed):
        parse_fields([b"X-A : b"])
    with pytest.raises(Malformed):
        b"".join(Bytes(b"1_0\r\nx").chunks(Message(), extensions=True))
    assert independent(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == []
