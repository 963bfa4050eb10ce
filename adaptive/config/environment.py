"""`${NAME}`: values from the environment, in the few places that need them.

Addresses of endpoints, secrets and paths differ between the machines that share a configuration. Anywhere else a
variable would hide what the gateway does from whoever reads the file, so there it is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adaptive.config.document import Fault, Path

# Paths without the positions of lists; * is any name. Listeners and certificates have short forms.
DECLARED: tuple[tuple[str, ...], ...] = (
    ("admin", "token"),
    ("admin", "token_file"),
    ("listen", "tls", "certificates", "cert"),
    ("listen", "tls", "certificates", "key"),
    ("listen", "tls", "cert"),
    ("listen", "tls", "key"),
    ("clusters", "*", "endpoints"),
    ("clusters", "*", "endpoints", "address"),
    ("clusters", "*", "endpoints", "host"),
    ("clusters", "*", "tls", "ca"),
    ("clusters", "*", "tls", "cert"),
    ("clusters", "*", "tls", "key"),
    ("recorder", "directory"),
    ("event_log",),
    ("event_log", "directory"),
    ("access_log",),
    ("access_log", "path"),
)
_ALLOWED = (
    "the admin token, files of TLS, addresses of endpoints, the directories of the recorder and the event log, and the "
    "access log's path"
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def substitute(data: Any, env: Mapping[str, str]) -> tuple[Any, list[Fault]]:
    """The data with all variables replaced, and what is wrong with them. Values are put in as text, and not looked
    through for variables again.
    """
    faults: list[Fault] = []
    return _walk(data, (), env, faults), faults


def _walk(data: Any, path: Path, env: Mapping[str, str], faults: list[Fault]) -> Any:
    if isinstance(data, dict):
        for key in data:
            if "${" in key:
                faults.append(Fault((*path, key), "keys take no ${...}"))
        return {key: _walk(value, (*path, key), env, faults) for key, value in data.items()}
    if isinstance(data, list):
        return [_walk(value, (*path, index), env, faults) for index, value in enumerate(data)]
    if not isinstance(data, str) or "${" not in data:
        return data
    if not _declared(path):
        faults.append(Fault(path, f"${{...}} is allowed only in {_ALLOWED}"))
        return data
    return _filled(data, path, env, faults)


def _declared(path: Path) -> bool:
    names = tuple(part for part in path if isinstance(part, str))
    return any(
        len(names) == len(place) and all(want in ("*", name) for want, name in zip(place, names, strict=True))
        for place in DECLARED
    )


def _filled(text: str, path: Path, env: Mapping[str, str], faults: list[Fault]) -> str:
    if text.count("${") != len(_VARIABLE.findall(text)):
        faults.append(Fault(path, "${NAME} is wanted: letters, digits and underscores between the braces"))
        return text
    missing = sorted({name for name in _VARIABLE.findall(text) if name not in env})
    if missing:
        faults.append(Fault(path, f"not set in the environment: {', '.join(missing)}"))
        return text
    return _VARIABLE.sub(lambda found: env[found[1]], text)
