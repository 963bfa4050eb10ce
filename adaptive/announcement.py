"""What an instance says of itself: that it leaves, or how much it will take.

    ready            it takes its full share again
    drain            it leaves: no new requests (also: maint, stopped, down)
    50%              this share of its weight
    maxconn:30       at most so many attempts in flight

In the header `endpoint-announcement` of any response, or as the first line of a health check's body where the check
has `announcements: true`; several words have spaces or commas between. The words are those of HAProxy's agent-check.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEADER = b"endpoint-announcement"
LONGEST = 128  # bytes that are read of an announcement; what is longer is none
# Seconds for which one in a response's header holds: who drains gets no request with which to say that it is back.
LIFETIME = 30.0

_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")
_MOST = re.compile(r"maxconn:(\d{1,6})")
_LEAVES = frozenset({"drain", "maint", "stopped", "down"})


class Announcement(NamedTuple):
    """How much an instance will take."""

    share: float  # of its weight, from 0 (it leaves) to 1
    most: int = 0  # attempts in flight at most; 0: no bound of its own


READY = Announcement(1.0)


def parse(text: str) -> Announcement | None:
    """What a text announces; None where it holds none of the words, or a number out of its range."""
    if len(text) > LONGEST:
        return None
    share, most, known = 1.0, 0, False
    for word in text.lower().replace(",", " ").split():
        if word in _LEAVES:
            share, known = 0.0, True
        elif word in ("ready", "up"):
            known = True
        elif found := _SHARE.fullmatch(word):
            share, known = min(share, float(found[1]) / 100.0), True
            if float(found[1]) > 100.0:
                return None
        elif found := _MOST.fullmatch(word):
            most, known = int(found[1]), True
            if not most:
                return None
    return Announcement(share, most) if known else None
