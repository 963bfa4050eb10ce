"""What contradicts itself in how a cluster is protected: priorities, budgets, limits and waits.

Reads plain data before validation, as `checks` does; only what the file says is held against it, never a default. So
it belongs to the reading of a file: on its way to another process a configuration says all of its defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptive.config.cluster import RetryBudget
from adaptive.config.document import Fault, Path
from adaptive.config.units import read_duration

_RETRIES = RetryBudget()


def faults(data: dict[str, Any]) -> Iterator[Fault]:
    """Every such mistake in the clusters and server of a configuration."""
    clusters = data.get("clusters")
    for name, cluster in clusters.items() if isinstance(clusters, dict) else ():
        if isinstance(cluster, dict):
            at = ("clusters", name)
            yield from _priorities(at, cluster)
            yield from _hedging(at, cluster)
            yield from _overload(at, cluster, _longest(data, name))
    limits = _part(_part(data, "server"), "limits")
    whole, one = _number(limits, "connections"), _number(limits, "connections_per_client")
    if whole is not None and one is not None and one > whole:
        text = f"more than all clients together may open ({whole:g})"
        yield Fault(("server", "limits", "connections_per_client"), text)


def _priorities(at: Path, cluster: dict[str, Any]) -> Iterator[Fault]:
    """Each priority that an endpoint names needs those before it, or nothing could fail over to it."""
    listed = cluster.get("endpoints")
    named: dict[int, int] = {}
    for index, item in enumerate(listed if isinstance(listed, (list, tuple)) else ()):
        priority = item.get("priority", 0) if isinstance(item, dict) else 0
        if not isinstance(priority, int) or isinstance(priority, bool) or priority < 0:
            return
        named.setdefault(priority, index)
    for priority, index in sorted(named.items()):
        if priority and priority - 1 not in named:
            text = f"no endpoint has priority {priority - 1}: priorities go from 0 on without a gap"
            yield Fault((*at, "endpoints", index, "priority"), text)


def _hedging(at: Path, cluster: dict[str, Any]) -> Iterator[Fault]:
    """Hedges are paid from what retries may cost, so their budget cannot be the larger one."""
    hedging, retries = _part(cluster, "hedging"), _part(cluster, "retry_budget")
    if hedging.get("enabled") is False:
        return
    for key, unit in (("ratio", "of the requests"), ("minimum", "a second")):
        ours, theirs = _number(hedging, key), _number(retries, key)
        bound = getattr(_RETRIES, key) if key not in retries else theirs
        if ours is not None and bound is not None and ours > bound:
            yield Fault(
                (*at, "hedging", key), f"more than the retry budget, {bound:g} {unit}, which pays for hedges too"
            )


def _overload(at: Path, cluster: dict[str, Any], longest: float) -> Iterator[Fault]:
    """Limits that could never take effect, or would refuse all."""
    overload, limits = _part(cluster, "overload"), _part(cluster, "limits")
    off = overload.get("enabled") is False
    for key in ("goal", "waiting"):
        if off and overload.get(key) is not None:
            yield Fault((*at, "overload", key), "has no effect: overload is switched off")
    goal = _seconds(overload, "goal")
    if goal is not None and not off and goal > longest:
        text = f"is longer than the longest timeout of its routes, {longest:g}s, by which all would have failed"
        yield Fault((*at, "overload", "goal"), text)
    requests, waiting = _number(limits, "requests"), _number(overload, "waiting")
    if requests is not None and waiting is not None and not off and waiting > requests:
        text = f"more may wait than may be in flight (limits.requests: {requests:g}), so the last would wait in vain"
        yield Fault((*at, "overload", "waiting"), text)
    connect = _seconds(_part(cluster, "timeouts"), "connect")
    if connect is not None and connect > longest:
        text = f"is longer than the longest timeout of its routes, {longest:g}s"
        yield Fault((*at, "timeouts", "connect"), text)


def _longest(data: dict[str, Any], cluster: Any) -> float:
    """The longest time-out that the routes to a cluster name, seconds; infinite where one names none."""
    routes = data.get("routes")
    found = [
        _seconds(route, "timeout") or float("inf")
        for route in (routes if isinstance(routes, (list, tuple)) else ())
        if isinstance(route, dict) and cluster in (route.get("cluster"), _part(route, "experiment").get("cluster"))
    ]
    return max(found, default=float("inf"))


def _part(data: dict[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key)
    if isinstance(found, bool):
        return {"enabled": found}
    return found if isinstance(found, dict) else {}


def _number(part: dict[str, Any], key: str) -> float | None:
    value = part.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _seconds(part: dict[str, Any], key: str) -> float | None:
    try:
        return read_duration(part.get(key))
    except (TypeError, ValueError):
        return None
