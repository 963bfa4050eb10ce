"""What the outstanding attempts of an endpoint say: how late they are, where only counts and the oldest one are told.

Workers share how many attempts are in flight at each endpoint, and since when the oldest. How many were sent between
two ticks follows from that and from what closed. Whatever the order in which they end, those that are outstanding are
at least as old as those that were sent last: taking them for these never makes an endpoint look worse than it is.
"""

from __future__ import annotations

import numpy as np

from models.columns import Bools, Floats, Ints, Observed
from models.detectors import SLOWER, lateness
from models.residuals import Residual

TICKS = 64  # that are remembered: 6 s. What has been open for longer is more likely a stream than late
ALIKE = 0.5  # standard deviations by which those in flight are late, in the mean, without a reason
MOST = 4.0  # beside the oldest that count: more of them wait for each other in one queue, and say the same thing
USUAL = 100.0  # seconds in which the usual lateness of an endpoint's attempts follows what is seen


class Outstanding:
    """What was sent within each of the last ticks, (TICKS, slots), newest first."""

    def __init__(self, slots: int) -> None:
        self.sent = np.zeros((TICKS, slots))
        self.since = np.full(TICKS, np.nan)
        self.in_flight, self.closed = np.zeros(slots), np.full(slots, np.nan)
        self.late = np.zeros(slots)  # the mean of all, standard deviations; 0 where none is outstanding
        self.usual = np.zeros(slots)

    def update(self, at: float, in_flight: Floats, closed: Floats | Ints) -> tuple[Floats, Floats]:
        """Takes the counts of this moment, and what `closed` since the start. Returns ages (ticks,), NaN where there
        was no tick, and how many of the outstanding ones are of each age or older, (ticks, slots); ticks of which none
        is outstanding any more are left out at the end.
        """
        self.sent[1:], self.since[1:] = self.sent[:-1], self.since[:-1]
        self.sent[0], self.since[0] = np.fmax(in_flight - self.in_flight + (closed - self.closed), 0.0), at
        self.in_flight, self.closed = in_flight.copy(), closed.astype(np.float64)
        younger = np.cumsum(self.sent, axis=0) - self.sent
        left = in_flight - younger
        ticks = max(1, int(np.count_nonzero((left > 0.0).any(axis=1))))  # `left` falls from tick to tick
        counts: Floats = np.minimum(np.maximum(left[:ticks], 0.0), self.sent[:ticks])
        return at - self.since[:ticks], counts

    def speak(self, seen: Observed, beside: Residual, others: Floats, calm: Bools, passed: float) -> Floats:
        """What they say at this moment, (sizes, slots) in nats: the oldest by its age, the rest by the ages that they
        have at least. What is late among the peers too (`others`: the median of `late`), or is usual here, is taken
        off; the usual is learned where it is `calm`.
        """
        ages, counts = self.update(seen.at, seen.in_flight, seen.closed)
        some = seen.in_flight > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            late = np.fmax((np.log(ages)[:, None] - beside.expected) / beside.spread, 0.0) * (counts > 0)
            oldest = np.fmax((np.log(seen.oldest) - beside.expected) / beside.spread, 0.0)
        oldest[~some | ~(seen.oldest < seen.at - np.fmin.reduce(self.since))] = 0.0
        rest = np.maximum((counts * (late > 0)).sum(axis=0) - 1.0, 0.0)
        mean = ((counts * late).sum(axis=0) - late.max(axis=0)) / np.maximum(rest, 1.0)
        self.late = (oldest + rest * mean) / np.maximum(seen.in_flight, 1.0)
        alike = np.maximum(np.maximum(others, self.usual) - ALIKE, 0.0)
        self.usual += np.where(some & calm, min(passed / USUAL, 1.0) * (self.late - self.usual), 0.0)
        oldest, mean = oldest - alike, np.maximum(mean - alike, 0.0)
        found = np.zeros((len(SLOWER), len(some)))
        told = np.flatnonzero((beside.known > 0) & (oldest > 0.0))
        if len(told):
            spread = beside.spread[told]
            nats = lateness(oldest[told], spread) + np.minimum(rest[told], MOST) * lateness(mean[told], spread)
            found[:, told] = np.maximum(nats, 0.0) / beside.dependence[told]
        return found
