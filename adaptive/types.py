"""The nouns of the gateway, and the events and commands that cross its seams.

Values only: nothing here reads a clock, a socket or a random number, and nothing needs numpy at run time, so that a
worker process can use these types without paying for it. Time is float seconds on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptive.model_events import ModelChanged, ModelMoved

if TYPE_CHECKING:
    import numpy as np

# The weight of a healthy endpoint whose configured weight is 1. Weights are whole numbers from 1 up, so that Envoy can
# carry them as they are; 100 gives steps of one per cent.
FULL_WEIGHT = 100


class Health(IntEnum):
    """What may be sent to an endpoint; the order is that of the ladder from best to worst."""

    HEALTHY = 0
    DEGRADED = 1  # suspected: used after the healthy ones, and never for what cannot be sent twice while others serve
    CANARY = 2  # gets a trickle, to learn whether it has recovered
    EJECTED = 3  # gets nothing, unless the whole cluster panics
    DRAINING = 4  # leaving as planned: finishes what it has


class Cause(IntEnum):
    """How an attempt ended. `adaptive.classify` says what follows from each."""

    RESPONSE = 0  # a whole response came; its status says the rest
    CONNECT_REFUSED = 1
    CONNECT_TIMEOUT = 2
    CONNECT_FAILED = 3  # unreachable, name not found, TLS handshake failed
    RESET_IDLE = 4  # a pooled connection turned out to be closed before any byte of the response
    RESET = 5  # the endpoint closed after the request was sent on a fresh connection, before the response's head
    RESET_BODY = 6  # the endpoint closed in the middle of the response's body
    TIMEOUT_ATTEMPT = 7  # the per-attempt time-out
    TIMEOUT_ROUTE = 8  # the request's whole time-out
    PROTOCOL_ERROR = 9  # what came was not HTTP, or broke a limit
    CLIENT_GONE = 10  # the client hung up
    CLIENT_ERROR = 11  # the client's own body was late, malformed or too large
    CANCELLED = 12  # we gave it up: a hedge lost, a drain ended
    OVERFLOW = 13  # no connection could be had within the pool's bounds; nothing was sent
    UPGRADED = 14  # the connection became a tunnel, and ended as tunnels do


class Verdict(IntEnum):
    """What an attempt says of its endpoint."""

    SUCCESS = 0
    FAILURE = 1
    IGNORE = 2  # nothing: the client hung up, or we did


class Mark(IntFlag):
    """Facts of an attempt that fit in one bit."""

    HEDGE = 1
    REPEATABLE = 2  # an idempotent method: may be sent again
    CENSORED = 4  # `done` is a lower bound of the latency: a time-out or a cancel
    EXPLORED = 8  # picked to learn, not because it was best
    FRESH = 16  # the attempt opened its own connection
    FINAL = 32  # its response (or error) is what the client saw


# One row an attempt, in the order in which it lies in the ring and in a recording: (name, struct code, meaning).
OUTCOME_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("sent_at", "d", "seconds, monotonic; when the attempt began, its connecting included"),
    ("first_byte", "d", "seconds, monotonic; NaN where no byte of a response came"),
    ("done", "d", "seconds, monotonic; when the attempt was closed"),
    ("request", "Q", "the request's number, unique within a run; attempts of one request share it"),
    ("bytes_up", "Q", "body bytes sent to the endpoint"),
    ("bytes_down", "Q", "body bytes received from the endpoint"),
    ("slot", "I", "the endpoint"),
    ("snapshot", "I", "version of the snapshot in force at the pick, modulo 2**32"),
    ("in_flight", "I", "attempts in flight at this endpoint, all workers, when it was sent, without itself"),
    ("propensity", "f", "probability of this pick, in (0, 1]"),
    ("connect", "f", "seconds spent connecting; 0 on a pooled connection"),
    ("load_cpu", "f", "the endpoint's own report of its CPU utilisation; NaN where it sends none"),
    ("load_app", "f", "the endpoint's own report of its application utilisation; NaN where it sends none"),
    ("cluster", "H", "index of the cluster"),
    ("route", "H", "index of the route"),
    ("status", "H", "status of the response; 0 where none came"),
    ("attempt", "B", "number of the attempt within its request, from 1"),
    ("cause", "B", "Cause"),
    ("marks", "B", "Mark"),
    ("worker", "B", "the worker that made it"),
)


class Outcome(NamedTuple):
    """A closed attempt: one row of OUTCOME_FIELDS."""

    sent_at: float
    first_byte: float
    done: float
    request: int
    bytes_up: int
    bytes_down: int
    slot: int
    snapshot: int
    in_flight: int
    propensity: float
    connect: float
    load_cpu: float
    load_app: float
    cluster: int
    route: int
    status: int
    attempt: int
    cause: int
    marks: int
    worker: int


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address of a cluster: identity only."""

    cluster: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """host:port, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.cluster}/{self.address}"


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint's place in its cluster. `slot` is its row in every column, in every process."""

    endpoint: Endpoint
    slot: int
    weight: float = 1.0
    priority: int = 0
    zone: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A named set of endpoints, and how it is to be served."""

    name: str
    index: int
    members: tuple[Member, ...]
    policy: str = "adaptive"
    # The promise that a breach is measured against: share of failed attempts, and latency in seconds (None: learned
    # from the cluster's own median).
    objective_errors: float = 0.05
    objective_latency: float | None = None
    health_checked: bool = False
    predict: bool = True  # off: the model-free policy alone
    hedging: bool = True  # off: no second copies
    learn_capacity: bool = True  # off: attempts in flight times slowness alone
    stall_gate: bool = True  # off: silence says nothing to the fast loop
    random_picks: float = 0.0  # share of repeatable requests that go to any endpoint: recordings answer more


@dataclass(frozen=True, slots=True)
class Topology:
    """Every cluster and endpoint of one configuration, by slot."""

    generation: int
    clusters: tuple[Cluster, ...]
    slots: int  # length of every per-endpoint column; slots of no member are unused

    def member(self, slot: int) -> Member | None:
        """The member in this slot, or None."""
        for cluster in self.clusters:
            for member in cluster.members:
                if member.slot == slot:
                    return member
        return None


class Entry(NamedTuple):
    """An endpoint's line in a Snapshot."""

    weight: int
    health: Health
    probability: float  # of a breach within the horizon; NaN where the model abstains
    limit: int  # most attempts in flight, over all workers; 0: none
    hedge_delay: float  # seconds after which a second copy may go out; 0: never
    attempt_timeout: float  # seconds; 0: the route's own


