"""The version of this distribution: read at build time, and shown by the admin API, the CLI and recordings."""

from __future__ import annotations

__version__ = "0.1.0"
