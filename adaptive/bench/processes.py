"""What a tree of processes uses, from Linux's /proc: CPU time, memory, descriptors, threads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/<pid>/stat after the name, see proc(5): its number there less three.
_IDLE, _IOWAIT = 3, 4  # in the line "cpu" of /proc/stat, see proc(5)
_PPID, _UTIME, _STIME, _CUTIME, _CSTIME, _THREADS = 1, 11, 12, 13, 14, 17


class Usage(NamedTuple):
    """One process at one moment."""

    pid: int
    role: str
    cpu: float  # seconds, user and system, of its own threads
    reaped: float  # seconds of its children that have ended and were waited for
    rss: int  # bytes
    pss: int | None  # bytes, shared pages divided among those that map them; None where the kernel does not tell
    fds: int
    threads: int


class Busy(NamedTuple):
    """What all processors did so far, seconds summed over them."""

    busy: float
    total: float

    def __sub__(self, before: Busy) -> Busy:
        return Busy(self.busy - before.busy, self.total - before.total)


def busy() -> Busy:
    """Since the machine started. What the host took away (steal) counts as busy: it was not there to be used."""
    words = (PROC / "stat").read_text().partition("\n")[0].split()[1:9]  # guest time is in user time already
    ticks = [int(word) / _TICK for word in words]
    return Busy(sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT], sum(ticks))


def _stat(pid: int) -> list[str] | None:
    """The fields after the name, which may itself hold blanks and brackets; None where the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(root: int) -> list[int]:
    """`root` and all that descend from it, parents before children; empty where it is gone."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None:
            children.setdefault(int(stat[_PPID]), []).append(int(entry))
    found = [root] if _stat(root) is not None else []
    for pid in found:
        found += children.get(pid, [])
    return found


def role(pid: int) -> str:
    """What a process of the gateway is: "worker", "brain", "station", "envoy", or "supervisor" for any other."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    if b"adaptive.app" in words:
        for name in ("worker", "brain", "station"):
            if name.encode() in words:
                return name
    return "envoy" if words[0].rpartition(b"/")[2] == b"envoy" else "supervisor"


def usage(pid: int, detailed: bool = True) -> Usage | None:
    """One process now; None where it is gone. Without `detailed`, neither PSS nor descriptors are looked up: reading
    them takes the kernel some milliseconds of a large process's time.
    """
    stat = _stat(pid)
    if stat is None:
        return None
    try:
        rss = int((PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
        fds = len(os.listdir(PROC / str(pid) / "fd")) if detailed else 0
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    cpu = (int(stat[_UTIME]) + int(stat[_STIME])) / _TICK
    reaped = (int(stat[_CUTIME]) + int(stat[_CSTIME])) / _TICK
    return Usage(pid, role(pid), cpu, reaped, rss, _pss(pid) if detailed else None, fds, int(stat[_THREADS]))


def _pss(pid: int) -> int | None:
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def usages(root: int, detailed: bool = True) -> list[Usage]:
    """Every process of a tree now."""
    return [found for pid in tree(root) if (found := usage(pid, detailed)) is not None]


def cpu_by_role(found: Iterable[Usage]) -> dict[str, float]:
    """CPU seconds so far by role. What children had used that have ended counts as their parent's, so that nothing of
    the tree is left out when a process is replaced.
    """
    total: dict[str, float] = {}
    for one in found:
        total[one.role] = total.get(one.role, 0.0) + one.cpu + one.reaped
    return total


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """CPU seconds by role between two readings of `cpu_by_role`."""
    return {name: after[name] - before.get(name, 0.0) for name in after}
