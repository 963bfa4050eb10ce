"""What a target policy would have picked at each recorded decision: the recording, told to its balancer as it happened.

The balancer hears every recorded attempt begin and end, in order of time, and is asked before each how likely every
lane would be. So it sees the queues and failures that the recording policy made. Each worker of the recording has a
balancer of its own, which knows the others' attempts in flight; a brain's snapshots may be put in force at their times.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptive import classify
from adaptive.balancer import Balancer
from adaptive.types import Cause, Mark, Snapshot
from replay.evaluation.chances import chances, known

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = np.ndarray[Any, Any]

# Memory of an instance's recent latency and failures, in completions: what a second holds at moderate load.
RECENT = 20.0


@dataclass(frozen=True, slots=True)
class Decisions:
    """Every attempt of one cluster as a decision, in order of `sent_at`."""

    row: Ints  # (n,) index of the attempt in the rows given
    lane: Ints  # (n,) place of the pick among the lanes; -1 where it is none of them
    target: Floats  # (n, lanes) the target policy's probabilities

    def of_pick(self) -> Floats:
        """The target's probability of each logged pick, (n,)."""
        found: Floats = self.target[np.arange(len(self.lane)), np.maximum(self.lane, 0)]
        return np.where(self.lane >= 0, found, 0.0)


def decisions(
    rows: Rows, make: Callable[[random.Random], Balancer], seed: int, snapshots: Sequence[tuple[float, Snapshot]] = ()
) -> Decisions:
    """Replays rows of one cluster (OUTCOME_DTYPE, any order) into balancers that `make` builds, one for each worker.

    `snapshots`: (seconds, snapshot), ascending. Raises NoDistribution for a policy whose chances are not known.
    """
    order = np.argsort(rows["sent_at"], kind="stable")
    rows = rows[order]
    workers = sorted({int(w) for w in rows["worker"]})
    balancers = {w: make(random.Random(f"{seed}/target/{w}")) for w in workers}
    for one in balancers.values():
        known(one)
    first = balancers[workers[0]] if workers else make(random.Random(f"{seed}/target"))
    place = {lane.slot: i for i, lane in enumerate(first.lanes)}
    lane_of = np.array([place.get(int(s), -1) for s in rows["slot"]], np.int64)
    out = np.zeros((len(rows), len(first.lanes)))
    _replay(rows, lane_of, balancers, list(snapshots), out)
    return Decisions(order, lane_of, out)


def _replay(
    rows: Rows, lane_of: Ints, balancers: dict[int, Any], snapshots: list[tuple[float, Snapshot]], out: Floats
) -> None:
    n = len(rows)
    # What ends at the moment when another begins ends first: its lane is free for it. Unless it is the same attempt.
    events = [(t, 0, i) for i, t in enumerate(np.fmax(rows["done"], np.nextafter(rows["sent_at"], np.inf)).tolist())]
    events += [(t, 1, i) for i, t in enumerate(rows["sent_at"].tolist())]
    events.sort()
    slots = rows["slot"].tolist()
    worker, request = rows["worker"].tolist(), rows["request"].tolist()
    repeatable = ((rows["marks"] & int(Mark.REPEATABLE)) != 0).tolist()
    latency = (rows["first_byte"] - rows["sent_at"]).tolist()
    verdicts = [int(classify.verdict(int(c), int(s))) for c, s in zip(rows["cause"], rows["status"], strict=True)]
    lanes = lane_of.tolist()
    tried: dict[int, list[int]] = {}
    flying = {w: [0] * (max(slots, default=0) + 1) for w in balancers}
    left = np.unique(rows["request"], return_counts=True)
    attempts = dict(zip(left[0].tolist(), left[1].tolist(), strict=True))
    upcoming = 0
    for at, kind, i in events:
        while upcoming < len(snapshots) and snapshots[upcoming][0] <= at:
            for one in balancers.values():
                one.apply(snapshots[upcoming][1])
            upcoming += 1
        balancer = balancers[worker[i]]
        if kind:
            been = tried.setdefault(request[i], [])
            if len(balancers) > 1:
                balancer.share(
                    [sum(f[s] for w, f in flying.items() if w != worker[i]) for s in range(len(flying[worker[i]]))]
                )
            out[i] = chances(balancer, at, repeatable[i], tuple(been))
            if attempts[request[i]] > 1:
                been.append(slots[i])
            else:
                del tried[request[i]]
            if lanes[i] >= 0:
                balancer.sent(balancer.lanes[lanes[i]], i, at)
        elif lanes[i] >= 0:
            seconds = latency[i] if math.isfinite(latency[i]) else None
            balancer.closed(balancer.lanes[lanes[i]], i, at, seconds, verdicts[i])
        flying[worker[i]][slots[i]] += 1 if kind else -1
    assert len(events) == 2 * n


def features(rows: Rows, slots: Sequence[int]) -> Floats:
    """What was known of each instance at each decision, (n, instances, 5), for rows in order of `sent_at`.

    Attempts in flight there, their square root, all in flight, mean recent latency and recent share of failures.
    """
    n = len(rows)
    sent = rows["sent_at"]
    out = np.zeros((n, len(slots), 5))
    failed = (rows["cause"] != int(Cause.RESPONSE)) | (rows["status"] >= 500)
    for k, slot in enumerate(slots):
        mine = rows[rows["slot"] == slot]
        if not len(mine):
            continue
        by_end = np.argsort(mine["done"], kind="stable")
        ended = mine["done"][by_end]
        done = np.searchsorted(ended, sent, side="right")
        out[:, k, 0] = np.maximum(np.searchsorted(mine["sent_at"], sent, side="left") - done, 0)
        latency = (mine["done"] - mine["sent_at"])[by_end]
        bad = failed[rows["slot"] == slot][by_end].astype(np.float64)
        out[:, k, 3] = np.concatenate([[latency.mean()], _recent(latency)])[done]
        out[:, k, 4] = np.concatenate([[0.0], _recent(bad)])[done]
    out[:, :, 1] = np.sqrt(out[:, :, 0])
    out[:, :, 2] = out[:, :, 0].sum(axis=1, keepdims=True)
    return out


def _recent(values: Floats) -> Floats:
    """Exponentially weighted mean after each value, begun at the first."""
    out = np.empty(len(values))
    mean = values[0]
    for i, value in enumerate(values.tolist()):
        mean += (value - mean) / min(i + 1.0, RECENT)
        out[i] = mean
    return out
