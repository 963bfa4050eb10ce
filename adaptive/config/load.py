"""The way in: a file or a text to a Config, or to ConfigErrors with every mistake in the order of the file.

Paths in a configuration are taken as the process would: relative ones from its working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from adaptive.config import budgets
from adaptive.config.document import Document, Fault, Path, read_document
from adaptive.config.environment import substitute
from adaptive.config.errors import ConfigError, ConfigErrors
from adaptive.config.files import Unreadable, file_faults, read_text
from adaptive.config.model import Config
from adaptive.config.planes import embedded

_PLAIN = re.compile(r"[^\s\[\]'\"]+")


def load(
    path: str | os.PathLike[str],
    env: Mapping[str, str] = os.environ,
    *,
    files: bool = False,
    plane: Callable[[Config], Iterable[Fault]] = embedded,
) -> Config:
    """The configuration in a file; `files`: what it names is opened too, and `plane` tells what the data plane that is
    to serve it cannot do. Raises ConfigErrors.
    """
    name = os.fspath(path)
    try:
        text = read_text(name)
    except Unreadable as error:
        raise ConfigErrors([ConfigError(name, error.line, "", str(error))]) from None
    look = (lambda config: [*file_faults(config), *plane(config)]) if files else None
    return _config(text, name, env, len(os.sched_getaffinity(0)), read_text, look)


def parse(text: str, name: str = "config", env: Mapping[str, str] | None = None, cores: int = 1) -> Config:
    """The configuration that a YAML text describes. Pure: reads no file, so a `token_file` leaves the token None;
    `cores` is what `workers: auto` means. Raises ConfigErrors.
    """
    return _config(text, name, env or {}, cores)


def check_files(config: Config, name: str = "config") -> list[ConfigError]:
    """What is wrong with the files that a configuration names: certificates and keys that cannot be read or do not
    belong together, a directory for the access log that does not exist. Opens files, and nothing else.
    """
    return [ConfigError(name, 0, write_path(fault.path), fault.message) for fault in file_faults(config)]


def _config(
    text: str,
    name: str,
    env: Mapping[str, str],
    cores: int,
    read: Callable[[str], str] | None = None,
    look: Callable[[Config], list[Fault]] | None = None,
) -> Config:
    document = read_document(text)
    faults = list(document.faults)
    if not isinstance(document.data, dict):
        if not faults:
            empty = document.data is None
            faults = [Fault((), "is empty" if empty else "must be a mapping (key: value) at its top")]
        raise ConfigErrors(_located(document, faults, name))
    data, found = substitute(document.data, env)
    faults += found
    faults += _credentials(document.data, data, read)
    if data.get("workers") == "auto":
        data["workers"] = max(1, min(cores, 255))
    config, found = _validated(data)
    # What could not be read cannot be valid either: only the cause is told.
    told = {fault.path for fault in faults if not fault.line}
    faults += [fault for fault in found if _find(document.lines, fault.path) not in told]
    faults += budgets.faults(data)
    if config is not None and look is not None:
        faults += look(config)
    if faults or config is None:
        raise ConfigErrors(_located(document, faults, name))
    return config


def _credentials(raw: dict[str, Any], data: dict[str, Any], read: Callable[[str], str] | None) -> list[Fault]:
    """Puts the token in its place in `data`. A token in plain sight is refused: configurations are shared."""
    admin = raw.get("admin")
    if not isinstance(admin, dict):
        return []
    token, file = admin.get("token"), data["admin"].get("token_file")
    if token is not None and file is not None:
        return [Fault(("admin", "token_file"), "give either token or token_file")]
    if isinstance(token, str) and "${" not in token:
        return [Fault(("admin", "token"), "a secret does not stand in the file: write ${NAME}, or use token_file")]
    if isinstance(file, str) and "${" not in file and read is not None:
        try:
            data["admin"]["token"] = read(file).strip() or None
        except Unreadable as error:
            return [Fault(("admin", "token_file"), f"{file}: {error}")]
        if data["admin"]["token"] is None:
            return [Fault(("admin", "token_file"), f"{file}: is empty")]
    return []


def _validated(data: Any) -> tuple[Config | None, list[Fault]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return None, [Fault(each["loc"], each["msg"], absent=each["type"] == "missing") for each in found]


def _located(document: Document, faults: list[Fault], name: str) -> list[ConfigError]:
    """Mistakes with their lines, in the order of the file."""
    errors = []
    for fault in faults:
        path = _find(document.lines, fault.path)
        line = fault.line or document.lines.get(path, 0)
        key = write_path((*path, fault.path[-1]) if fault.absent else path)
        errors.append(ConfigError(name, line, key, " ".join(fault.message.split())))
    return sorted(errors, key=lambda error: error.line)


def _find(lines: Mapping[Path, int], path: Path) -> Path:
    """The nearest that the file has to a path of the validated data: short forms leave out what lies between."""
    at: Path = ()
    for part in path:
        if (*at, part) in lines:
            at = (*at, part)
        elif part in ("host", "port") and (*at, "address") in lines:
            at = (*at, "address")
    return at


def write_path(path: Path) -> str:
    """A path as people write it: clusters.api.endpoints[0].weight."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN.fullmatch(part) else repr(part))
    return text
