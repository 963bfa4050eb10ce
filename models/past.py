"""What the windows alone do not show: where an endpoint is heading, its worst moments, and slow sums of evidence.

Kept for every endpoint from tick to tick, as columns (slots,). Trends are straight lines through the last SPAN seconds,
weighted by age (recursive least squares with forgetting, a ridge towards a flat line); a leak shows in them minutes
before it breaches anything. Peaks are the longest waits, fading. Detectors are those of `models.detectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.columns import Floats, Ints, Observed, Peers, known
from models.detectors import Failures, Slowness
from models.outstanding import Outstanding
from models.residuals import CALM, Residuals

SPAN = 25.0  # seconds: a line over less follows queueing noise, over more it comes after a leak of a minute
RIDGE = 60.0  # weighted seconds squared; pulls the slope of a few points towards 0
STEP = 0.5  # seconds between two points of a line
FADES = (5.0, 30.0)  # seconds in which a peak falls to 37 %
_FADES = np.array(FADES)[:, None]
BELOW = 0.02  # share of failures at which the logarithm of a share bends into a line


@dataclass(slots=True)
class Trace:
    """What the past says of each endpoint at this moment; columns (slots,), 0 where it says nothing."""

    level: Floats  # log latency residual against the peers, by its line
    rise: Floats  # of the same, in 10 s
    sure: Floats  # the slope by its standard error
    failing: Floats  # share of failures above the peers', in units of BELOW (asinh), by its line
    failing_rise: Floats
    tail: Floats  # log of p95 latency by the peers', by its line
    tail_rise: Floats
    peak: Floats  # (2, slots) log of the longest wait by 10 typical latencies, above the peers' median, by FADES
    failure_nats: Floats
    slow_nats: Floats
    residual: Floats  # log latency over 5 s given attempts in flight, above the peers' median


class Lines:
    """Straight lines through several series, by age-weighted least squares; columns (series, slots)."""

    def __init__(self, series: int, slots: int) -> None:
        self.s = np.zeros((6, series, slots))  # sums of w, wt, wtt, wy, wty, wyy; t is 0 now and negative before
        self._found: tuple[Floats, Floats, Floats] | None = None  # of the last `read`, while nothing has changed

    def add(self, seconds: float, y: Floats, weight: Floats) -> None:
        """Takes the values of this moment, `seconds` after the last ones; NaN is none."""
        self._found = None
        w, t, tt, y1, ty, yy = self.s
        tt += seconds * (seconds * w - 2 * t)
        t -= seconds * w
        ty -= seconds * y1
        self.s *= np.exp(-seconds / SPAN)
        there = ~np.isnan(y)
        y, weight = np.where(there, y, 0.0), np.where(there, weight, 0.0)
        w += weight
        y1 += weight * y
        yy += weight * y * y

    def clear(self, slots: Ints) -> None:
        """Forgets all of these slots."""
        self.s[..., slots] = 0.0
        self._found = None

    def read(self) -> tuple[Floats, Floats, Floats]:
        """Their values now, their slopes per second, and each slope by its standard error; not to be written to."""
        if self._found is not None:
            return self._found
        w, t, tt, y1, ty, yy = self.s
        some = np.maximum(w, 1e-9)
        spread = np.maximum(tt - t * t / some, 0.0)
        slope = (ty - t * y1 / some) / (spread + RIDGE)
        left = np.maximum(yy - y1 * y1 / some - slope * slope * spread, 0.0) / some + 1e-3
        level = (y1 - slope * t) / (w + 0.5)
        self._found = level, slope, slope * np.sqrt(spread / left)
        return self._found


class Past:
    """The state; `update` at every tick, with running totals since the start."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.lines = Lines(3, slots)  # residual, share of failures, tail
        self.peaks = np.zeros((2, slots))
        self.residuals, self.outstanding = Residuals(slots), Outstanding(slots)
        self.failures, self.slowness = Failures(slots), Slowness(slots)
        self.nats = np.zeros((2, slots))
        self.at = self.drawn = float("nan")
        self.totals: Floats | None = None

    def update(self, seen: Observed, peers: Peers, totals: Sequence[Floats | Ints], trusted: float = 1.0) -> Trace:
        """Takes one moment. `totals`: attempts, failures, measured, sums of log latency and of log(1 + in flight),
        each since the start. `trusted` from 0 to 1 scales new evidence: an observer that runs late saw its
        own delay.
        """
        at = seen.at
        passed = at - self.at if self.at == self.at else 0.0
        now = np.array(totals, dtype=np.float64)
        before, self.totals = self.totals, now
        self.at = at
        new = now - before if before is not None else np.zeros_like(now)
        mine = np.empty((6, self.slots))
        mine[4] = self.residuals.take(seen, peers, passed, (new[2], new[3], new[4]))
        self._peak(seen, peers, passed)
        mine[0] = np.log(seen.latency[1]) - self.residuals.elastic * seen.flight[1]
        mine[1] = (seen.failures[2] + 0.1) / (seen.attempts[2] + 100.0)
        mine[1, seen.attempts[2] <= 0] = np.nan
        mine[2:4], mine[5] = self.peaks, self.outstanding.late
        others = peers.others(mine)
        residual = mine[0] - others[0]
        attempts, failures = new[:2] * trusted
        self.nats[0] = self.failures.add(attempts, failures, np.where(np.isnan(others[1]), 0.05, others[1]))
        beside = self.residuals.beside(others[4], peers, seen.in_flight)
        calm = (self.nats[1] < CALM) & (beside.known > 0)
        waiting = self.outstanding.speak(seen, beside, known(others[5]), calm, passed)
        self.nats[1] = self.slowness.add(beside.mean, beside.variance, trusted, waiting * trusted)
        self.residuals.learn(at, peers, passed, self.nats[1])
        if not at - self.drawn < STEP - 1e-9:
            since = at - self.drawn if self.drawn == self.drawn else STEP
            self.drawn = at
            self._draw(seen, peers, since, residual, trusted)
        level, slope, sure = self.lines.read()
        rise = slope * 10
        return Trace(
            level[0], rise[0], sure[0], level[1], rise[1], level[2], rise[2],
            self.peaks - known(others[2:4]), self.nats[0], self.nats[1], known(residual),
        )  # fmt: skip

    def _draw(self, seen: Observed, peers: Peers, since: float, residual: Floats, trusted: float) -> None:
        """One more point of each line, `since` seconds after the last one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mine = np.array([np.log(seen.p95), seen.failures[1] / seen.attempts[1]])
        others = peers.others(mine)
        above = np.arcsinh((mine[1] - known(others[1])) / BELOW)
        few = seen.measured[1] / (seen.measured[1] + 5.0)
        tried = seen.attempts[1] / (seen.attempts[1] + 20.0)
        points = np.array([residual, above, mine[0] - others[0]])
        self.lines.add(since, points, np.array([few, tried, few]) * trusted)

    def _peak(self, seen: Observed, peers: Peers, passed: float) -> None:
        waits = 10 * np.maximum(seen.typical, 0.005)
        silent = seen.silence.copy()
        silent[seen.in_flight <= 0] = 0.0
        worst = np.log(np.maximum(np.fmax(seen.oldest, silent) / waits, 1.0))
        worst[peers.nobody] = 0.0
        self.peaks = np.maximum(worst, self.peaks * np.exp(-passed / _FADES))

    def clear(self, slots: Ints) -> None:
        """Forgets what speaks against these endpoints: they came back, and what was before is settled."""
        self.lines.clear(slots)
        self.peaks[:, slots] = 0.0
        self.failures.sums[:, slots] = self.slowness.sums[:, slots] = 0.0
        self.nats[:, slots] = 0.0
