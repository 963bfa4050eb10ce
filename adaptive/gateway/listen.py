"""Binds the listening sockets: one for each worker and listener, so that a replaced worker finds its own backlog."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

# Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096


class AddressError(Exception):
    """An address that cannot be listened on; its text is meant for an operator."""


def address(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def explain(host: str, port: int, error: OSError) -> AddressError:
    """One sentence on why an address cannot be had."""
    reason = {
        errno.EADDRINUSE: "the address is in use by another process",
        errno.EACCES: "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address",
    }.get(error.errno or 0, error.strerror or str(error))
    return AddressError(f"cannot listen on {address(host, port)}: {reason}")


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The family and numeric address to bind to; a name gives its first address. Raises AddressError."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except OSError as error:
        raise AddressError(f"cannot listen on {address(host, port)}: {error.strerror or error}") from None
    family, _, _, _, where = found[0]
    return family, (str(where[0]), int(where[1]))


def bind(host: str, port: int, share: bool) -> socket.socket:
    """A bound and listening socket, not blocking; `share` sets SO_REUSEPORT. Raises AddressError."""
    family, where = resolve(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" means IPv6 alone, so that "0.0.0.0" may stand beside it; as the config reads.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise explain(host, port, error) from None
    return sock


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address, among which the kernel spreads connections. Raises AddressError.

    With SO_REUSEPORT two gateways of one user would both bind without a word, and each would get half the
    connections. So the address is first tried without it. Port 0 takes a free port, the same for all.
    """
    probe = bind(host, port, share=False)
    if count == 1:
        return [probe]
    taken = probe.getsockname()[1]
    probe.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(bind(host, taken, share=True))
    except AddressError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


@dataclass(slots=True)
class Listening:
    """Every listening socket of the gateway: `by_worker[worker]` holds one for each listener, in order."""

    by_worker: list[list[socket.socket]] = field(default_factory=list)

    @classmethod
    def open(cls, addresses: Sequence[tuple[str, int]], workers: int) -> Listening:
        """Bind every address for every worker; binds all or raises AddressError."""
        self = cls([[] for _ in range(workers)])
        try:
            for host, port in addresses:
                for worker, sock in enumerate(bind_shared(host, port, workers)):
                    self.by_worker[worker].append(sock)
        except AddressError:
            self.close()
            raise
        return self

    def names(self) -> list[str]:
        """The addresses as they were bound, real port numbers included."""
        return [address(*sock.getsockname()[:2]) for sock in self.by_worker[0]] if self.by_worker else []

    def close(self) -> None:
        """Close this process's copies; a child's stay open."""
        for sockets in self.by_worker:
            for sock in sockets:
                sock.close()
        self.by_worker = []


# <asm-generic/socket.h>, <linux/filter.h>: a program of one instruction, "return 0", which keeps no byte of any packet.
_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


def deafen(sock: socket.socket) -> None:
    """Lets nothing reach a listening socket any more; what it has accepted stays to be taken.

    Between the last accept and the close there is a moment in which the kernel would complete a connection and then
    reset it, with a request in it. A connection that is attempted now waits for TCP's next try, a second later, and is
    refused then. Linux only; elsewhere the moment stays.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_DROP_ALL)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