class ClusterEntry(NamedTuple):
    """A cluster's line in a Snapshot."""

    panic: bool  # so few are left that health is ignored
    fallback: bool  # the model is not trusted; the model-free policy decided
    explore: float  # share of repeatable picks spent on endpoints that would get none
    typical: float  # the cluster's typical latency, seconds; 0: not known yet


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the data plane needs to know, immutable and complete. Columns have shape (slots,), in slot order."""

    version: int
    at: float
    generation: int
    weight: Sequence[int]
    health: Sequence[int]
    probability: Sequence[float]
    limit: Sequence[int]
    hedge_delay: Sequence[float]
    attempt_timeout: Sequence[float]
    clusters: Sequence[ClusterEntry]

    def entry(self, slot: int) -> Entry:
        """One endpoint's line."""
        return Entry(
            int(self.weight[slot]),
            Health(int(self.health[slot])),
            float(self.probability[slot]),
            int(self.limit[slot]),
            float(self.hedge_delay[slot]),
            float(self.attempt_timeout[slot]),
        )

    def inconsistencies(self, topology: Topology) -> list[str]:
        """Why this snapshot must not be published; empty when it may be."""
        found = []
        if self.generation != topology.generation:
            found.append(f"made for configuration {self.generation}, not {topology.generation}")
        columns = (self.weight, self.health, self.probability, self.limit, self.hedge_delay, self.attempt_timeout)
        if {len(c) for c in columns} != {topology.slots}:
            return [*found, f"columns of {sorted({len(c) for c in columns})} rows, not {topology.slots}"]
        if len(self.clusters) != len(topology.clusters):
            return [*found, f"{len(self.clusters)} clusters, not {len(topology.clusters)}"]
        for cluster in topology.clusters:
            slots = [m.slot for m in cluster.members]
            found += [f"{cluster.name}: weight of slot {s} is below 1" for s in slots if not self.weight[s] >= 1]
            blocked = (Health.EJECTED, Health.DRAINING)
            if slots and not self.clusters[cluster.index].panic and all(self.health[s] in blocked for s in slots):
                found.append(f"{cluster.name}: nothing is left to serve, and no panic is declared")
        return found


