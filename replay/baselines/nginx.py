"""nginx's least_conn with max_fails and fail_timeout."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from adaptive.lanes import FAILURE, NEVER, SUCCESS, Lane
from adaptive.types import Cluster
from replay.baselines.base import Baseline


class NginxLeastConn(Baseline):
    """The peer with the fewest connections for its weight; those tied take turns by smooth weighted round robin.

    Source: nginx, `ngx_http_upstream_least_conn_module.c` and `ngx_http_upstream_round_robin.c`. After `max_fails`
    failures a peer is left out for `fail_timeout` seconds; then it is tried again, and a success of an attempt that
    ended after that try forgets the failures, while another failure leaves it out again. Where nobody is left, all
    failures are forgotten and this request fails (502). Connections are counted over all workers (`zone`). The
    effective weight does not fall with failures: for weight 1 and max_fails 3 the source's step, 1/3, is 0.

    nginx's defaults are max_fails=1 and fail_timeout=10s; a single failure in ten seconds then keeps a peer out, so its
    manual advises to raise it under load: 3 and 5 s here.
    """

    MAX_FAILS, FAIL_TIMEOUT = 3, 5.0

    def __init__(self, cluster: Cluster, rng: random.Random, adopted: Iterable[Lane] = ()) -> None:
        super().__init__(cluster, rng, adopted)
        n = len(self.lanes)
        self.fails = [0] * n
        self.accessed = [NEVER] * n  # when it failed last
        self.checked_at = [NEVER] * n  # when it failed last, or was tried after that
        self.current = [0] * n  # credit of the round robin among the tied
        self.failing = 0  # lanes with max_fails or more

    def key(self, lane: Lane) -> float:
        """Connections per weight."""
        return (lane.in_flight + lane.others) / lane.weight

    def _learn(self, lane: Lane, sent_at: float, now: float, latency: float | None, verdict: int) -> None:
        i = lane.index
        if verdict == FAILURE:
            self.fails[i] += 1
            self.failing += self.fails[i] == self.MAX_FAILS
            self.accessed[i] = self.checked_at[i] = now
        elif verdict == SUCCESS and self.fails[i] and self.accessed[i] < self.checked_at[i]:
            self.failing -= self.fails[i] >= self.MAX_FAILS
            self.fails[i] = 0

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The next of those with the fewest connections."""
        lanes, tier = self.candidates(now, tried)
        if self.failing and lanes:
            lanes = [x for x in lanes if self.fails[x.index] < self.MAX_FAILS or self._timed_out(x.index, now)]
            if not lanes:
                self.fails = [0] * len(self.lanes)
                self.failing = 0
        if not lanes:
            return None
        column = self.scores(lanes)
        fewest = min(column)
        place = column.index(fewest)
        ties = column.count(fewest)
        if ties > 1:
            place = self._turn(lanes, column, fewest, place, ties)
        lane = lanes[place]
        if self._timed_out(lane.index, now):
            self.checked_at[lane.index] = now
        self.propensity = tier
        return lane

    def _timed_out(self, i: int, now: float) -> bool:
        return now - self.checked_at[i] > self.FAIL_TIMEOUT

    def _turn(self, lanes: list[Lane], column: list[float], fewest: float, place: int, ties: int) -> int:
        """Whose turn it is among the tied, of which `place` is the first."""
        current, total, best = self.current, 0, place
        at = place
        for _ in range(ties):
            at = column.index(fewest, at)
            lane = lanes[at]
            current[lane.index] += lane.weight
            total += lane.weight
            if current[lane.index] > current[lanes[best].index]:
                best = at
            at += 1
        current[lanes[best].index] -= total
        return best
