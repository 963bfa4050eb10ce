"""HAProxy's leastconn with observe layer7 and health checks."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from adaptive.lanes import FAILURE, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Of a `server` line. The defaults are HAProxy's."""

    error_limit: int = 10
    mark_down: bool = False  # on-error: mark-down, or else fail-check
    fall: int = 3
    rise: int = 2
    inter: float = 2.0  # seconds between health checks
    slowstart: float = 0.0  # seconds in which the weight grows after a return; 0: at once


class HaproxyLeastconn(Baseline):
    """The server with the fewest connections for its weight; of those tied, the one that has been so the longest.

    Source: HAProxy, `lb_fwlc.c` (key: (in flight + 1) / weight, 0 for an idle server; equal keys first in, first out)
    and `checks.c`. `error_limit` bad answers in a row, time-outs and refused connections included, count as one failed
    health check (fail-check) or take the server down at once (mark-down). A server's health is a number up to
    rise + fall - 1: a failed check lowers it, and takes the server down where it falls below `rise`; `rise` good checks
    in a row bring it back. With all servers down requests fail (503). While it starts slowly, its weight grows in
    proportion to time.

    Tuned here for fast handling of failures: error-limit 5, mark-down, fall 2, rise 2, inter 0.5 s, slowstart 3 s.
    Where nobody reports health checks by `checked`, a server that is down passes one each `inter`.
    """

    settings = ServerSettings(error_limit=5, mark_down=True, fall=2, rise=2, inter=0.5, slowstart=3.0)

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.by_slot = {lane.slot: lane for lane in self.lanes}
        self.full = self.settings.rise + self.settings.fall - 1
        self.errors = [0] * n  # in a row
        self.points = [self.full] * n  # the health
        self.next_check: dict[int, float] = {}  # of servers that are down: when one is passed, if nobody reports
        self.reported = False
        self.up_since: dict[int, float] = {}  # of servers that start slowly
        self.moved = [0] * n  # the order of equals: when a connection last began or ended
        self.sequence = 0

    def key(self, lane: Lane) -> float:
        """The place in the tree but for what came before: connections for the weight."""
        in_flight = lane.in_flight + lane.others
        return (in_flight + 1) / lane.weight if in_flight else 0.0

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        i = lane.index
        self._move(i)
        if verdict == SUCCESS:
            self.errors[i] = 0
        elif verdict == FAILURE:
            self.errors[i] += 1
            if self.errors[i] >= self.settings.error_limit:
                self.errors[i] = 0
                if self.settings.mark_down:
                    self.points[i] = min(self.points[i], self.settings.rise)
                self._bad_check(i, now)

    def checked(self, slot: int, ok: bool, now: float) -> None:
        """A health check of one slot came back."""
        self.reported = True
        self.next_check.clear()
        lane = self.by_slot.get(slot)
        if lane is None:
            return
        if ok:
            self._good_check(lane.index, now)
        else:
            self._bad_check(lane.index, now)

    def _bad_check(self, i: int, now: float) -> None:
        if self.points[i] > self.settings.rise:
            self.points[i] -= 1
            return
        self.points[i] = 0
        if not self.barred[i]:
            self.bar(self.lanes[i], True)
            self.up_since.pop(i, None)
            if not self.reported:
                self.next_check[i] = now + self.settings.inter

    def _good_check(self, i: int, now: float) -> None:
        self.points[i] = min(self.full, self.points[i] + 1)
        if self.points[i] >= self.settings.rise:
            self.points[i] = self.full
            if self.barred[i]:
                self.bar(self.lanes[i], False)
                self.errors[i] = 0
                self.next_check.pop(i, None)
                if self.settings.slowstart:
                    self.up_since[i] = now

    def _assume_checks(self, now: float) -> None:
        for i, at in list(self.next_check.items()):
            while at <= now and i in self.next_check:
                self._good_check(i, at)
                at += self.settings.inter
                if i in self.next_check:
                    self.next_check[i] = at

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The first of the least loaded."""
        if self.next_check:
            self._assume_checks(now)
        lanes, self.propensity = self.candidates(now, tried)
        if not lanes:
            return None
        column = self.scores(lanes)
        if self.up_since:
            column = self._slowed(lanes, column, now)
        best = min(column)
        index = column.index(best)
        ties = column.count(best)
        if ties > 1:
            moved, at = self.moved, index
            for _ in range(ties - 1):
                at = column.index(best, at + 1)
                if moved[lanes[at].index] < moved[lanes[index].index]:
                    index = at
        self._move(lanes[index].index)
        return lanes[index]

    def _move(self, i: int) -> None:
        """The server goes to the end of those with its key."""
        self.sequence += 1
        self.moved[i] = self.sequence

    def _slowed(self, lanes: list[Lane], column: list[float], now: float) -> list[float]:
        """The scores with the weights that servers have while they start."""
        column = list(column)
        for i, since in list(self.up_since.items()):
            share = (now - since) / self.settings.slowstart
            if share >= 1.0:
                del self.up_since[i]
                continue
            for place, lane in enumerate(lanes):
                if lane.index == i:
                    column[place] /= max(share, 0.01)
        return column
