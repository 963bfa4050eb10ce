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
SOON = 1e-9  # seconds, sooner than any answer: what has just been sent is not late
USUAL = 100.0  # seconds in which the usual lateness of an endpoint's attempts follows what is seen


class Outstanding:
    """What was sent within each of the last ticks, (TICKS, slots), newest first."""

    def __init__(self, slots: int) -> None:
        # What was sent, in whole numbers, and when the ticks were: the newest at `_top`, in twice as many rows as are
        # looked at, so that only one tick in TICKS moves all.
        self._sent, self._since, self._top = np.zeros((2 * TICKS, slots)), np.full(2 * TICKS, np.nan), TICKS
        self._ticks = 1  # of which some were left the last time
        self.in_flight, self.closed = np.zeros(slots), np.full(slots, np.nan)
        self.late = np.zeros(slots)  # the mean of all, standard deviations; 0 where none is outstanding
        self.usual = np.zeros(slots)

    def update(self, at: float, in_flight: Floats, closed: Floats | Ints) -> tuple[Floats, Floats]:
        """Takes the counts of this moment, and what `closed` since the start. Returns ages (ticks,), NaN where there
        was no tick, and how many of the outstanding ones are of each age or older, (ticks, slots); ticks of which none
        is outstanding any more are left out at the end.
        """
        if not self._top:
            self._sent[TICKS + 1 :], self._since[TICKS + 1 :] = self._sent[: TICKS - 1], self._since[: TICKS - 1]
            self._top = TICKS + 1
        top = self._top = self._top - 1
        sent = self._sent[top : top + TICKS]
        np.fmax(in_flight - self.in_flight + (closed - self.closed), 0.0, out=sent[0])
        self._since[top] = at
        self.in_flight, self.closed = in_flight.copy(), closed.astype(np.float64)
        ticks = self._ticks + 2
        while True:
            first = sent[:ticks]
            left = in_flight - (first.cumsum(axis=0) - first)
            if ticks >= TICKS or not np.count_nonzero(left[-1] > 0.0):  # `left` falls from tick to tick
                break
            ticks *= 4
        ticks = self._ticks = max(1, int(np.count_nonzero(np.logical_or.reduce(left > 0.0, axis=1))))
        counts: Floats = np.minimum(np.maximum(left[:ticks], 0.0), sent[:ticks])
        return at - self._since[top : top + ticks], counts

    def speak(self, seen: Observed, beside: Residual, others: Floats, calm: Bools, passed: float) -> Floats:
        """What they say at this moment, (sizes, slots) in nats: the oldest by its age, the rest by the ages that they
        have at least. What is late among the peers too (`others`: the median of `late`), or is usual here, is taken
        off; the usual is learned where it is `calm`.
        """
        ages, counts = self.update(seen.at, seen.in_flight, seen.closed)
        some = seen.in_flight > 0
        waits = np.empty((1 + len(ages), len(some)))  # the oldest one's, and those of the ticks
        waits[0], waits[1:] = seen.oldest, ages[:, None]
        late = np.fmax((np.log(np.maximum(waits, SOON)) - beside.expected) / beside.spread, 0.0)
        oldest, late = late[0], late[1:]
        first = np.fmin.reduce(self._since[self._top : self._top + TICKS])
        oldest[~(some & (seen.oldest < seen.at - first))] = 0.0
        late *= counts > 0
        rest = np.maximum(np.add.reduce(counts * (late > 0)) - 1.0, 0.0)
        mean = (np.add.reduce(counts * late) - np.maximum.reduce(late)) / np.maximum(rest, 1.0)
        self.late = (oldest + rest * mean) / np.maximum(seen.in_flight, 1.0)
        alike = np.maximum(np.maximum(others, self.usual) - ALIKE, 0.0)
        self.usual += np.where(some & calm, min(passed / USUAL, 1.0) * (self.late - self.usual), 0.0)
        said = np.concatenate([oldest - alike, np.maximum(mean - alike, 0.0)])
        told = (said[: len(some)] > 0.0) & (beside.known > 0)
        if not np.count_nonzero(told):
            return np.zeros((len(SLOWER), len(some)))
        nats = lateness(said, np.concatenate([beside.spread, beside.spread]))
        nats = nats[:, : len(some)] + np.minimum(rest, MOST) * nats[:, len(some) :]
        found: Floats = np.where(told, np.maximum(nats, 0.0) / beside.dependence, 0.0)
        return found
