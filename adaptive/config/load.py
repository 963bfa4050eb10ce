"""The way in: a file or a text to a Config."""

from __future__ import annotations

import os
from collections.abc import Mapping

import yaml
from pydantic import ValidationError

from adaptive.config.errors import ConfigError, ConfigErrors
from adaptive.config.model import Config


def parse(text: str, name: str = "config", env: Mapping[str, str] | None = None) -> Config:
    """The configuration that a YAML text describes. Raises ConfigErrors with every mistake; reads nothing else."""
    try:
        return Config.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
    except ValidationError as errors:
        raise ConfigErrors(
            ConfigError(name, 0, ".".join(map(str, e["loc"])), e["msg"]) for e in errors.errors(include_input=False)
        ) from None


def load(path: str | os.PathLike[str], env: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a file. Raises ConfigErrors."""
    with open(path, encoding="utf-8") as file:
        return parse(file.read(), str(path), env)
