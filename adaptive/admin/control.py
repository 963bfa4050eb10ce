"""What the admin API needs of the gateway."""

from __future__ import annotations

from typing import Any, Protocol

from adaptive.config.model import Config


class Reloaded(Protocol):
    """How a reload went."""

    @property
    def generation(self) -> int: ...
    @property
    def errors(self) -> tuple[str, ...]: ...


class Control(Protocol):
    """The gateway as the admin API sees it."""

    @property
    def config(self) -> Config: ...
    @property
    def generation(self) -> int: ...
    @property
    def state(self) -> str: ...

    def readiness(self) -> list[tuple[str, str, str]]:
        """Each check as (name, "+", "-" or "!", detail); one "-" and the gateway is not ready."""

    async def clusters(self) -> dict[str, Any]:
        """Every cluster and endpoint; `source` is "brain", or "board" while there is no brain."""

    async def explain(self, cluster: str, endpoint: str) -> dict[str, Any] | None:
        """Why an endpoint is as it is; None while there is no brain. Raises KeyError for an unknown endpoint."""

    async def metrics(self, accept: str | None) -> tuple[bytes, str]:
        """(body, content type)."""

    def override(self, cluster: str, endpoint: str, action: str, seconds: float, reason: str) -> bool:
        """Set an endpoint's health by hand; False where it waits for the brain. Raises KeyError as `explain`."""

    async def reload(self) -> Reloaded:
        """Read the configuration again."""

    def drain(self) -> None:
        """Begin to end: readiness fails, requests finish, the gateway exits."""
