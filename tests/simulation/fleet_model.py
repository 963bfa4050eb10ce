"""A small model in virtual time of a gateway in front of a fleet with faults, to judge balancers by.

Instances behave as those of the arena: `slots` workers each, a first-in first-out queue, log-normal service, and faults
in force between `from` and `to`: slow, ramp_slow, cold, errors, ramp_errors, hang, down, gc, shrink. The gateway makes
up to three attempts for a GET, gives each up after `attempt_timeout` (or what the balancer's `patience` says), and
sends a POST again only where the connection was refused. Clients give up after the scenario's time-out. A failed
request counts as that time-out in the latencies. Everything is drawn from named streams, so that two balancers see the
same arrivals; equal times go in the order of a counter.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptive.lanes import Lane
from adaptive.types import Cluster, Endpoint, Member, Topology, Verdict, first_snapshot

CONNECT = 0.0003  # seconds that a refused connection, or a network there and back, takes on the loopback
FAST_ERROR = 0.002  # seconds until an instance answers with an error
MONITOR = 0.02  # how often an instance looks whether it should be up


@dataclass
class Result:
    """What the clients saw."""

    requests: int
    failed: int
    failed_posts: int
    latencies: list[float]  # sorted, seconds
    attempts: int
    served: list[int]

    def quantile(self, q: float) -> float:
        """In milliseconds."""
        return 1e3 * self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))]


class Instance:
    """One instance of the fleet."""

    def __init__(self, index: int, spec: Mapping[str, Any], rng: random.Random) -> None:
        self.index, self.rng = index, rng
        self.slots = int(spec.get("slots", 6))
        self.sigma = float(spec.get("sigma", 0.6))
        self.mu = math.log(float(spec.get("mean_ms", 40.0)) / 1e3) - self.sigma**2 / 2
        self.mean = float(spec.get("mean_ms", 40.0)) / 1e3
        self.faults: Sequence[Mapping[str, Any]] = spec.get("faults", [])
        self.busy, self.queue, self.up = 0, deque[Attempt](), True
        self.stall_until = 0.0
        self.served = 0
        self.open: set[Attempt] = set()

    def state(self, t: float) -> tuple[float, float, float, bool, float]:
        """The faults in force: slowdown, error probability, hang probability, down, share of the slots."""
        slow, err, hang, down, slots = 1.0, 0.0, 0.0, False, 1.0
        for f in self.faults:
            a, b = f["from"], f["to"]
            if not a <= t < b:
                continue
            x, kind = (t - a) / (b - a), f["kind"]
            if kind == "slow":
                slow *= f["factor"]
            elif kind == "ramp_slow":
                slow *= 1 + (f["factor"] - 1) * x
            elif kind == "cold":
                slow *= 1 + (f["factor"] - 1) * (1 - x)
            elif kind == "errors":
                err = max(err, f["p"])
            elif kind == "ramp_errors":
                err = max(err, f["p"] * x)
            elif kind == "hang":
                hang = max(hang, f.get("p", 1.0))
            elif kind == "down":
                down = True
            elif kind == "shrink":
                slots = min(slots, f["slots"])
            elif kind == "gc":
                phase = (t - a) % f.get("period", 1.0)
                length = f["pause_ms"] / 1e3 * (x if f.get("grow") else 1.0)
                if phase < length:
                    self.stall_until = max(self.stall_until, t + length - phase)
        return slow, err, hang, down, slots


class Attempt:
    """One request on its way to one instance."""

    __slots__ = ("done", "instance", "lane", "request", "sent_at")

    def __init__(self, request: Request, lane: Lane, instance: Instance, sent_at: float) -> None:
        self.request, self.lane, self.instance, self.sent_at, self.done = request, lane, instance, sent_at, False


class Request:
    """One request of a client."""

    __slots__ = ("attempts", "closed", "due", "hedged", "open", "post", "tried")

    def __init__(self, due: float, post: bool) -> None:
        self.due, self.post, self.attempts, self.closed, self.hedged = due, post, 0, False, False
        self.tried: list[int] = []
        self.open: list[Attempt] = []


def cluster_of(scenario: Mapping[str, Any], policy: str = "adaptive") -> Cluster:
    """The scenario's fleet as a cluster."""
    members = tuple(
        Member(Endpoint("fleet", "127.0.0.1", spec["port"]), slot, float(spec.get("weight", 1.0)))
        for slot, spec in enumerate(scenario["instances"])
    )
    return Cluster("fleet", 0, members, policy)


