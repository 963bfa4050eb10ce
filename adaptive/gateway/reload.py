"""Reading a configuration again: what may change while the gateway runs, and what needs a restart."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from adaptive.config.load import load
from adaptive.config.model import Admin, Config

log = logging.getLogger(__name__)

RETRY_WATCH = 10.0  # seconds until a failed file watch is set up again


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the shared memory has room for; fixed at the start, since every process maps it."""

    slots: int
    clusters: int
    routes: int

    @classmethod
    def beyond(cls, config: Config, slots: int) -> Capacity:
        """Room for twice what there is: a reload holds slots of the old and the new configuration at once."""
        return cls(
            slots=max(1024, 2 * slots),
            clusters=max(64, 2 * len(config.clusters)),
            routes=min(4096, max(256, 2 * len(config.routes))),
        )


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload went. `generation` is the one in force now; `errors` is empty where it is the new one."""

    generation: int
    errors: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the new configuration is in force."""
        return not self.errors


def read(path: Path) -> Config:
    """Load and validate, with the files that it names; raises ConfigErrors."""
    return load(path, files=True)


def refusals(old: Config, new: Config, slots: dict[str, int], capacity: Capacity) -> list[str]:
    """Why a valid configuration cannot take the place of the old one without a restart; empty when it can."""
    found = []
    if [(x.host, x.port) for x in old.listen] != [(x.host, x.port) for x in new.listen]:
        found.append(f"listen: changing {_listeners(old)} to {_listeners(new)} needs a restart")
    elif [x.tls is None for x in old.listen] != [x.tls is None for x in new.listen]:
        found.append("listen: switching TLS on or off needs a restart")
    if _admin(old.admin) != _admin(new.admin):
        found.append(f"admin: changing {_admin(old.admin)} to {_admin(new.admin)} needs a restart")
    if old.workers != new.workers:
        found.append(f"workers: changing {old.workers} to {new.workers} needs a restart")
    if old.envoy.flush_interval != new.envoy.flush_interval:
        found.append("envoy.flush_interval: an Envoy is told when it is started: changing it needs a restart")
    if _service(old) != _service(new):
        found.append(f"envoy.service: changing {_service(old)} to {_service(new)} needs a restart")
    needed = max(slots.values(), default=-1) + 1
    if needed > capacity.slots:
        found.append(
            f"clusters: endpoints need {needed} slots; the running gateway has room for {capacity.slots}: "
            "a restart makes room"
        )
    if len(new.clusters) > capacity.clusters:
        found.append(
            f"clusters: {len(new.clusters)} clusters; the running gateway has room for {capacity.clusters}: "
            "a restart makes room"
        )
    return found


def _listeners(config: Config) -> str:
    return ", ".join(listener.address for listener in config.listen)


def _admin(admin: Admin | None) -> str:
    return admin.address if admin is not None else "none"


def _service(config: Config) -> str:
    own = config.envoy.service
    return "none" if own is None else own.address if own.tls is None else f"{own.address} with TLS"


def digest(path: Path) -> str:
    """A name for what the file holds now; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


async def watch(path: Path, changed: Callable[[], Awaitable[object]]) -> None:
    """Call `changed` whenever the file holds something else than before. Runs until it is cancelled.

    Whole directories are watched, since editors and Kubernetes replace files (and links to them) instead of writing
    into them.
    """
    from watchfiles import awatch

    seen = digest(path)
    while True:
        places = {path.absolute().parent, path.resolve().parent}
        try:
            async for _ in awatch(*places, watch_filter=None, recursive=False, debounce=400, rust_timeout=1000):
                now = digest(path)
                if now and now != seen:
                    seen = now
                    await changed()
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be watched for changes: %s", path, error)
        await asyncio.sleep(RETRY_WATCH)
        now = digest(path)
        if now and now != seen:
            seen = now
            await changed()
