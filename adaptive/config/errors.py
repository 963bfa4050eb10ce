"""What is wrong with a configuration, as values and as one exception that carries all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ConfigError(NamedTuple):
    """One mistake and where it stands. `line` counts from 1; 0: of the file as a whole. `key` is empty at the top."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigErrors(Exception):
    """A configuration that cannot be used: every mistake found, in the order of the file."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors: tuple[ConfigError, ...] = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))