def first_snapshot(topology: Topology, at: float, version: int = 0) -> Snapshot:
    """The snapshot that says nothing yet: everyone healthy, at their configured weights."""
    weight = [FULL_WEIGHT] * topology.slots
    for cluster in topology.clusters:
        for member in cluster.members:
            weight[member.slot] = max(1, round(FULL_WEIGHT * member.weight))
    n = topology.slots
    quiet = ClusterEntry(panic=False, fallback=True, explore=0.0, typical=0.0)
    return Snapshot(
        version=version,
        at=at,
        generation=topology.generation,
        weight=weight,
        health=[int(Health.HEALTHY)] * n,
        probability=[float("nan")] * n,
        limit=[0] * n,
        hedge_delay=[0.0] * n,
        attempt_timeout=[0.0] * n,
        clusters=[quiet] * len(topology.clusters),
    )


# Events: what the Controller is told. Each carries its own time.


@dataclass(frozen=True, slots=True)
class OutcomesSeen:
    """Attempts that closed since the last such event; `rows` is a structured array with the names of OUTCOME_FIELDS."""

    at: float
    rows: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time to decide."""

    at: float


@dataclass(frozen=True, slots=True)
class HealthChecked:
    """One active health check came back (or did not)."""

    at: float
    slot: int
    ok: bool
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A new configuration is in force. What is known of endpoints that stay is kept; slots tell who stays."""

    at: float
    topology: Topology


@dataclass(frozen=True, slots=True)
class Overridden:
    """An operator set an endpoint's health by hand. `health` None ends the override."""

    at: float
    slot: int
    health: Health | None
    until: float  # when it ends by itself
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """An instance said how much it will take, in a response's header or in its answer to a health check."""

    at: float
    slot: int
    share: float  # of its weight, from 0 (it leaves) to 1
    most: int  # attempts in flight at most; 0: no bound of its own
    until: float  # when it ends by itself


@dataclass(frozen=True, slots=True)
class ObserverSeen:
    """How well the gateway itself could see: a stalled observer must eject nobody."""

    at: float
    lag: float  # seconds by which the data plane's event loops ran late since the last such event, the worst worker
    lost: int  # outcomes that did not fit in the ring since the last such event


@dataclass(frozen=True, slots=True)
class InFlightSeen:
    """Live counts as the workers share them. Shapes (slots,)."""

    at: float
    in_flight: np.ndarray[Any, Any]  # attempts in flight, all workers
    oldest: np.ndarray[Any, Any]  # seconds, monotonic: when the oldest outstanding attempt was sent; NaN where none is


_Seen = OutcomesSeen | ObserverSeen | InFlightSeen | HealthChecked
Event = _Seen | Tick | Reconfigured | Overridden | Announced | ModelChanged


# Commands: what the Controller wants done.


@dataclass(frozen=True, slots=True)
class Publish:
    """Give this snapshot to the data plane."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Moved:
    """An endpoint changed its health, with the sentence an operator will read."""

    at: float
    endpoint: Endpoint
    before: Health
    after: Health
    reason: str


@dataclass(frozen=True, slots=True)
class TrustChanged:
    """A cluster's decisions passed from the model to the model-free policy, or back."""

    at: float
    cluster: str
    fallback: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Drifted:
    """What the model learned from no longer fits what it sees; it is not trusted for a while and wants training."""

    at: float
    cluster: str  # empty: all of them
    what: str


Command = Publish | Moved | TrustChanged | Drifted | ModelMoved
