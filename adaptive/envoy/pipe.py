"""The pipe through which an Envoy that is started here tells of attempts, and what becomes of what nobody reads.

Envoy writes into it as into any file, and keeps in memory, without a bound, what does not go in. So whoever holds the
pipe looks at it now and then: where it stays half full although its reader has had time to come back, what is oldest
is thrown away, and counted, for the lines that are lost make what is known uncertain.
"""

from __future__ import annotations

import fcntl
import os
import stat
import termios

# Bytes that the pipe takes: the most that a user may have by default, and 6,000 attempts.
ROOM = 1 << 20
# Seconds for which it may stay half full: longer than a reader takes that is started again.
PATIENCE = 3.0
# Bytes that are thrown away at one look at most: what Envoy keeps of three seconds in which 100,000 attempts end.
AT_ONCE = 64 << 20
_PIECE = 1 << 16


class Pipe:
    """Holds the pipe at a path, which is made where it is not there yet: while nobody reads, as when its reader is
    started again, nothing is lost; when we are gone as well, Envoy drops what it has to tell. Raises OSError.
    """

    def __init__(self, path: str) -> None:
        self.fd = open_pipe(path)
        self._half = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ) // 2
        self._since: float | None = None  # when it was first seen half full

    def relieve(self, now: float) -> int:
        """Throw away what has waited in vain; how many lines that was."""
        if self._waiting() < self._half:
            self._since = None
            return 0
        if self._since is None:
            self._since = now
        if now - self._since < PATIENCE:
            return 0
        lost, piece = 0, b"\n"
        for _ in range(AT_ONCE // _PIECE):
            if self._waiting() < self._half:
                break
            piece = os.read(self.fd, _PIECE)
            lost += piece.count(b"\n")
        while not piece.endswith(b"\n") and self._waiting():  # what is left of a line could be taken for another one
            piece = os.read(self.fd, 1)
            lost += piece.count(b"\n")
        return lost

    def _waiting(self) -> int:
        """Bytes that nobody has read."""
        return int.from_bytes(fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)), "little")

    def close(self) -> None:
        """Hold it no more."""
        os.close(self.fd)


def open_pipe(path: str) -> int:
    """A descriptor of a named pipe, which is made where it is not there yet. Raises OSError.

    Open for both ends: opening waits for nobody, and reading sees no end when an Envoy goes and another comes.
    """
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            raise
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, ROOM)
    except OSError:  # beyond what this user may have: as much as it has by itself
        pass
    return fd
