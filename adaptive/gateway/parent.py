"""Ties a child's life to the supervisor's: a supervisor killed with -9 must leave no process behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def follow(parent: int) -> None:
    """Die when the parent dies; raises SystemExit if it is dead already.

    Linux delivers the signal when the thread that started this process ends, which for the supervisor is its main
    thread. Elsewhere the end of the control channel has to do, and does here too if the kernel refuses.
    """
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (OSError, AttributeError):
            pass
    if os.getppid() != parent:
        raise SystemExit(0)


def leave_signals_to_the_supervisor() -> None:
    """Ignore what a terminal or a service manager sends to a whole group of processes.

    Ctrl-C and systemd's KillMode=control-group reach every process at once; were the children to act on it, requests
    in flight would be lost before the supervisor could drain them.
    """
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
