"""Every policy that can be simulated, by name: those that serve live, and the baselines.

A name may carry settings: `least_request@random=0.01` makes one pick in a hundred at random, `adaptive@hedging=0`
sends no second copies. Several are joined by "+", or by "," where no list of policies is written with commas.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from adaptive import balancer
from adaptive.lanes import Lane
from adaptive.types import Cluster
from replay.baselines.base import LeastRequestAll
from replay.baselines.c3 import C3
from replay.baselines.clairvoyant import Clairvoyant
from replay.baselines.envoy import EnvoyLeastRequest, EnvoyLeastRequestTuned, PeakEwmaOutlier
from replay.baselines.fleet import Fleet
from replay.baselines.gates import Gates
from replay.baselines.grpc import WeightedRoundRobinA58
from replay.baselines.haproxy import HaproxyLeastconn
from replay.baselines.latency import LatencyEjection
from replay.baselines.linkerd import PenaltyPeakEwma
from replay.baselines.nginx import NginxLeastConn
from replay.baselines.pid import PidWeights
from replay.baselines.prequal import Prequal
from replay.baselines.weighted import Weighted

Timed = Literal["none", "repeatable", "all"]
Build = Callable[[Cluster, random.Random, Iterable[Lane], Fleet], balancer.Balancer]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a policy is made. `brain`: a Controller above it; `checked`: one too, where there are health checks, which is
    all that it minds; `admission`: it sheds load; `timeout`: which attempts have a fixed time-out, as an operator sets
    it who has no learned ones; `settings`: what its name carried.
    """

    name: str
    build: Build
    brain: bool = False
    checked: bool = False
    admission: bool = False
    timeout: Timed = "none"
    source: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)


def _live(name: str) -> Build:
    made = balancer.POLICIES[name]

    def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> balancer.Balancer:
        return made(cluster, rng, adopted)

    return build


def _blind(
    kind: Callable[[Cluster, random.Random, Iterable[Lane]], balancer.Balancer],
) -> Build:
    """A baseline that sees what a gateway sees."""

    def build(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> balancer.Balancer:
        return kind(cluster, rng, adopted)

    return build


def _prequal_06(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> balancer.Balancer:
    return Prequal(cluster, rng, adopted, fleet, q_rif=0.6)


def _c3_ranking(cluster: Cluster, rng: random.Random, adopted: Iterable[Lane], fleet: Fleet) -> balancer.Balancer:
    return C3(cluster, rng, adopted, fleet, rate_control=False)


BASELINES: tuple[tuple[str, Build, str], ...] = (
    ("least_request_all", _blind(LeastRequestAll), "Envoy's FULL_SCAN: join the shortest queue"),
    ("weighted", Weighted, "weighted round robin: weights as the capacities, for good"),
    ("penalty_peak_ewma", _blind(PenaltyPeakEwma), "Linkerd's PenaltyPeakEwma with the unified breaker, its defaults"),
    ("c3", C3, "C3, NSDI'15: cubic ranking, cubic rate control"),
    ("c3_ranking", _c3_ranking, "C3's ranking without its rate control"),
    ("prequal", Prequal, "Prequal, NSDI'24: Q_RIF 0.84"),
    ("prequal_06", _prequal_06, "Prequal with Q_RIF 0.6"),
    ("wrr_a58", WeightedRoundRobinA58, "gRPC's weighted_round_robin, gRFC A58, with the instances' own utilisation"),
    ("nginx_least_conn", _blind(NginxLeastConn), "nginx's least_conn, max_fails=3 fail_timeout=5s"),
    ("haproxy_leastconn", _blind(HaproxyLeastconn), "HAProxy's leastconn, observe layer7, error-limit 5, mark-down"),
    ("envoy_least_request", _blind(EnvoyLeastRequest), "Envoy's LEAST_REQUEST, outlier detection at its defaults"),
    ("envoy_least_request_tuned", _blind(EnvoyLeastRequestTuned), "the same, tuned for fast handling of failures"),
    ("peak_ewma_outlier", _blind(PeakEwmaOutlier), "Finagle's Peak EWMA with Envoy's outlier detection"),
    ("latency_ejection", _blind(LatencyEjection), "ejection of whoever is far slower than the median (parapet)"),
    ("pid_weights", PidWeights, "Dropbox's Robinhood, 2024: a PID on each weight"),
    ("gates", _blind(Gates), "gates on failures and stalls before load times slowness; no learning"),
    ("clairvoyant", Clairvoyant, "knows every instance's true state: the limit"),
)

# nginx's proxy_read_timeout and HAProxy's timeout server know no methods; Envoy's per_try_timeout is set per route. Who
# knows where nothing hangs needs none, and in overload it would add retries to full queues.
TIMED: dict[str, Timed] = {
    "nginx_least_conn": "all",
    "haproxy_leastconn": "all",
    "clairvoyant": "none",
    "weighted": "none",
}

POLICIES: dict[str, Policy] = {
    "adaptive": Policy(
        "adaptive", _live("adaptive"), brain=True, admission=True, source="both loops, as `adaptive serve` runs them"
    ),
    "adaptive_fast": Policy(
        "adaptive_fast", _live("adaptive"), admission=True, source="the fast loop alone: the brain is dead"
    ),
    **{
        name: Policy(name, _live(name), checked=True, source="as live")
        for name in ("least_request", "peak_ewma", "round_robin", "random")
    },
    **{
        name: Policy(name, build, source=source, timeout=TIMED.get(name, "repeatable"))
        for name, build, source in BASELINES
    },
}

# Mechanisms of the policy `adaptive` that can be switched off by themselves, to see what each is worth.
SWITCHES = ("predict", "capacity", "hedging", "stall_gate", "limits")


def named(text: str) -> Policy:
    """The policy of this name, with the settings that it carries. Raises ValueError, with what there is."""
    name, _, rest = text.partition("@")
    if name not in POLICIES:
        raise ValueError(f"there is no policy {name!r}; there are {', '.join(POLICIES)}")
    settings: dict[str, float] = {}
    for part in filter(None, rest.replace("+", ",").split(",")):
        key, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not (key == "random" and 0.0 <= number <= 1.0) and not (key in SWITCHES and number in (0.0, 1.0)):
            raise ValueError(
                f"{text!r}: {part!r} is no setting; random=SHARE is, with a share from 0 to 1, and "
                f"{', '.join(SWITCHES)} with 0 or 1"
            )
        settings[key] = number
    return replace(POLICIES[name], name=text, settings=settings) if settings else POLICIES[name]
