"""Whether the endpoints' names can be resolved: looked up by the brain now and then, for its log and the admin API.

Requests tell of it only as connections that failed. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

from adaptive.config.address import is_ip
from adaptive.config.model import Config

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two rounds: how late it is seen that a name has come or gone
PATIENCE = 5.0  # seconds for one answer; resolvers give up after about as long


class Names:
    """Looks up, one after another, every name among the endpoints. `wrong` says why, by host, for those without."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.wrong: dict[str, str] = {}
        self._changed = asyncio.Event()

    def configure(self, config: Config) -> None:
        """These endpoints from now on."""
        hosts = {endpoint.host for cluster in config.clusters.values() for endpoint in cluster.endpoints}
        self.hosts = {host for host in hosts if not is_ip(host)}
        self.wrong = {host: why for host, why in self.wrong.items() if host in self.hosts}
        self._changed.set()

    async def run(self) -> None:
        """Looks them up until it is cancelled."""
        while True:
            self._changed.clear()
            for host in sorted(self.hosts):
                self._note(host, await _wrong(host))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), EVERY if self.hosts else None)

    def _note(self, host: str, wrong: str) -> None:
        if host not in self.hosts:  # it has left meanwhile
            return
        before = self.wrong.pop(host, "")
        if wrong:
            self.wrong[host] = wrong
        if wrong and not before:
            log.warning("endpoints at %s cannot be reached: the name cannot be resolved: %s", host, wrong)
        elif before and not wrong:
            log.info("%s can be resolved again", host)

    def tell(self, report: dict[str, Any]) -> None:
        """Adds `unresolved`, the reason, to the endpoints of a report whose name cannot be resolved."""
        for cluster in report.get("clusters", ()) if self.wrong else ():
            for endpoint in cluster["endpoints"]:
                if wrong := self.wrong.get(endpoint["address"].rpartition(":")[0]):
                    endpoint["unresolved"] = wrong


async def _wrong(host: str) -> str:
    """Why a name cannot be resolved; empty where it can."""
    try:
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM), PATIENCE)
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
