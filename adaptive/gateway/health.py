"""Active health checks, in the brain: one task an endpoint, a plain GET over a connection of its own.

A failing check is evidence like any other. Single failures are held back: only `unhealthy` of them in a row are told,
then all at once; and the same for `healthy` passes after that.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools

from adaptive import clock
from adaptive.announcement import HEADER, READY, Announcement, parse
from adaptive.config.cluster import ClusterConfig, EndpointConfig, HealthCheck
from adaptive.config.model import Config
from adaptive.config.topology import slot_key
from adaptive.gateway.tls import upstream_context
from adaptive.types import Announced, HealthChecked

JITTER = 0.1  # share of the interval: endpoints checked by many gateways are not checked by all at once
CONCURRENT = 256  # checks under way at once; a thousand dead endpoints must not use up the descriptors
KEPT = 3.5  # intervals for which an announcement holds: one lost check or two must not end it
LONGEST = 64 * 1024  # bytes of an answer that are read; its status comes in the first hundred


@dataclass(slots=True)
class Streak:
    """Turns single checks into evidence: an outcome is told when it has come often enough in a row to be believed."""

    healthy: int
    unhealthy: int
    ok: bool | None = None  # None: the first check decides
    held: list[HealthChecked] = field(default_factory=list)

    def told(self, check: HealthChecked) -> list[HealthChecked]:
        """What may be told after this check."""
        if self.ok is None or check.ok == self.ok:
            self.ok = check.ok
            self.held.clear()
            return [check]
        self.held.append(check)
        if len(self.held) < (self.healthy if check.ok else self.unhealthy):
            return []
        self.ok = check.ok
        told, self.held = self.held, []
        return told


class Answer:
    """What an endpoint answered: callbacks of httptools that want the final status and what it announces."""

    def __init__(self, body: bool) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.wanted = body  # the body's first line may announce something
        self.body = b""
        self.said = b""
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == HEADER:
            self.said += b" " + value

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200:
            self.status = status
            self.done = not self.wanted

    def on_body(self, data: bytes) -> None:
        self.body += data
        if b"\n" in self.body:
            self.done = True

    def on_message_complete(self) -> None:
        self.done = self.done or self.status > 0

    @property
    def announced(self) -> Announcement:
        """What it announces; READY where it announces nothing."""
        line = self.body.partition(b"\n")[0] if self.wanted else b""
        return parse((self.said + b" " + line).strip().decode("latin-1")) or READY


async def get(
    endpoint: EndpointConfig, check: HealthCheck, context: ssl.SSLContext | None, server_name: str | None
) -> Answer:
    """The answer to one GET. Raises OSError, ssl.SSLError, httptools.HttpParserError or EOFError."""
    reader, writer = await asyncio.open_connection(
        endpoint.host,
        endpoint.port,
        limit=LONGEST,
        ssl=context,
        server_hostname=(server_name or endpoint.host) if context is not None else None,
    )
    try:
        writer.write(
            f"GET {check.path} HTTP/1.1\r\nHost: {check.host or endpoint.address}\r\n"
            "User-Agent: adaptive-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        answer = Answer(check.announcements)
        read = 0
        while not answer.done:
            data = await reader.read(4096)
            read += len(data)
            if answer.status and (not data or read > LONGEST):
                break  # a body that ends with its connection, or is no announcement
            if not data or read > LONGEST:
                raise EOFError("no answer" if not data else "no end of the answer's head")
            answer.parser.feed_data(data)
        return answer
    finally:
        writer.transport.abort()


class HealthChecks:
    """Runs the checks that a configuration wants, and passes their results to `tell`."""

    def __init__(self, tell: Callable[[HealthChecked | Announced], None], seed: int) -> None:
        self.tell = tell
        self.rng = random.Random(f"health checks {seed}")
        self._tasks: dict[str, tuple[Any, asyncio.Task[None]]] = {}
        self._room = asyncio.Semaphore(CONCURRENT)

    def configure(self, config: Config, slots: Mapping[str, int]) -> None:
        """Check these endpoints; tasks of those whose check did not change go on.

        Raises OSError or ssl.SSLError, and changes nothing, where files for TLS cannot be used.
        """
        contexts = {
            name: upstream_context(cluster.tls)
            for name, cluster in config.clusters.items()
            if cluster.health_check is not None
        }
        wanted: dict[str, tuple[ClusterConfig, EndpointConfig, int]] = {}
        for name, cluster in config.clusters.items():
            if cluster.health_check is not None:
                for endpoint in cluster.endpoints:
                    key = slot_key(name, endpoint.address)
                    wanted[key] = (cluster, endpoint, slots[key])
        for key in list(self._tasks):
            held, task = self._tasks[key]
            if key not in wanted or held != _kind(*wanted[key]):
                task.cancel()
                del self._tasks[key]
        for key, (cluster, endpoint, slot) in wanted.items():
            if key not in self._tasks:
                work = self._keep(cluster, endpoint, slot, contexts[key.partition("|")[0]])
                task = asyncio.get_running_loop().create_task(work)
                self._tasks[key] = (_kind(cluster, endpoint, slot), task)

    def close(self) -> None:
        """Stop all checks."""
        for _, task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _keep(
        self, cluster: ClusterConfig, endpoint: EndpointConfig, slot: int, context: ssl.SSLContext | None
    ) -> None:
        check = cluster.health_check
        assert check is not None
        streak = Streak(check.healthy, check.unhealthy)
        server_name = cluster.tls.server_name if cluster.tls is not None else None
        before = READY
        # The first checks are spread over one interval, but a second at most: a dead endpoint should be known soon.
        await asyncio.sleep(self.rng.random() * min(check.interval, 1.0))
        while True:
            async with self._room:
                began = clock.monotonic()
                ok, detail, said = await self._once(endpoint, check, context, server_name)
                ended = clock.monotonic()
            if ok and (said != READY or before != READY):
                self.tell(Announced(ended, slot, said.share, said.most, ended + KEPT * check.interval))
            before = said if ok else before
            for event in streak.told(HealthChecked(ended, slot, ok, ended - began, detail)):
                self.tell(event)
            pause = check.interval * (1 + JITTER * (self.rng.random() - 0.5))
            await asyncio.sleep(max(0.0, began + pause - clock.monotonic()))

    async def _once(
        self, endpoint: EndpointConfig, check: HealthCheck, context: ssl.SSLContext | None, server_name: str | None
    ) -> tuple[bool, str, Announcement]:
        try:
            answer = await asyncio.wait_for(get(endpoint, check, context, server_name), check.timeout)
        except TimeoutError:
            return False, f"no answer within {check.timeout:g} s", READY
        except (OSError, ssl.SSLError, httptools.HttpParserError, EOFError) as error:
            return False, _said(error), READY
        return answer.status in check.expect, f"status {answer.status}", answer.announced


def _said(error: Exception) -> str:
    """Why a check failed, in a few words."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error) or type(error).__name__


def _kind(cluster: ClusterConfig, endpoint: EndpointConfig, slot: int) -> tuple[Any, ...]:
    """All that a check depends on."""
    return cluster.health_check, cluster.tls, endpoint.address, slot
