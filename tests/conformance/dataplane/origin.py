"""An origin server that does what a test tells it to, byte for byte, and remembers what reached it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from tests.conformance.dataplane.wire import Malformed, Request, Truncated, Wire, read_request_head, reply, request_body


class Visit(Wire):
    """One connection from the gateway."""

    def __init__(self, sock: socket.socket, origin: Origin, number: int) -> None:
        super().__init__(sock, origin._heard)
        self.origin = origin
        self.number = number  # from 0, in the order in which the origin accepted

    def next_head(self) -> Request | None:
        """A request's head, which is recorded at once; None when the gateway has closed."""
        request = read_request_head(self)
        if request is not None:
            self.origin._began(request)
        return request

    def next(self) -> Request | None:
        """A whole request, which is recorded when it is complete; None when the gateway has closed."""
        request = self.next_head()
        if request is not None:
            request.body = b"".join(request_body(self, request))
            self.origin._completed(request)
        return request

    def send(self, data: bytes) -> None:
        super().send(data)
        self.origin.sent += len(data)


Script = Callable[[Visit], None]


def answering(*replies: bytes) -> Script:
    """A script that answers each request with the next of these, and with the last of them for ever after."""
    given: list[bytes] = []

    def script(visit: Visit) -> None:
        while visit.next() is not None:
            given.append(b"")
            visit.send(replies[min(len(given), len(replies)) - 1])

    return script


class Origin:
    """A listening address. It refuses connections until it is started; each connection gets a thread.

    `heard` holds every byte received, `requests` the requests that arrived whole, `begun` those whose head did, and
    `wrong` what no strict reader accepts or what was cut off.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound but not listening: the address is ours, and connecting to it is refused.
        self.sock.bind((host, port))
        self.port: int = self.sock.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.heard = bytearray()
        self.requests: list[Request] = []
        self.begun: list[Request] = []
        self.wrong: list[str] = []
        self.visits = 0
        self.sent = 0
        self.changed = threading.Condition()
        self._script: Script = answering(reply())
        self._tls: ssl.SSLContext | None = None
        self._open: set[Visit] = set()
        self._running = False

    def start(self, script: Script | None = None, tls: ssl.SSLContext | None = None) -> Origin:
        """Begins to listen (or goes on, with another script for the connections to come)."""
        self._script, self._tls = script or answering(reply()), tls
        if not self._running:
            self._running = True
            self.sock.listen(512)
            threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self) -> None:
        """Closes every connection and the address."""
        self._running = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for visit in list(self._open):
            visit.close()

    def forget(self) -> None:
        """Begins anew to remember."""
        with self.changed:
            self.heard.clear()
            self.requests.clear()
            self.begun.clear()
            self.wrong.clear()

    def wait(self, what: Callable[[Origin], bool], timeout: float = 10.0) -> None:
        """Waits until something holds."""
        with self.changed:
            assert self.changed.wait_for(lambda: what(self), timeout), f"never came to pass at {self.address}"

    @property
    def last(self) -> Request:
        """The last request that arrived whole."""
        return self.requests[-1]

    @property
    def open_visits(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def _accept(self) -> None:
        while self._running:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.visits += 1
            threading.Thread(target=self._serve, args=(sock, self.visits - 1), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.settimeout(30.0)
            visit = Visit(self._tls.wrap_socket(sock, server_side=True) if self._tls else sock, self, number)
        except OSError as error:
            self._note(f"handshake: {error}")
            sock.close()
            return
        self._open.add(visit)
        try:
            self._script(visit)
        except (Malformed, Truncated) as error:
            self._note(f"{type(error).__name__}: {error}")
        except OSError:
            pass
        finally:
            visit.close()
            with self.changed:
                self._open.discard(visit)
                self.changed.notify_all()

    def _note(self, text: str) -> None:
        with self.changed:
            self.wrong.append(text)
            self.changed.notify_all()

    def _heard(self, data: bytes) -> None:
        with self.changed:
            self.heard += data[: 1 << 20]
            self.changed.notify_all()

    def _began(self, request: Request) -> None:
        with self.changed:
            self.begun.append(request)
            self.changed.notify_all()

    def _completed(self, request: Request) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
