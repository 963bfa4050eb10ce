"""A scenario, as data: a fleet with faults, a load, the clients' habits and the gateways in front.

Times are float seconds from the scenario's beginning. A scenario says nothing about the policy; that is what it is for:
every policy meets the same one. It is read from JSON; the form of a plain fleet with `instances`, `rate`, `rate_steps`,
`post_share`, `timeout_s`, `warm_s` and `faults` is read as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# What a fault is called, and what its parameters are; all have `from` and `to`.
#   slow          factor                service takes that many times as long
#   ramp_slow     factor                from 1 up to the factor, linearly
#   cold          factor                from the factor down to 1
#   leak          tau                   1 + t/tau
#   errors        p, seconds            answers 503 after `seconds` (0.002) instead of serving, with probability p
#   ramp_errors   p                     from 0 up to p
#   hang          p                     takes the request and never answers it
#   down          -                     refuses connections; what it had is reset
#   unreachable   -                     connections are not even refused
#   gc            pause_ms, period, grow, double    everything stops for `pause_ms` in each `period`; `grow`: from 0 up
#                                       to it over the window; `double`: twice as long after each so many seconds
#   shrink        slots                 share of the slots that are left
#   flip          factor, period        each period a fair coin says whether it is `factor` times slower
#   bursts        factor, low, high     busy and free spans of U(low, high) seconds in turn, slower in busy ones
#   delay         ms, gateway           each direction takes longer by this; of one gateway, or of all
#   loss          p, rto_ms, gateway    each direction is late by `rto_ms` with probability p
FAULTS: Mapping[str, tuple[frozenset[str], Mapping[str, float]]] = {  # kind → (required, optional with its default)
    "slow": (frozenset({"factor"}), {}),
    "ramp_slow": (frozenset({"factor"}), {}),
    "cold": (frozenset({"factor"}), {}),
    "leak": (frozenset({"tau"}), {}),
    "errors": (frozenset({"p"}), {"seconds": 0.002}),
    "ramp_errors": (frozenset({"p"}), {"seconds": 0.002}),
    "hang": (frozenset(), {"p": 1.0}),
    "down": (frozenset(), {}),
    "unreachable": (frozenset(), {}),
    "gc": (frozenset({"pause_ms"}), {"period": 1.0, "grow": 0.0, "double": 0.0}),
    "shrink": (frozenset({"slots"}), {}),
    "flip": (frozenset({"factor", "period"}), {}),
    "bursts": (frozenset({"factor", "low", "high"}), {}),
    "delay": (frozenset({"ms"}), {"gateway": -1.0}),
    "loss": (frozenset({"p"}), {"rto_ms": 200.0, "gateway": -1.0}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one instance, in force from `start` until `end`. `values` has every parameter of its kind."""

    kind: str
    start: float
    end: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Service:
    """How long one request keeps a slot busy, in seconds.

    `kind`: lognormal (spread: sigma of the logarithm), exponential, normal (spread: standard deviation over the mean,
    cut off at 0), constant, or quantiles (`table`: the quantile function at evenly spaced probabilities from 0 to 1).
    """

    mean: float = 0.04
    spread: float = 0.6
    kind: str = "lognormal"
    table: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: a first-in first-out queue before `slots` servers."""

    name: str  # host:port, or whatever the trace calls it
    service: Service = Service()
    slots: int = 6
    backlog: int = 1024  # requests that may wait; one more is refused
    weight: float = 1.0
    zone: str = ""
    priority: int = 0
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """When requests are due, and which. Either drawn (Poisson at `rates`, modulated), or given as they were."""

    rates: tuple[tuple[float, float], ...] = ((0.0, 1000.0),)  # (from second, requests a second)
    post_share: float = 0.5  # share of requests that must not be sent twice
    burst: tuple[float, float, float] | None = None  # (factor, seconds on, each so many seconds)
    work: tuple[tuple[float, float], ...] = ((0.0, 1.0),)  # (from second, factor on every service time)
    due: Sequence[float] | None = None  # given arrivals, ascending; then `rates` and `burst` are not used
    posts: Sequence[bool] | None = None  # of the given arrivals, which must not be sent twice


@dataclass(frozen=True, slots=True)
class Clients:
    """What clients do. A request that is not answered within `timeout` of when it was due has failed."""

    timeout: float = 2.0
    retries: int = 0  # a client that got an error or nothing asks again, so many times
    backoff: float = 0.0  # seconds before it does
    attempt_timeout: float = 0.0  # seconds that it waits for each try; 0: until `timeout`


@dataclass(frozen=True, slots=True)
class Rules:
    """What a gateway does beside picking, under every policy alike: the configuration's defaults."""

    route_timeout: float = 15.0
    retries: int = 2
    retry_statuses: frozenset[int] = frozenset({502, 503, 504})
    attempt_timeout: float = 0.0  # 0: the balancer's patience, where it has any
    connect_timeout: float = 0.3
    budget: tuple[float, float, float] = (0.2, 10.0, 10.0)  # ratio, minimum a second, window
    request_limit: int = 0  # requests in flight in one gateway, above which it sheds; 0: none
    check_interval: float = 0.5  # of health checks; 0: none
    check_timeout: float = 0.3


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it."""

    name: str
    instances: tuple[Instance, ...]
    load: Load = Load()
    clients: Clients = Clients()
    rules: Rules = Rules()
    seconds: float = 40.0
    warm: float = 5.0  # requests due before this are not judged
    seed: int = 0
    gateways: int = 1  # each sees its share of the requests, and has a balancer and a brain of its own
    workers: int = 1  # of each gateway: balancers that share their counts every 5 ms, under one brain
    stalls: tuple[tuple[int, float, float], ...] = ()  # (gateway, at, seconds): it does nothing in that time
    wire: float = 0.0003  # seconds to the instance and back, and what the gateway itself adds
    notes: Mapping[str, Any] = field(default_factory=dict)


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names the file, the place in it and the value."""
