"""Endpoints: a cluster's members with the weight and the health that the brain gives them.

States come first, weights second. HEALTHY endpoints of one configured weight all weigh the same while the brain has
little to say of their weights, for equal weights keep Envoy's power of two choices; what differs, differs in steps
(`LOG_STEP`), and moves only when it has moved far enough. DEGRADED is what it is in Envoy; a CANARY weighs 1; EJECTED
is UNHEALTHY; DRAINING is DRAINING. Who is out keeps the weight that was configured: it gets nothing by it, but Envoy
divides by it when it judges how much of a priority is well, and of what must spill to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adaptive.config.model import ClusterConfig
from adaptive.config.topology import ranks, slot_key
from adaptive.envoy.translate.words import SERVICE, Json, socket_address
from adaptive.types import FULL_WEIGHT, Health

# One step between two weights: 20 %. Ten steps are a factor of six.
LOG_STEP = math.log(1.2)
# A weight moves when it has gone by more than this share of a step beyond the middle between two.
MARGIN = 0.75
# Weights within this factor of each other, measured by what was configured, say nothing worth losing P2C for.
NOTHING_TO_SAY = 1.5
STATUS = {
    Health.HEALTHY: "HEALTHY",
    Health.DEGRADED: "DEGRADED",
    Health.CANARY: "HEALTHY",
    Health.EJECTED: "UNHEALTHY",
    Health.DRAINING: "DRAINING",
}


class Line(NamedTuple):
    """What Envoy is told of one endpoint."""

    weight: int
    status: str


Lines = tuple[Line, ...]


def decide(
    own: ClusterConfig, weights: Sequence[int], health: Sequence[int], panic: bool, last: Lines | None = None
) -> Lines:
    """A line for each endpoint of a cluster, in its order; `weights` and `health` are the Snapshot's, in that order.
    `last` is what Envoy was told before.
    """
    usual = [max(1, round(FULL_WEIGHT * endpoint.weight)) for endpoint in own.endpoints]
    states = [Health(int(state)) for state in health]
    whole = [
        weight / base for weight, base, state in zip(weights, usual, states, strict=True) if state == Health.HEALTHY
    ]
    quiet = not whole or max(whole) <= NOTHING_TO_SAY * min(whole)
    made = []
    for index, (weight, base, state) in enumerate(zip(weights, usual, states, strict=True)):
        if panic:
            made.append(Line(base, "HEALTHY"))
        elif state == Health.CANARY:
            made.append(Line(1, "HEALTHY"))
        elif state in (Health.EJECTED, Health.DRAINING) or (quiet and state in (Health.HEALTHY, Health.DEGRADED)):
            made.append(Line(base, STATUS[state]))
        else:
            before = last[index].weight if last is not None else 0
            made.append(Line(quantised(int(weight), before), STATUS[state]))
    return tuple(made)


def quantised(weight: int, before: int) -> int:
    """A weight on the grid; the one it had (0: none), unless it has moved clearly beyond its step."""
    if weight <= 1:
        return 1
    position = math.log(weight) / LOG_STEP
    if before > 1 and abs(position - math.log(before) / LOG_STEP) < MARGIN:
        return before
    return max(1, round(math.exp(round(position) * LOG_STEP)))


def shares(lines: Sequence[Line]) -> list[float]:
    """The share of the picks that each endpoint gets, all being equally busy: what a recording calls propensity."""
    order: tuple[str, ...] = (
        ("HEALTHY",) if any(line.status == "HEALTHY" for line in lines) else ("HEALTHY", "DEGRADED")
    )
    if not any(line.status in order for line in lines):
        order = tuple(STATUS.values())
    weights = [line.weight if line.status in order else 0 for line in lines]
    total = sum(weights)
    return [weight / total for weight in weights]


def assignment(name: str, own: ClusterConfig, lines: Sequence[Line], zone: str = "") -> Json:
    """The ClusterLoadAssignment: endpoints by priority and zone, those of the gateway's own zone first."""
    groups: dict[tuple[int, str], list[Json]] = {}
    for endpoint, line, rank in zip(own.endpoints, lines, ranks(own, zone), strict=True):
        metadata: dict[str, Mapping[str, str]] = {SERVICE: {"e": slot_key(name, endpoint.address)}}
        if own.tls is not None:
            metadata["envoy.transport_socket_match"] = {"host": endpoint.host}
        made = {
            "endpoint": {"address": socket_address(endpoint.host, endpoint.port)},
            "health_status": line.status,
            "load_balancing_weight": line.weight,
            "metadata": {"filter_metadata": metadata},
        }
        groups.setdefault((rank, endpoint.zone), []).append(made)
    localities = [
        {"locality": {"zone": zone}, "priority": priority, "lb_endpoints": members}
        for (priority, zone), members in sorted(groups.items())
    ]
    return {"cluster_name": name, "endpoints": localities, "policy": {"weighted_priority_health": True}}
