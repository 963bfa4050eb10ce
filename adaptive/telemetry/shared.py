"""Memory that several processes map, reached through an inherited file descriptor.

It has no name in any file system, so a process that is killed leaves nothing behind: the pages go with the last
mapping.
"""

from __future__ import annotations

import mmap
import os
import tempfile


class Shared:
    """One shared mapping. `buf` is a writable memoryview of its bytes; `fd` is what a child inherits (`pass_fds`)."""

    def __init__(self, fd: int, size: int, owned: bool) -> None:
        self.fd = fd
        self.size = size
        self._owned = owned
        self._map = mmap.mmap(fd, size)
        self.buf = memoryview(self._map)

    @classmethod
    def create(cls, size: int) -> Shared:
        """Zeroed memory of `size` bytes. Raises OSError where the machine has not that much to give.

        The pages are reserved at once: a lack of memory is an error here, and not a SIGBUS in a worker later.
        """
        fd = _anonymous()
        try:
            os.posix_fallocate(fd, 0, size)
            return cls(fd, size, owned=True)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int, size: int | None = None) -> Shared:
        """The memory behind a descriptor that another process made. The descriptor stays the caller's to close."""
        held = os.fstat(fd).st_size
        if size is None:
            size = held
        if not 0 < size <= held:
            raise ValueError(f"descriptor {fd} holds {held} bytes of shared memory, not {size}")
        return cls(fd, size, owned=False)

    def close(self) -> None:
        """Unmap. Views that others still hold stay valid: the mapping then ends with the last of them."""
        try:
            self.buf.release()
            self._map.close()
        except BufferError:
            pass  # somebody still looks at it
        if self._owned:
            self._owned = False
            os.close(self.fd)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("adaptive", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
