"""What a child process is told on its command line, and how it reads its first configuration.

Only numbers and names travel this way: a command line is public, so the configuration, which may hold secrets, comes
over the control channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from adaptive.config.model import Config


@dataclass(frozen=True, slots=True)
class Logging:
    """How a process writes its log: `level` is a name of `logging`, `format` "json" or "text"."""

    level: str = "INFO"
    format: str = "json"


@dataclass(frozen=True, slots=True)
class WorkerBoot:
    """All that a worker inherits. Every `_fd` is a descriptor that is open in the new process."""

    index: int
    workers: int
    listeners: tuple[tuple[int, int], ...]  # (descriptor of a listening socket, index into Config.listen)
    board_fd: int
    ring_fd: int
    counters_fd: int
    channel_fd: int
    parent: int  # process id of the supervisor
    seed: int  # of this worker's picks; another for each worker, the same after a restart
    logging: Logging = Logging()
    bell_fd: int = -1  # rung when there is a new Snapshot, for who cannot look whenever there is a request; -1: none

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor to be inherited."""
        own = (*(fd for fd, _ in self.listeners), self.board_fd, self.ring_fd, self.counters_fd, self.channel_fd)
        return own if self.bell_fd < 0 else (*own, self.bell_fd)


@dataclass(frozen=True, slots=True)
class BrainBoot:
    """All that the brain inherits: the board, and the ring of each worker in order."""

    board_fd: int
    ring_fds: tuple[int, ...]
    channel_fd: int
    parent: int
    seed: int
    logging: Logging = Logging()
    bell_fd: int = -1  # to be rung after a new Snapshot; -1: nobody listens

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor to be inherited."""
        own = (self.board_fd, *self.ring_fds, self.channel_fd)
        return own if self.bell_fd < 0 else (*own, self.bell_fd)


def encode(boot: WorkerBoot | BrainBoot) -> str:
    """The boot record as one argument of a command line."""
    return msgspec.json.encode(boot).decode()


def decode_worker(text: str) -> WorkerBoot:
    """The worker's record; raises msgspec.ValidationError where it is not one."""
    return msgspec.json.decode(text, type=WorkerBoot)


def decode_brain(text: str) -> BrainBoot:
    """The brain's record; raises msgspec.ValidationError where it is not one."""
    return msgspec.json.decode(text, type=BrainBoot)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One generation of the configuration, as every process holds it.

    `slots` gives each endpoint its row in every column, keyed "cluster|host:port".
    """

    config: Config
    slots: dict[str, int]
    generation: int

    def message(self) -> dict[str, Any]:
        """The `configure` message that carries it to a child; `config` is the validated model as JSON text."""
        return {
            "type": "configure",
            "config": self.config.model_dump_json(),
            "slots": self.slots,
            "generation": self.generation,
        }

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Configuration:
        """Read a `configure` message."""
        config = Config.model_validate_json(message["config"])
        return cls(config, {str(k): int(v) for k, v in message["slots"].items()}, int(message["generation"]))
