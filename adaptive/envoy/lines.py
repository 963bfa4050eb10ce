"""Lines of the log of attempts to entries: what an Envoy that was started here writes into our pipe. Pure."""

from __future__ import annotations

from adaptive.envoy.entry import FLAGS, Entry
from adaptive.envoy.translate.logs import SEPARATOR
from adaptive.types import Cause

_NONE = "-"  # what Envoy writes for what there is not
_UNDER_WAY = frozenset(("UpstreamPoolReady", "UpstreamPeriodic"))
# A line is some 150 bytes. What is longer than this without an end is none of Envoy's.
LONGEST = 1 << 20


class Lines:
    """Cuts what is read from the pipe into lines; the rest of a read waits for the next."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> list[str]:
        """The lines that are whole by now."""
        data = self._rest + data if self._rest else data
        end = data.rfind(b"\n")
        self._rest = data[end + 1 :] if len(data) - end <= LONGEST else b""
        return data[:end].decode("latin-1").split("\n") if end > 0 else []


def read(line: str) -> Entry:
    """The entry in a line. Raises ValueError where it is broken, as the first is after its reader was killed."""
    (
        endpoint, began, first, lasted, rounded, method, status, flags, route, sent, received, waited, kind, request,
        reason, load, said, *_,
    ) = line.split(SEPARATOR)  # fmt: skip
    flagged = flags != _NONE
    return Entry(
        endpoint,
        "",
        route,
        request,
        method,
        kind in _UNDER_WAY,
        float(began),
        # To the microsecond where its response has ended, else to the millisecond.
        int(lasted) * 1e-6 if lasted != _NONE else int(rounded) * 1e-3 if rounded != _NONE else 0.0,
        int(first) * 1e-6 if first != _NONE else 0.0,
        int(waited) * 1e-3 if waited != _NONE else 0.0,
        int(status),
        flagged,
        meaning(flags) if flagged else None,
        reason,
        int(sent),
        int(received),
        load if load != _NONE else "",
        said if said != _NONE else "",
    )


def meaning(flags: str) -> Cause | None:
    """What short response flags, with commas between them, mean."""
    found = flags.split(",")
    return next((cause for _, flag, cause in FLAGS if flag in found), None)
