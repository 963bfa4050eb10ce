"""A steady load of ordinary clients, and what became of each request."""

from __future__ import annotations

import threading
from collections import Counter

from tests.conformance.dataplane.wire import Client, Malformed, Truncated, request


class Load:
    """Clients that ask one request after the other on kept connections, as long as the `with` block lasts.

    A kept connection that turns out to be closed before any byte of an answer is counted in `closed`: every HTTP client
    in use asks again on a fresh one then, but only where something ended may it happen at all. Everything else that is
    no 200 is a failure. `over` tells them that refused connections are now the end, not a failure.
    """

    def __init__(self, port: int, host: str, clients: int = 8, pause: float = 0.004) -> None:
        self.port, self.host, self.pause = port, host, pause
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.closed = 0
        self.over = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)
        assert not any(thread.is_alive() for thread in self._threads), "a client waits for ever"

    @property
    def served(self) -> int:
        """Requests answered with 200."""
        return self.statuses[200]

    def wait(self, count: int, seconds: float = 20.0) -> None:
        """Waits until so many more requests have been served."""
        target = self.served + count
        for _ in range(int(seconds / 0.02)):
            if self.served >= target:
                return
            self._stop.wait(0.02)
        raise AssertionError(f"{self.served} of {target} requests after {seconds:g} s; {self.failures[-3:]}")

    def _run(self, number: int) -> None:
        client: Client | None = None
        turn = 0
        while not self._stop.wait(self.pause):
            turn += 1
            kept = client is not None
            try:
                client = client or Client(self.port)
            except ConnectionError as error:
                if self.over.is_set():
                    return
                self._failed(f"connecting: {error!r}")
                continue
            before = client.heard
            try:
                client.send(request(f"/{number}/{turn}", self.host))
                response = client.response()
            except (OSError, Truncated, Malformed) as error:
                if kept and client.heard == before and not isinstance(error, TimeoutError):
                    with self._lock:
                        self.closed += 1
                else:
                    self._failed(f"asking: {error!r}")
                client.close()
                client = None
                continue
            with self._lock:
                self.statuses[response.status] += 1
            if response.status != 200:
                self._failed(f"{response.status} {response.body!r}")
            if (response.get("connection") or "").lower() == "close":
                client.close()
                client = None
        if client is not None:
            client.close()

    def _failed(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
