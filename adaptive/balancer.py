"""The fast loop's interface: which endpoint the next attempt goes to. One balancer per cluster and worker.

    balancer = make(cluster, rng)
    balancer.apply(snapshot)                       # whenever a new one is published
    lane = balancer.pick(now, repeatable, tried)   # None: no endpoint may be used
    balancer.sent(lane, key, now)
    balancer.closed(lane, key, now, latency, verdict)   # exactly once for each `sent`

A balancer reads no clock and draws only from the `random.Random` that it is given, so that the gateway and the
simulator run the same object. Beside `pick`, it keeps the probability of the pick, without which no policy can be
judged from what another one recorded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Protocol

from adaptive.exploring import Exploring
from adaptive.fast import FastLoop
from adaptive.lanes import Lane
from adaptive.picks import LeastPeakEwma, LeastRequest, Random, RoundRobin
from adaptive.types import Cluster, Snapshot

__all__ = ["POLICIES", "Balancer", "Lane", "make"]


class Balancer(Protocol):
    """Chooses among the lanes of one cluster. Times are float seconds on one monotonic clock."""

    lanes: list[Lane]  # one for each member of the cluster, in its order
    propensity: float  # probability of the last pick, in (0, 1]
    explored: bool  # whether the last pick was made to learn
    recorded: bool  # whether anybody keeps the propensity; where not, it need not be worked out where that is dear

    def pick(self, now: float, repeatable: bool, tried: Collection[int] = ()) -> Lane | None:
        """The lane for the next attempt; None if no endpoint may be used.

        `repeatable`: the request may be sent again. `tried`: slots where this request has been; they are avoided while
        any other lane may be used.
        """

    def sent(self, lane: Lane, key: Hashable, now: float) -> None:
        """An attempt begins. `key` is unique among the lane's outstanding ones."""

    def closed(self, lane: Lane, key: Hashable, now: float, latency: float | None, verdict: int) -> None:
        """An attempt ended, exactly once each. `latency`: seconds from `sent` to the response, None where none came."""

    def apply(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force."""

    def share(self, others: Sequence[int]) -> None:
        """Takes the other workers' attempts in flight, by slot."""

    def beat(self, now: float) -> None:
        """The data plane's own heartbeat, every few milliseconds: where it was late, the plane stood still itself."""

    def patience(self, lane: Lane, now: float, repeatable: bool) -> float:
        """Seconds to wait for the first byte before giving an attempt up; 0: no limit but the route's."""

    def hedge_after(self, lane: Lane) -> float:
        """Seconds after which a second copy of a repeatable request may go out; 0: none does."""


POLICIES: dict[str, Callable[[Cluster, random.Random, Iterable[Lane]], Balancer]] = {
    "adaptive": FastLoop,
    "round_robin": RoundRobin,
    "random": Random,
    "least_request": LeastRequest,
    "peak_ewma": LeastPeakEwma,
}


def make(cluster: Cluster, rng: random.Random, previous: Balancer | None = None) -> Balancer:
    """The balancer of this cluster's policy.

    With `previous`, the lanes of endpoints that stay are taken over with all that they learned and with their
    outstanding attempts, which may then be closed on either balancer; weights and health start afresh until `apply`.
    Raises ValueError for a policy that does not exist.
    """
    policy = POLICIES.get(cluster.policy)
    if policy is None:
        raise ValueError(f"policy {cluster.policy!r} of cluster {cluster.name!r} is none of {', '.join(POLICIES)}")
    made: Balancer = policy(cluster, rng, previous.lanes if previous is not None else ())
    if cluster.random_picks > 0.0:
        made = Exploring(made, cluster.random_picks, random.Random(rng.random()))
    return made
