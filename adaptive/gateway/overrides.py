"""What operators set by hand, kept by the supervisor so that it outlives the brain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from adaptive.types import Health

# None ends an override; the other two say what the endpoint is until then.
ACTIONS: dict[str, Health | None] = {"eject": Health.EJECTED, "drain": Health.DRAINING, "restore": None}


@dataclass(frozen=True, slots=True)
class Override:
    """One endpoint's health by hand; `until` is monotonic seconds."""

    health: Health | None
    until: float
    reason: str

    def message(self, slot: int) -> dict[str, Any]:
        """As the brain is told."""
        health = None if self.health is None else int(self.health)
        return {"type": "override", "slot": slot, "health": health, "until": self.until, "reason": self.reason}


class Overrides:
    """Those in force, one an endpoint at most, so they are bounded by the endpoints."""

    def __init__(self) -> None:
        self._held: dict[str, Override] = {}

    def put(self, key: str, override: Override) -> None:
        """Note one; `key` is that of the table of slots."""
        if override.health is None:
            self._held.pop(key, None)
        else:
            self._held[key] = override

    def keep(self, keys: Iterable[str]) -> None:
        """Forget those of endpoints that are not among the keys."""
        known = set(keys)
        self._held = {key: override for key, override in self._held.items() if key in known}

    def active(self, now: float) -> Iterator[tuple[str, Override]]:
        """Those that still have time to run; the others are forgotten."""
        self._held = {key: override for key, override in self._held.items() if override.until > now}
        yield from self._held.items()
