"""Who has a file: a lock that ends with its process tells one that is being written from one that was left."""

from __future__ import annotations

import fcntl
from pathlib import Path


def hold(descriptor: int) -> bool:
    """Take the lock of an open file, for as long as it is open; False where another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether somebody has this file; not where it is gone."""
    try:
        with path.open("rb") as file:
            return not hold(file.fileno())
    except FileNotFoundError:
        return False


def size(path: Path) -> int:
    """Its bytes; 0 where another process has taken it away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
