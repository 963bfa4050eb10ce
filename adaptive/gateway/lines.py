"""What the gateway writes above a body: the head for an endpoint, and the head for the client.

Both are mostly the same from one request to the next. The lines for an endpoint are kept on the client's connection for
as long as it sends the same header block to the same route, those for the client on the ReplyHead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive import clock
from adaptive.gateway import patience
from adaptive.gateway.fields import changed
from adaptive.gateway.head import CHUNKED, Block
from adaptive.gateway.reply import ReplyHead

if TYPE_CHECKING:
    from adaptive.gateway.client import ClientConnection
    from adaptive.gateway.exchange import Exchange
    from adaptive.gateway.router import Route

_KEEP = (b"connection: close\r\n\r\n", b"\r\n")
_KEEP_1_0 = (b"connection: close\r\n\r\n", b"connection: keep-alive\r\n\r\n")


def request_head(exchange: Exchange) -> bytes:
    """The request's head, for the endpoint of the current attempt."""
    client = exchange.client
    block = exchange.block
    route = exchange.route
    if client.memo_block is not block or client.memo_route is not route:
        client.memo_block, client.memo_route = block, route
        client.memo_lines = _request_lines(block, route, client)
    told = patience.told(exchange, clock.monotonic()) if client.plane.deadline_header else b""
    return b"%b %b HTTP/1.1\r\n%b%bx-request-id: %b\r\n\r\n" % (
        exchange.method, exchange.target, client.memo_lines, told, exchange.request_id,
    )  # fmt: skip


def _request_lines(block: Block, route: Route, client: ClientConnection) -> bytes:
    deadline = client.plane.deadline_header
    if route.request_set or route.request_remove or deadline:
        kept = changed(block.kept, route.request_remove | {deadline}, route.request_set)
    else:
        kept = [field[2] for field in block.kept]
    host = block.host or client.local
    for name, value in route.request_set:
        if name == b"host":
            host = value
        else:
            kept.append(name + b": " + value)
    for name, value in route.request_add:
        kept.append(name + b": " + value)
    if block.length == CHUNKED:
        kept.append(b"transfer-encoding: chunked")
    elif block.has_length:
        kept.append(b"content-length: %d" % block.length)
    if block.upgrade:
        kept += [b"connection: upgrade", b"upgrade: " + block.upgrade]
    if client.trusted and block.forwarded:
        kept += _forwarded(block.forwarded, block.host, client)
    else:
        kept.append(b"x-forwarded-for: %b\r\nx-forwarded-proto: %b" % (client.peer, client.scheme))
        if block.host:
            kept.append(b"x-forwarded-host: " + block.host)
    if client.plane.via:
        kept.append(b"via: 1.%d %b" % (block.minor, client.plane.via))
    return b"host: %b\r\n%b\r\n" % (host, b"\r\n".join(kept))


def _forwarded(said: dict[bytes, bytes], host: bytes, client: ClientConnection) -> list[bytes]:
    """The X-Forwarded-* lines for a trusted peer: what it says is kept and added to."""
    before = said.get(b"x-forwarded-for")
    found = [b"x-forwarded-for: " + (before + b", " + client.peer if before else client.peer)]
    found.append(b"x-forwarded-proto: " + said.get(b"x-forwarded-proto", client.scheme))
    if host or b"x-forwarded-host" in said:
        found.append(b"x-forwarded-host: " + said.get(b"x-forwarded-host", host))
    if b"forwarded" in said:
        found.append(b"forwarded: " + said[b"forwarded"])
    return found


def reply_head(exchange: Exchange, reply: ReplyHead) -> bytes:
    """The response's head for the client, with the framing its body will have. Sets `keep` and `rechunk`."""
    route = exchange.route
    minor = exchange.block.minor
    if route.response_set or route.response_remove or route.response_add:
        prefix = _status_line(reply) + _changed_lines(reply, route) + exchange.plane.via_line
    else:
        prefix = reply.prefix
        if not prefix:
            prefix = reply.prefix = _status_line(reply) + reply.lines + exchange.plane.via_line
    if reply.length >= 0:
        if reply.status != 204:
            prefix += b"content-length: %d\r\n" % reply.length
    elif not reply.bodiless(exchange.method == b"HEAD"):
        if minor == 1:
            exchange.rechunk = True
            prefix += b"transfer-encoding: chunked\r\n"
        else:
            exchange.keep = False
    end = (_KEEP if minor else _KEEP_1_0)[exchange.keep]
    return b"%bx-request-id: %b\r\n%b" % (prefix, exchange.request_id, end)


def tunnel_head(exchange: Exchange, reply: ReplyHead) -> bytes:
    """The head of a 101."""
    return b"%b%bx-request-id: %b\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n" % (
        _status_line(reply), reply.lines + exchange.plane.via_line, exchange.request_id,
        reply.upgrade or exchange.block.upgrade,
    )  # fmt: skip


def _status_line(reply: ReplyHead) -> bytes:
    return b"HTTP/1.1 %d%b\r\n" % (reply.status, reply.reason)


def _changed_lines(reply: ReplyHead, route: Route) -> bytes:
    kept = changed(reply.kept, route.response_remove, route.response_set)
    kept += [name + b": " + value for name, value in (*route.response_set, *route.response_add)]
    return b"".join([line + b"\r\n" for line in kept])
