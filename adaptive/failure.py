"""What a command could not do. A module of its own: one such class, however the command is started."""

from __future__ import annotations


class Failure(Exception):
    """What a command could not do, in one line for the operator."""
