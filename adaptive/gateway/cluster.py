"""A cluster as one worker serves it: its balancer, a pool for each endpoint, its retry budget and its bounds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from adaptive import balancer
from adaptive.admission import Admission
from adaptive.budget import RetryBudget
from adaptive.config.cluster import ClusterConfig
from adaptive.gateway.attempt import Attempt
from adaptive.gateway.reply import ReplyReader
from adaptive.gateway.tls import upstream_context
from adaptive.gateway.upstream import Pool
from adaptive.lanes import Lane
from adaptive.types import Cluster, Endpoint

if TYPE_CHECKING:
    from adaptive.gateway.exchange import Exchange
    from adaptive.gateway.plane import Plane


# Seconds in which the budget of second copies must be used: so short, it holds at any time, and not on average.
HEDGES_WITHIN = 1.0


class ClusterRuntime:
    """One cluster in one worker. Bounds are this worker's own."""

    def __init__(
        self,
        plane: Plane,
        cluster: Cluster,
        config: ClusterConfig,
        seed: str,
        now: float,
        before: ClusterRuntime | None,
    ) -> None:
        self.plane = plane
        self.index = cluster.index
        self.name = cluster.name
        self.policy = config.policy
        self.balancer: balancer.Balancer = balancer.make(
            cluster, random.Random(seed), before.balancer if before else None
        )
        self.replies = ReplyReader(config.limits.header_bytes)
        self.connection_limit = config.limits.connections
        self.idle_limit = config.limits.idle
        self.connect_timeout = config.timeouts.connect
        self.idle_timeout = config.timeouts.idle
        budget = config.retry_budget
        self.budget = RetryBudget(budget.ratio, budget.minimum, budget.window, now)
        hedging = config.hedging  # retries pay for hedges, too: a default beyond what they may cost gives way
        self.hedges = RetryBudget(
            min(hedging.ratio, budget.ratio), min(hedging.minimum, budget.minimum), HEDGES_WITHIN, now
        )
        overload = config.overload
        self.admission = Admission(
            len(cluster.members), config.limits.requests, overload.waiting, now, goal=overload.goal or 0.0,
            adaptive=overload.enabled,
        )  # fmt: skip
        self._tls = config.tls
        self.pools: dict[int, Pool] = {}
        self.by_endpoint: dict[Endpoint, Pool] = {}
        kept = dict(before.by_endpoint) if before is not None and before._tls == config.tls else {}
        context = upstream_context(config.tls)
        for member in cluster.members:
            endpoint = member.endpoint
            pool = kept.pop(endpoint, None)
            if pool is None:
                name = (config.tls.server_name if config.tls else None) or endpoint.host
                pool = Pool(self, endpoint.host, endpoint.port, context, name)
            pool.cluster = self
            self.pools[member.slot] = self.by_endpoint[endpoint] = pool
        if before is not None:
            before.retire(kept if before._tls == config.tls else before.by_endpoint)

    def go_on(self, now: float) -> None:
        """Lets requests enter that waited, as far as there is room, and refuses those that waited in vain."""
        admission = self.admission
        while admission.waiting and (exchange := admission.next(now)) is not None:
            cast("Exchange", exchange).enter(now)
        if admission.turned_away:
            turned, admission.turned_away = admission.turned_away, []
            for exchange in turned:
                cast("Exchange", exchange).shed()

    def retire(self, pools: dict[Endpoint, Pool]) -> None:
        """Lets pools go that no configuration names any more."""
        for pool in pools.values():
            pool.retire()

    def sweep_idle(self, now: float) -> None:
        """Closes connections that nobody used for long."""
        for pool in self.pools.values():
            if pool.idle:
                pool.sweep(now, self.idle_timeout)


def expire(lanes: Iterable[Lane], now: float) -> None:
    """Tells the attempts whose deadline has passed."""
    for lane in lanes:
        if lane.outstanding:
            for attempt in cast(list[Attempt], list(lane.outstanding)):
                if attempt.deadline <= now:
                    attempt.expire(now)
