"""What a report draws, from simulated runs or from plain columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptive.types import Health, Moved
from replay.report.document import Counts, Curve, Move, Shares
from replay.simulator.run import Run

POINTS = 200  # of a latency curve
BINS = 150  # of time: as many as can be told apart in a picture
TAIL = 4.0  # decades of the tail that a curve shows: to the 99.99th percentile

Column = np.ndarray[Any, Any]


def curve(latency: Column) -> Curve:
    """The distribution of latencies (n,), seconds; closer points towards the tail, where 1 - q is what counts."""
    x = np.sort(np.asarray(latency, dtype=float))
    x = x[np.isfinite(x)]
    if not len(x):
        return {"q": [], "seconds": []}
    deep = min(TAIL, np.log10(len(x))) if len(x) > 1 else 0.0
    q = np.unique(
        np.concatenate([np.linspace(0.0, 0.9, POINTS // 2), 1.0 - np.logspace(-1.0, -max(1.0, deep), POINTS // 2)])
    )
    return {"q": q.tolist(), "seconds": x[np.minimum(len(x) - 1, (q * len(x)).astype(int))].tolist()}


def errors(due: Column, failed: Column, end: float | None = None) -> Counts:
    """Requests and failed requests by when they were due."""
    edges, at = _bins(due, end)
    return {
        "t": edges.tolist(),
        "requests": np.bincount(at, minlength=len(edges)).tolist(),
        "failed": np.bincount(at[np.asarray(failed, dtype=bool)], minlength=len(edges)).tolist(),
    }


def _bins(at: Column, end: float | None = None) -> tuple[Column, Column]:
    """The bins' beginnings, from 0, and the bin of each moment."""
    last = max(float(np.max(at)) if len(at) else 0.0, end or 0.0) or 1.0
    width = last / BINS
    return np.arange(BINS) * width, np.clip((np.asarray(at, dtype=float) / width).astype(np.int64), 0, BINS - 1)


def traffic(sent: Column, slots: Column, names: Sequence[str], end: float | None = None) -> Shares:
    """Share of the attempts that each endpoint got, over time: what any policy did, weights or none.

    `sent` (n,) seconds from the beginning, `slots` (n,) index into `names`.
    """
    edges, at = _bins(sent, end)
    counts = np.zeros((len(names), len(edges)))
    np.add.at(counts, (np.asarray(slots, dtype=np.int64), at), 1.0)
    total = np.maximum(counts.sum(axis=0), 1.0)
    return {
        "t": edges.tolist(),
        "of": "attempts",
        "share": {name: np.round(counts[i] / total, 5).tolist() for i, name in enumerate(names)},
    }


def weights(run: Run, names: Sequence[str], gateway: int = 0) -> Shares | None:
    """Share of the weight of each endpoint in one gateway's snapshots; None where the policy has none. An ejected
    endpoint has no share.
    """
    views = [view for view in run.views if view.gateway == gateway]
    if not views:
        return None
    end = float(run.requests.due[-1]) if len(run.requests.due) else 1.0
    moments = np.linspace(0.0, end, BINS)
    which = np.maximum(np.searchsorted([view.at for view in views], moments, side="right") - 1, 0)
    weight = np.array([view.weight for view in views], dtype=float)
    health = np.array([view.health for view in views])
    weight[(health == Health.EJECTED) | (health == Health.DRAINING)] = 0.0
    part = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    return {
        "t": moments.tolist(),
        "of": "weight",
        "share": {name: np.round(part[which, slot], 5).tolist() for slot, name in enumerate(names)},
    }


def states(run: Run, names: Sequence[str], gateway: int = 0) -> dict[str, list[list[Any]]]:
    """Each endpoint's states in one gateway, [since, name]; empty where the policy has none."""
    made: dict[str, list[list[Any]]] = {}
    for view in run.views:
        if view.gateway != gateway:
            continue
        for slot, name in enumerate(names):
            state = Health(int(view.health[slot])).name
            steps = made.setdefault(name, [])
            if not steps or steps[-1][1] != state:
                steps.append([0.0 if not steps else float(view.at), state])
    return made


def moves(run: Run, most: int = 200) -> list[Move]:
    """The run's biggest changes of state: those into and out of being ejected before the others, in order of time."""
    found = [command for _, command in run.moves if isinstance(command, Moved)]
    ranked = sorted(range(len(found)), key=lambda i: (-_size(found[i]), i))[:most]
    return [
        {
            "at": float(found[i].at),
            "policy": run.policy,
            "endpoint": found[i].endpoint.address,
            "before": found[i].before.name,
            "after": found[i].after.name,
            "reason": found[i].reason,
            "scenario": run.scenario,
        }
        for i in sorted(ranked)
    ]


def _size(one: Moved) -> int:
    """How much traffic a change moved, in steps of the ladder."""
    return abs(int(one.after) - int(one.before))