class Model:
    """One run. `build(cluster, rng, model)` gives the balancer; a clairvoyant one may look into the model."""

    def __init__(
        self,
        scenario: Mapping[str, Any],
        build: Callable[[Cluster, random.Random, Model], Any],
        seed: int,
        *,
        attempt_timeout: float = 0.6,
        post_timeout: float = 0.0,
        patience: bool = False,
        hedge: Callable[[Model, Any, float], float] | None = None,
    ) -> None:
        root = random.Random(f"{seed}/{scenario['name']}")
        self.arrivals, picks = random.Random(root.random()), random.Random(root.random())
        self.fleet = [Instance(i, s, random.Random(root.random())) for i, s in enumerate(scenario["instances"])]
        self.scenario, self.seed = scenario, seed
        self.attempt_timeout, self.post_timeout = attempt_timeout, post_timeout
        self.patience, self.hedge = patience, hedge
        self.hedge_tokens = 0.0
        self.timeout = float(scenario["timeout_s"])
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.counter = 0
        self.now = 0.0
        self.rows: list[tuple[float, float, bool, bool]] = []  # due, latency, ok, post
        self.attempts = 0
        cluster = cluster_of(scenario)
        self.balancer = build(cluster, picks, self)
        self.balancer.apply(first_snapshot(Topology(1, (cluster,), len(cluster.members)), 0.0))

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        """Schedules a call."""
        self.counter += 1
        heapq.heappush(self.events, (when, self.counter, what, args))

    def run(self) -> Result:
        """Until the last request is answered."""
        seconds = float(self.scenario["seconds"])
        changes = sorted({t for i in self.fleet for f in i.faults if f["kind"] == "down" for t in (f["from"], f["to"])})
        for t in changes:
            self.at(t + MONITOR / 2, self.look)
        self.look()
        self.at(self.gap(0.0), self.arrive)
        events = self.events
        end = seconds + self.timeout + 1
        while events and events[0][0] < end:
            self.now, _, what, args = heapq.heappop(events)
            what(*args)
        warm = float(self.scenario.get("warm_s", 5))
        rows = [r for r in self.rows if r[0] >= warm]
        return Result(
            len(rows),
            sum(not ok for _, _, ok, _ in rows),
            sum(post and not ok for _, _, ok, post in rows),
            sorted(latency if ok else self.timeout for _, latency, ok, _ in rows),
            self.attempts,
            [i.served for i in self.fleet],
        )

    # Clients.

    def gap(self, t: float) -> float:
        steps = self.scenario.get("rate_steps") or [[0, self.scenario["rate"]]]
        return t + self.arrivals.expovariate([r for a, r in steps if a <= t][-1])

    def arrive(self) -> None:
        if self.now < self.scenario["seconds"]:
            self.at(self.gap(self.now), self.arrive)
        request = Request(self.now, self.arrivals.random() < self.scenario.get("post_share", 0.5))
        self.at(self.now + self.timeout, self.give_up, request)
        self.attempt(request)

    def give_up(self, request: Request) -> None:
        if not request.closed:
            for attempt in list(request.open):
                self.close(attempt, Verdict.FAILURE, None)
            self.answer(request, False)

    def answer(self, request: Request, ok: bool) -> None:
        if not request.closed:
            request.closed = True
            for attempt in list(request.open):  # the loser of a hedge
                self.close(attempt, Verdict.IGNORE, None)
            self.rows.append((request.due, self.now - request.due, ok, request.post))

    # The gateway.

    def attempt(self, request: Request, hedge: bool = False) -> None:
        lane = self.balancer.pick(self.now, not request.post, request.tried)
        if lane is None:
            self.answer(request, False)
            return
        attempt = Attempt(request, lane, self.fleet[lane.slot], self.now)
        request.attempts += 1
        request.tried = [*request.tried, lane.slot]
        request.open.append(attempt)
        self.attempts += 1
        self.balancer.sent(lane, id(attempt), self.now)
        limit = self.post_timeout if request.post else self.attempt_timeout
        if self.patience:
            limit = self.balancer.patience(lane, self.now, not request.post)
        if limit > 0.0:
            self.at(self.now + limit, self.time_out, attempt)
        if self.hedge is not None and not request.post and not hedge:
            self.hedge_tokens = min(10.0, self.hedge_tokens + 0.1)  # 5 % of all requests, half of which are GETs
            delay = self.hedge(self, lane, self.now)
            if delay > 0.0:
                self.at(self.now + delay, self.copy, attempt)
        if not attempt.instance.up:
            self.at(self.now + CONNECT, self.refused, attempt)
            return
        attempt.instance.open.add(attempt)
        self.at(self.now + CONNECT / 2, self.reach, attempt)

    def copy(self, attempt: Attempt) -> None:
        request = attempt.request
        if not attempt.done and not request.closed and not request.hedged and self.hedge_tokens >= 1.0:
            self.hedge_tokens -= 1.0
            request.hedged = True
            self.attempt(request, True)

    def close(self, attempt: Attempt, verdict: int, latency: float | None) -> None:
        attempt.done = True
        attempt.instance.open.discard(attempt)
        attempt.request.open.remove(attempt)
        self.balancer.closed(attempt.lane, id(attempt), self.now, latency, int(verdict))

    def fail(self, attempt: Attempt, resend: bool, latency: float | None = None) -> None:
        if attempt.done:
            return
        self.close(attempt, Verdict.FAILURE, latency)
        request = attempt.request
        if request.closed or request.open:
            return
        if resend and request.attempts < 3:
            self.attempt(request)
        else:
            self.answer(request, False)

    def refused(self, attempt: Attempt) -> None:
        self.fail(attempt, True)

    def time_out(self, attempt: Attempt) -> None:
        self.fail(attempt, not attempt.request.post)

    # Instances.

    def look(self) -> None:
        for instance in self.fleet:
            up = not instance.state(self.now)[3]
            if instance.up and not up:
                for attempt in sorted(instance.open, key=lambda a: a.sent_at):
                    self.fail(attempt, not attempt.request.post)
            instance.up = up

    def reach(self, attempt: Attempt) -> None:
        instance = attempt.instance
        slow, err, hang, _, share = instance.state(self.now)
        if hang and instance.rng.random() < hang:
            return
        if err and instance.rng.random() < err:
            self.at(self.now + FAST_ERROR, self.error, attempt)
        elif instance.busy < max(1, int(instance.slots * share)):
            self.serve(attempt, slow)
        else:
            instance.queue.append(attempt)

    def error(self, attempt: Attempt) -> None:
        self.fail(attempt, not attempt.request.post, self.now - attempt.sent_at)

    def serve(self, attempt: Attempt, slow: float) -> None:
        instance = attempt.instance
        instance.busy += 1
        service = instance.rng.lognormvariate(instance.mu, instance.sigma) * slow
        self.at(self.now + service + max(0.0, instance.stall_until - self.now), self.finish, attempt)

    def finish(self, attempt: Attempt) -> None:
        instance = attempt.instance
        if instance.stall_until > self.now:
            self.at(instance.stall_until, self.finish, attempt)
            return
        instance.busy -= 1
        instance.served += 1
        slow, _, _, _, share = instance.state(self.now)
        while instance.queue and instance.busy < max(1, int(instance.slots * share)):
            waiting = instance.queue.popleft()
            if not waiting.done:
                self.serve(waiting, slow)
        if not attempt.done:
            latency = self.now + CONNECT / 2 - attempt.sent_at
            self.close(attempt, Verdict.SUCCESS, latency)
            self.answer(attempt.request, True)
