"""What carries requests in the place of our workers, as the supervisor sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Elsewhere(Protocol):
    """Another data plane. One child in the place of the workers speaks with it, and tells of it (`heard`)."""

    role: str  # of that child

    async def start(self, lose: Callable[[int], None]) -> str:
        """Start it, when the child is ready; why it cannot serve, or nothing when it does. `lose` is to be told of
        outcomes that are lost before the child has them.
        """

    def readiness(self) -> list[tuple[str, str, str]]:
        """Its checks, as `Supervisor.readiness` has them."""

    def heard(self, message: Mapping[str, Any]) -> None:
        """What the child tells of it."""

    def report(self) -> dict[str, Any]:
        """What the admin API and the metrics show of it."""

    async def reopen(self) -> None:
        """Open its access log anew."""

    async def drain(self, seconds: float) -> None:
        """Let requests end, for `seconds` at most."""

    async def stop(self) -> None:
        """End it, if it is ours."""
